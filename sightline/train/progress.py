"""Where a training stands, for a display."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class TrainingProgress:
    """Handed to the `progress` callback after every step and every validation.

    Args:
        epoch: counted from 0.
        epochs: of the run.
        step: steps done in this epoch, 1 to steps.
        steps: of an epoch.
        train_loss: mean over the steps of this epoch.
        val_accuracy: of the latest validation, 0..1; None before the first.
        images_per_second: of this epoch's training steps.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    train_loss: float
    val_accuracy: float | None
    images_per_second: float


ProgressCallback = Callable[[TrainingProgress], None]
