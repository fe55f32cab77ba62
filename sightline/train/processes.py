"""The processes that train one model: which there are, one training a folder, and what one says when another is gone."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from accelerate import Accelerator

from sightline.runs import RunFolder

_LOST = re.compile("connection (closed|reset|refused)|broken pipe|timed out|nccl|gloo|socket", re.IGNORECASE)


class LostProcessError(RuntimeError):
    """Another process of the same training ended or can not be reached."""


def join_processes() -> Accelerator:
    """Device and processes. Accelerate joins the processes of a launcher on CPUs only when it is told to use the CPU."""
    launched = int(os.environ.get("WORLD_SIZE", "1")) > 1
    cpu = launched and not torch.accelerator.is_available()
    return Accelerator(cpu=cpu, mixed_precision="no")  # precision is the session's


@contextmanager
def alone_in(run: RunFolder, accelerator: Accelerator) -> Iterator[None]:
    """Within the context the folder is this training's, and a process that is lost is named.

    Raises:
        RunFolderError: another training holds the folder.
    """
    held = run.held() if accelerator.is_main_process else nullcontext()
    with naming_the_lost(accelerator.num_processes), held:
        yield


@contextmanager
def naming_the_lost(processes: int) -> Iterator[None]:
    """Within the context, what a communication library says of a lost process becomes a LostProcessError with the remedy."""
    try:
        yield
    except RuntimeError as error:
        if processes == 1 or type(error).__module__.startswith("sightline") or not _LOST.search(str(error)):
            raise
        raise LostProcessError(
            f"another of the {processes} processes of this training ended or can not be reached; its own message says why. "
            f"The last checkpoint is kept, resume continues from it ({error})"
        ) from error
