"""APGD, projected gradient descent with momentum that halves its own step where the loss has stopped rising.

Source: Croce and Hein 2020, arXiv 2003.01690, algorithm 1 and section 3.2: first step 2 eps, momentum 0.75, checkpoints after 22%
of the steps and then at gaps that shrink by 3% down to 6%; a step is halved where no more than 75% of the steps since the last
checkpoint raised the loss, or where neither step nor best loss has changed since; then it goes on from the best image. Rounding is
that of the authors' code: gaps are cut to whole steps one by one, and 75% exactly are too few (the paper: fewer than 75%).
Ours: an image that is answered wrongly once stays as it was then, and is not attacked on.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sightline.evaluate.attacks.losses import Loss
from sightline.evaluate.attacks.threat import Threat
from sightline.evaluate.attacks.victim import loss_and_gradient

MOMENTUM, RISING = 0.75, 0.75
FIRST_GAP, SHRINK, LEAST_GAP = 0.22, 0.03, 0.06


def apgd(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    loss: Loss,
    *,
    steps: int,
    start: Tensor | None = None,
) -> Tensor:
    """The first image found that is answered wrongly, else the one of the largest loss.

    Args:
        model: pixels (B, C, H, W) of 0..1 to logits (B, K).
        images: (B, C, H, W) in 0..1.
        labels: (B,) the right classes.
        threat: the ball.
        loss: one of `LOSSES`.
        steps: how many; each is one forward and one backward pass.
        start: where to begin, inside the ball; the images themselves when not given.

    Raises:
        ValueError: steps is not positive, images outside 0..1, or a start outside the ball.
    """
    if steps < 1:
        raise ValueError(f"steps must be positive; got {steps}")
    result = threat.admit(images, start).clone()
    left = torch.arange(len(images), device=images.device)
    search = _Search(model, images, labels, threat, loss, result)
    checkpoints = set(_checkpoints(steps))
    for step in range(1, steps + 1):
        keep = ~search.fooled
        result[left[search.fooled]] = search.image[search.fooled]
        if not keep.any():
            return result
        if not keep.all():
            left = left[keep]
            search.keep(keep)
        search.move(first=step == 1)
        if step in checkpoints:
            search.review(step)
    result[left] = torch.where(_wide(search.fooled, images), search.image, search.best)
    return result


class _Search:
    """The state of the images that still stand; every tensor has one entry an image."""

    FIELDS = ("origin", "labels", "image", "before", "best", "gradient", "best_gradient", "best_loss", "last_loss",
              "reviewed_loss", "step", "halved", "rises", "fooled")  # fmt: skip

    def __init__(
        self,
        model: Callable[[Tensor], Tensor],
        origin: Tensor,
        labels: Tensor,
        threat: Threat,
        loss: Loss,
        start: Tensor,
    ) -> None:
        self.model, self.threat, self.loss = model, threat, loss
        self.origin, self.labels = origin, labels
        self.image = self.before = self.best = start.clone()
        logits, values, self.gradient = loss_and_gradient(model, start, labels, loss)
        self.fooled = logits.argmax(1) != labels
        self.best_gradient, self.best_loss = self.gradient, values
        self.last_loss, self.reviewed_loss = values, values
        self.step = torch.full_like(values, 2 * threat.eps)
        self.halved = torch.ones_like(self.fooled)  # the first review does not ask whether the best loss has changed
        self.rises = torch.zeros_like(labels)
        self.reviewed_at = 0

    def keep(self, those: Tensor) -> None:
        """Go on with some of the images."""
        for name in self.FIELDS:
            setattr(self, name, getattr(self, name)[those])

    def move(self, first: bool) -> None:
        """One step with momentum, and what it brought."""
        threat, origin, here = self.threat, self.origin, self.image
        step = _wide(self.step, here).to(here)
        ahead = threat.project(here + step * threat.uphill(self.gradient), origin)
        if not first:
            ahead = threat.project(here + MOMENTUM * (ahead - here) + (1 - MOMENTUM) * (here - self.before), origin)
        self.before, self.image = here, ahead
        logits, values, self.gradient = loss_and_gradient(self.model, ahead, self.labels, self.loss)
        self.fooled = logits.argmax(1) != self.labels
        self.rises = self.rises + (values > self.last_loss)
        self.last_loss = values
        better = values > self.best_loss
        self.best = torch.where(_wide(better, here), ahead, self.best)
        self.best_gradient = torch.where(_wide(better, here), self.gradient, self.best_gradient)
        self.best_loss = torch.where(better, values, self.best_loss)

    def review(self, step: int) -> None:
        """At a checkpoint: halve the step of those that do not get on, and take them back to their best image."""
        restless = self.rises <= RISING * (step - self.reviewed_at)
        stuck = ~self.halved & (self.reviewed_loss >= self.best_loss)
        self.halved = (restless | stuck) & ~self.fooled
        self.step = torch.where(self.halved, self.step / 2, self.step)
        self.image = torch.where(_wide(self.halved, self.image), self.best, self.image)
        self.gradient = torch.where(_wide(self.halved, self.image), self.best_gradient, self.gradient)
        self.reviewed_loss, self.reviewed_at = self.best_loss, step
        self.rises = torch.zeros_like(self.rises)


def _checkpoints(steps: int) -> list[int]:
    """Steps after which the step length is reviewed."""
    gap, shrink, least = (max(math.floor(share * steps), 1) for share in (FIRST_GAP, SHRINK, LEAST_GAP))
    found, at = [], gap
    while at <= steps:
        found.append(at)
        gap = max(gap - shrink, least)
        at += gap
    return found


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, 1, 1)."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))
