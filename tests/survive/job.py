"""What a killed process was doing: one training, in a process of its own or as one of several.

Processes are forked from a server that has imported everything, so that one costs a tenth of a second and not ten.
"""

import faulthandler
import importlib
import multiprocessing
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from sightline.data import Splits, load_splits
from sightline.recipes import Recipe
from sightline.train import train
from tests.train.tiny import CNN, RECIPE, splits

KILLS = int(os.environ.get("SIGHTLINE_KILLS", "2"))
RUN = replace(
    RECIPE,
    epochs=KILLS + 4,
    mixup=0.4,
    cutmix=1.0,
    ema=0.9,
    drop_path=0.3,
    erasing=0.3,
    accumulate=2,
    workers=2,
    checkpoint_steps=2,
)
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.survive.job"])
TIMEOUT = 60  # seconds, for what takes one


@dataclass(frozen=True)
class Job:
    """One training.

    Args:
        folder: of the run.
        pictures: a folder of pictures to read from the disk; None: images in memory.
        recipe: the run.
        fault: "module:function" of this package, called with the rank before training; it may arrange for trouble.
    """

    folder: Path
    pictures: Path | None = None
    recipe: Recipe = RUN
    fault: str | None = None


class Team:
    """The processes of one training, running.

    Args:
        job: the training.
        world: number of processes.
    """

    def __init__(self, job: Job, world: int = 1) -> None:
        self.steps, theirs = CONTEXT.Pipe(duplex=False)
        port, said = _free_port(), [job.folder.with_name(f"{job.folder.name}.{rank}.txt") for rank in range(world)]
        self.said = said
        self.processes = [
            CONTEXT.Process(target=_work, args=(job, rank, world, port, theirs if rank == 0 else None, said[rank]))
            for rank in range(world)
        ]
        for process in self.processes:
            process.start()
        theirs.close()

    def next_step(self) -> tuple[int, int] | None:
        """Wait for the first process's next step: (epoch, step); None when it has ended."""
        try:
            return self.steps.recv() if self.steps.poll(TIMEOUT) else None
        except EOFError:
            return None

    def kill(self, ranks: tuple[int, ...]) -> None:
        """SIGKILL to some; the others, who lost a partner, are to end by themselves."""
        for rank in ranks:
            self.processes[rank].kill()
        self.wait()

    def wait(self) -> list[int | None]:
        """Exit codes."""
        while self.next_step() is not None:
            pass
        for process in self.processes:
            process.join(TIMEOUT)
        codes = [process.exitcode for process in self.processes]
        for process in self.processes:
            process.kill()
        return codes

    def words(self, rank: int = 0) -> str:
        """What a process printed."""
        return self.said[rank].read_text()


def _work(job: Job, rank: int, world: int, port: int, steps: Connection | None, said: Path) -> None:
    with said.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.enable()
    torch.set_num_threads(1)
    if world > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        tell: Callable[[tuple[int, int]], None] = steps.send if steps is not None else lambda _place: None
        if job.fault is not None:
            module, _, function = job.fault.partition(":")
            getattr(importlib.import_module(module), function)(rank, job)
        data = splits() if job.pictures is None else read(job.pictures)
        train(job.recipe, CNN, data, job.folder, resume=True, progress=lambda p: tell((p.epoch, p.step)))
    except KeyboardInterrupt as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(130)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)  # a forked child has nothing to tidy, and a lost partner nobody to wait for


def read(pictures: Path) -> Splits:
    """The splits of a folder, decoded anew for every batch."""
    return load_splits(pictures, image_size=(6, 5), memory_limit=0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
