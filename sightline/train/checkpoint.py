"""checkpoints/last.pt: all that a run needs to go on, readable with `torch.load(weights_only=True)`.

It holds model, averaged weights, optimiser, loss scaler, epoch, step, and the sums behind the log. Learning rate, image order and
random numbers are not in it: they are functions of recipe, epoch and step, see `optimize.learning_rate`, `Session.seed_step`.
"""

import pickle
from pathlib import Path
from typing import Any

import torch

from sightline.runs import SCHEMA, RunFolderError, atomic_file


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all. Raises RunFolderError with the remedy when the disk refuses."""
    try:
        with atomic_file(path) as handle:
            torch.save({"schema": SCHEMA} | state, handle)
    except RuntimeError as error:
        if isinstance(error, RunFolderError):
            raise
        # torch wraps the system's error when a write into its archive fails, and often loses the reason
        raise RunFolderError(
            f"cannot write {path}: {error}. Is the disk full? What was written before is intact; free some space, then resume"
        ) from error


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
