"""Trouble to be arranged in a process before it trains. Each takes the rank and the job."""

import os
import signal
from pathlib import Path

import torch

from tests.survive.job import Job

CHECKPOINTS = 3  # how many are written before the one that is interrupted


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_when(function, happens):
    """The function, but the process is killed before the call for which `happens` says so."""
    seen = []

    def instead(*arguments, **options):
        if happens(*arguments):
            seen.append(1)
            if len(seen) > CHECKPOINTS:
                _die()
        return function(*arguments, **options)

    return instead


def die_at_fsync(rank: int, job: Job) -> None:
    """The file beside is written, but perhaps not on the disk."""
    os.fsync = _die_when(os.fsync, lambda file: os.readlink(f"/proc/self/fd/{file}").endswith(".last.pt.part"))


def die_at_link(rank: int, job: Job) -> None:
    """The new one is on the disk, the old one has one name still."""
    os.link = _die_when(os.link, lambda _old, new: str(new).endswith(".previous.pt.part"))


def die_at_replace(rank: int, job: Job) -> None:
    """Only the last renaming is missing."""
    os.replace = _die_when(os.replace, lambda _old, new: str(new).endswith("last.pt"))


def die_at_folder(rank: int, job: Job) -> None:
    """All is done but the flush of the folder."""
    os.fsync = _die_when(os.fsync, lambda file: Path(os.readlink(f"/proc/self/fd/{file}")).name == "checkpoints")


def die_at_written(rank: int, job: Job) -> None:
    """Before a byte of the new one is written."""
    torch.save = _die_when(torch.save, lambda *_: True)


def die_at_half(rank: int, job: Job) -> None:
    """Half of the new one is written."""
    save, seen = torch.save, []

    def half(state, handle):
        seen.append(1)
        if len(seen) > CHECKPOINTS:
            handle.write(b"PK\x03\x04" + bytes(1000))
            handle.flush()
            _die()
        save(state, handle)

    torch.save = half


def break_the_second(rank: int, job: Job) -> None:
    """From the fifth step on, the net of process 1 answers with NaN."""
    from tests.train import tiny

    build, calls = tiny._build, []

    def watched(heads: int, options: dict):
        model = build(heads, options)

        def spoil(_module, _inputs, output):
            calls.append(1)
            return output * float("nan") if rank == 1 and model.training and len(calls) > 8 else output

        model.norm.register_forward_hook(spoil)
        return model

    tiny._build = watched


def without_norm(rank: int, job: Job) -> None:
    """No trouble: a net without batch statistics, which every process takes of its own images."""
    from tests.train import tiny

    build = tiny._build

    def bare(heads: int, options: dict):
        model = build(heads, options)
        model.norm = torch.nn.Identity()
        return model

    tiny._build = bare


def small_units(rank: int, job: Job) -> None:
    """No trouble: nets of a few hundred parameters are cut up too."""
    from sightline.train import sharded

    sharded.SMALLEST_UNIT = 1
