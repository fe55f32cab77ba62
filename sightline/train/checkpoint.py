"""checkpoints/last.pt: all that a run needs to go on, readable with `torch.load(weights_only=True)`.

It holds model, averaged weights, optimiser, loss scaler, epoch, step, and the sums behind the log. Learning rate, image order and
random numbers are not in it: they are functions of recipe, epoch and step, see `optimize.learning_rate`, `Session.seed_step`.
"""

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import torch

from sightline.runs import SCHEMA, RunFolderError, atomic_file


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all. Raises RunFolderError with the remedy when the disk refuses."""
    with atomic_file(path) as handle:
        dump({"schema": SCHEMA} | state, handle)


def dump(state: dict[str, Any], handle: BinaryIO) -> None:
    """torch.save, but a refusal of the file system arrives as the OSError it was: torch hides it behind an error of its own."""
    try:
        torch.save(state, handle)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        RunFolderError: it is damaged, or of a newer schema.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise RunFolderError(f"{path} is damaged: {error}. Delete it to begin the run anew") from error
    if state["schema"] > SCHEMA:
        raise RunFolderError(
            f"{path} has schema {state['schema']}; this sightline reads up to {SCHEMA}. Update sightline"
        )
    return state
