"""The score that gradient methods follow back: the logit of one class for every picture of a batch."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from sightline.explain.explanation import Ask


def logits_of(ask: Ask, images: Tensor) -> Tensor:
    """Logits (B, classes). Raises ValueError when the net is no classifier of images."""
    logits = ask.model(images)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ValueError(f"this method explains a class, and needs a net that answers (pictures, classes); got {shape}")
    return logits


def target_of(ask: Ask, logits: Tensor) -> Tensor:
    """The class to explain of every picture (B,): the one asked for, else the predicted. Raises ValueError for one it lacks."""
    if ask.target is None:
        return logits.detach().argmax(1)
    wanted = ask.target.to(logits.device)
    wrong = wanted[(wanted < 0) | (wanted >= logits.shape[1])]
    if len(wrong):
        raise ValueError(f"the net has classes 0 to {logits.shape[1] - 1}; got target {int(wrong[0])}")
    return wanted


def score(logits: Tensor, target: Tensor) -> Tensor:
    """The sum over pictures of the target's logit: pictures do not meet, so its gradient is each picture's own."""
    return logits.gather(
        1, target.clone()[:, None]
    ).sum()  # a target made in inference mode can not be saved, its copy can


@contextmanager
def differentiable(images: Tensor) -> Iterator[Tensor]:
    """A copy of the images that gradients can be asked of, whatever mode surrounds the call."""
    with torch.inference_mode(False), torch.enable_grad():
        yield images.detach().clone().requires_grad_(True)
