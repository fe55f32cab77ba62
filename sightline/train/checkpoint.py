"""checkpoints/last.pt: all that a run needs to go on, readable with `torch.load(weights_only=True)`.

It holds model, averaged weights, optimiser, loss scaler, epoch, step, and the sums behind the log. Learning rate, image order and
random numbers are not in it: they are functions of recipe, epoch and step, see `optimize.learning_rate`, `Session.seed_step`.
The checkpoint before it stays as previous.pt, and is used when the last one is damaged or missing.
"""

import logging
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import torch

from sightline.runs import CHECKPOINT, PREVIOUS, SCHEMA, RunFolder, RunFolderError, atomic_file

_log = logging.getLogger("sightline.train")


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all, and keep the one before it as previous.pt.

    Raises:
        RunFolderError: the disk refuses; the message gives the remedy, and both older checkpoints are as they were.
    """
    with atomic_file(path, keep=path.with_name(Path(PREVIOUS).name)) as handle:
        dump({"schema": SCHEMA} | state, handle)


def dump(state: dict[str, Any], handle: BinaryIO) -> None:
    """torch.save, but a refusal of the file system arrives as the OSError it was: torch hides it behind an error of its own."""
    try:
        torch.save(state, handle)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def latest_checkpoint(run: RunFolder) -> dict[str, Any] | None:
    """The last checkpoint of a run that can be read; None when there is none.

    Raises:
        RunFolderError: there are checkpoints and none can be read, or one is of a newer schema.
    """
    last, previous = run.file(CHECKPOINT), run.file(PREVIOUS)
    if not last.is_file():
        return load_checkpoint(previous) if previous.is_file() else None
    try:
        return load_checkpoint(last)
    except DamagedCheckpointError as error:
        if not previous.is_file():
            raise
        state = load_checkpoint(previous)
        _log.warning("%s; going on from %s, epoch %d, step %d", error, previous, state["epoch"], state["step"])
        return state


class DamagedCheckpointError(RunFolderError):
    """A checkpoint can not be read."""


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        DamagedCheckpointError: it can not be read, or is no checkpoint.
        RunFolderError: it is of a newer schema.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise DamagedCheckpointError(f"{path} is damaged: {error}. Delete it to begin the run anew") from error
    if not isinstance(state, dict) or "schema" not in state:
        raise DamagedCheckpointError(f"{path} is damaged: it is no checkpoint. Delete it to begin the run anew")
    if state["schema"] > SCHEMA:
        raise RunFolderError(
            f"{path} has schema {state['schema']}; this sightline reads up to {SCHEMA}. Update sightline"
        )
    return state
