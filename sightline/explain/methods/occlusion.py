"""Occlusion: how much the probability of a class falls when a patch is hidden.

Source: Zeiler and Fergus 2014, arXiv 1311.2901, section 4.2.
Ours:   the patch is a square of an eighth of the picture's side (the root of its area), moved by half of that; its colour is the
        mean (0 after normalisation); a pixel's value is the mean fall over the patches that hide it. Positive: hiding it hurts.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from sightline.explain.explanation import Answer, Ask
from sightline.explain.methods.gradients import on_pixels, predicted
from sightline.explain.scores import logits_of

AT_ONCE = 64  # pictures in a forward pass


@torch.no_grad()
def occlusion(ask: Ask) -> Answer:
    """The fall of the target's probability by what is hidden."""
    height, width = ask.image_size
    side, step = _sizes((height * width) ** 0.5, ask.settings["patch"], ask.settings["step"])
    boxes = list(patches(height, width, side, step))
    target = predicted(ask)
    before = _probability(ask, ask.images, target)
    asked = zip(ask.images, before, target, strict=True)
    fall = torch.stack([_falls(ask, image, boxes, was, wanted) for image, was, wanted in asked])
    maps, hidden = torch.zeros(len(ask.images), height, width), torch.zeros(height, width)
    for index, (top, left, bottom, right) in enumerate(boxes):
        maps[:, top:bottom, left:right] += fall[:, index, None, None].cpu()
        hidden[top:bottom, left:right] += 1
    return on_pixels(ask, maps / hidden, target)


def patches(height: int, width: int, side: int, step: int) -> Iterator[tuple[int, int, int, int]]:
    """Squares (top, left, bottom, right) that together cover every pixel; the last of a row or column ends at the border."""
    for top in _starts(height, side, step):
        for left in _starts(width, side, step):
            yield top, left, min(top + side, height), min(left + side, width)


def _starts(size: int, side: int, step: int) -> list[int]:
    last = max(size - side, 0)
    return sorted({*range(0, last + 1, step), last})


def _sizes(picture: float, patch: int | None, step: int | None) -> tuple[int, int]:
    side = max(round(picture / 8), 1) if patch is None else int(patch)
    moved = max(side // 2, 1) if step is None else int(step)
    if side < 1 or not 1 <= moved <= side:
        raise ValueError(
            f"the patch must have at least one pixel, and the step be 1 to its side so that no pixel is left out; "
            f"got patch={patch}, step={step}"
        )
    return side, moved


def _falls(ask: Ask, image: Tensor, boxes: list[tuple[int, int, int, int]], before: Tensor, target: Tensor) -> Tensor:
    """The falls (patches,) of one picture."""
    found = []
    for start in range(0, len(boxes), AT_ONCE):
        part = boxes[start : start + AT_ONCE]
        hidden = image.repeat(len(part), 1, 1, 1)
        for one, (top, left, bottom, right) in zip(hidden, part, strict=True):
            one[:, top:bottom, left:right] = ask.settings["baseline"]
        found.append(before - _probability(ask, hidden, target.expand(len(part))))
    return torch.cat(found)


def _probability(ask: Ask, images: Tensor, target: Tensor) -> Tensor:
    return logits_of(ask, images).float().softmax(1).gather(1, target[:, None])[:, 0]
