"""Square: random search by answers alone, no gradient: squares of the ball's corners, kept where they bring the answer nearer to a
wrong one. It sees through nets whose gradients mislead.

Source: Andriushchenko et al. 2020, arXiv 1912.00049, section 4 (largest change of a value): start of vertical stripes, share of the
image 0.8 at first, halved after 0.1, 0.5, 2, 5, 10, 20, 40, 60 and 80% of the queries; margin loss.
Ours: all images of a call share the draws, so that an image's result depends neither on its batch nor on who still stands.
"""

import math
from bisect import bisect_left
from collections.abc import Callable

import torch
from torch import Tensor

from sightline.evaluate.attacks.losses import margin
from sightline.evaluate.attacks.threat import Threat

SHARE = 0.8
HALVED_AFTER = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


def square(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    *,
    queries: int,
    generator: torch.Generator,
    share: float = SHARE,
) -> Tensor:
    """The image of the largest margin found; it is answered wrongly where that is positive.

    Args:
        model: pixels (B, C, H, W) of 0..1 to logits (B, K).
        images: (B, C, H, W) in 0..1.
        labels: (B,) the right classes.
        threat: a ball of norm "linf".
        queries: forward passes an image may take, 1 or more.
        generator: of the draws, on the CPU.
        share: of the image that a square has at first, above 0, at most 1.

    Raises:
        ValueError: another norm, no query, a share out of range, or images outside 0..1.
    """
    if threat.norm != "linf":
        raise ValueError(f"square knows the norm linf alone; got {threat.norm!r}")
    if queries < 1 or not 0 < share <= 1:
        raise ValueError(f"queries must be 1 or more, and share above 0, at most 1; got {queries} and {share}")
    threat.admit(images)
    _, channels, height, width = images.shape
    stripes = threat.eps * _signs((channels, 1, width), generator).to(images)
    found = threat.project(images + stripes, images)
    gain = _margin(model, found, labels)
    for query in range(1, queries):
        box = _box(_side((query - 1) / (queries - 1), share, height, width), height, width, generator)
        change = 2 * threat.eps * _signs((channels, 1, 1), generator).to(images)
        left = (gain <= 0).nonzero().flatten()
        if not len(left):
            break
        tried = found[left]
        tried[..., box[0], box[1]] += change
        tried = threat.project(tried, images[left])
        new = _margin(model, tried, labels[left])
        better = new > gain[left]
        found[left[better]], gain[left[better]] = tried[better], new[better]
    return found


@torch.no_grad()
def _margin(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    return margin(model(images), labels)


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return 2.0 * torch.randint(0, 2, shape, generator=generator) - 1


def _side(done: float, share: float, height: int, width: int) -> int:
    """Rows and columns of the square when that share of the queries is done."""
    area = share / 2 ** bisect_left(HALVED_AFTER, done) * height * width
    return min(max(round(math.sqrt(area)), 1), height, width)


def _box(side: int, height: int, width: int, generator: torch.Generator) -> tuple[slice, slice]:
    row = int(torch.randint(0, height - side + 1, (), generator=generator))
    col = int(torch.randint(0, width - side + 1, (), generator=generator))
    return slice(row, row + side), slice(col, col + side)
