"""Pixels by gradients of a class score: the gradient times the input, and its integral along a path from a blank picture.

    gradient_input          map = sum over colours of x dL/dx
    integrated_gradients    map = sum over colours of (x - b) mean over t in (0, 1) of dL/dx at b + t (x - b)

Source: Shrikumar et al. 2016, arXiv 1605.01713 (gradient times input); Sundararajan et al. 2017, arXiv 1703.01365, eq. 1.
Ours:   the blank picture b is the mean colour (0 after normalisation) unless another is given; the integral is the mean at the
        middles of `steps` equal parts. The map then sums to L(x) - L(b), up to the error of that mean.
"""

import torch
from torch import Tensor

from sightline.explain.explanation import Answer, Ask
from sightline.explain.geometry import Geometry
from sightline.explain.scores import differentiable, logits_of, score, target_of

AT_ONCE = 32  # pictures in a forward pass


def gradient_input(ask: Ask) -> Answer:
    """The gradient of the target's logit times the normalised input."""
    target = predicted(ask)
    gradient = gradient_at(ask, ask.images, target)
    return on_pixels(ask, (ask.images * gradient).sum(1), target)


def integrated_gradients(ask: Ask) -> Answer:
    """Integrated gradients of the target's logit from `baseline` (a normalised value; 0 is the mean colour)."""
    steps, baseline = int(ask.settings["steps"]), float(ask.settings["baseline"])
    if steps < 1:
        raise ValueError(f"integrated gradients need at least one step; got {steps}")
    target, path = predicted(ask), ask.images - baseline
    total = torch.zeros_like(ask.images, dtype=torch.float32)
    at_once = max(AT_ONCE // len(ask.images), 1)
    for shares in ((torch.arange(steps) + 0.5) / steps).split(at_once):
        share = shares.to(path)[:, None, None, None, None]
        points = (baseline + share * path).flatten(0, 1)  # steps * B, C, H, W
        gradient = gradient_at(ask, points, target.repeat(len(shares)))
        total += gradient.float().unflatten(0, (len(shares), -1)).sum(0)
    return on_pixels(ask, (path * total / steps).sum(1), target)


@torch.no_grad()
def predicted(ask: Ask) -> Tensor:
    """The classes to explain (B,)."""
    return target_of(ask, logits_of(ask, ask.images))


def gradient_at(ask: Ask, images: Tensor, target: Tensor) -> Tensor:
    """dL/dx of each picture's target logit."""
    with differentiable(images) as leaf:
        (gradient,) = torch.autograd.grad(score(logits_of(ask, leaf), target), leaf)
    return gradient


def on_pixels(ask: Ask, maps: Tensor, target: Tensor | None = None, layer: str = "") -> Answer:
    """Maps (B, H, W) whose cells are the pixels."""
    return Answer(maps, Geometry(*ask.image_size, (1, 1), ask.image_size), layer, target)
