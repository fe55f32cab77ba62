"""Effective receptive field: which pixels a position of a layer depends on, on this picture, and how strongly.

    map = sqrt(sum over input colours and output channels of (dF_c / dx)^2), scaled to sum one

Source: Luo et al. 2016, arXiv 1701.04128, section 2 (gradients at the central unit, on random inputs).
Ours:   on the picture at hand and at any position; the sum over channels is estimated without bias from `draws` backward passes
        from random signs (Hutchinson), so that channels of opposite gradients do not cancel. The signs are the same in every call.
"""

import torch
from torch import Tensor

from sightline.explain.explanation import Answer, Ask
from sightline.explain.features import geometry_of, last_layer, outputs_of, positions
from sightline.explain.methods.gradients import on_pixels
from sightline.explain.readout import reads_tokens
from sightline.explain.scores import differentiable


def receptive_field(ask: Ask) -> Answer:
    """The pixels that the position `ask.at` (None: what the classifier reads) of a layer depends on."""
    draws = int(ask.settings["draws"])
    if draws < 1:
        raise ValueError(f"an effective receptive field needs at least one draw; got {draws}")
    layer, outputs = ask.layer or last_layer(ask), []
    with differentiable(ask.images) as images:
        with outputs_of(ask.model, layer, outputs):
            ask.model(images)
        read = _read(ask, layer, outputs[-1])  # B, C
        squares = torch.zeros_like(images[:, 0], dtype=torch.float32)
        for signs in _signs(draws, read):
            (gradient,) = torch.autograd.grad((read * signs).sum(), images, retain_graph=True)
            squares = squares + gradient.float().square().sum(1)
    field = (squares / draws).sqrt().detach()
    return on_pixels(ask, field / field.sum((1, 2), keepdim=True).clamp(min=1e-30), layer=layer)


def _read(ask: Ask, layer: str, output: Tensor) -> Tensor:
    where, vectors = geometry_of(ask, layer, output), positions(output)
    if ask.at is not None:
        return vectors[:, where.flat(ask.at)]
    if reads_tokens(ask.model) and where.prefix:
        return vectors[:, [i for i, name in enumerate(where.tokens) if name in ("class", "distillation")]].mean(1)
    return vectors[:, where.prefix :].mean(1)


def _signs(draws: int, like: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (draws, 1, like.shape[1]), generator=generator) * 2 - 1
    return signs.to(like)
