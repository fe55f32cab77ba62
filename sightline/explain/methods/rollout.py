"""Rollout: where the information at a position came from, through all attention layers down to the first.

    mass <- r * mass + (1 - r) * mass A_l        from the last layer l to the first; A_l the mean over heads, rows summing to one

Source: Abnar and Zuidema 2020, arXiv 2005.00928, section 3 (attention rollout), where r = 1/2 stands for the residual connection.
Ours:   windowed, criss-cross and other sparse maps are composed as they are: mass is pushed along the entries, no dense product of
        all pairs exists. Between layers of other strides a cell's mass goes in equal parts to the cells over its pixels.
Ours:   convolutions between the layers count as staying in place; every pass of a recurrent layer counts as a layer of its own.
Ours:   signed weights (SAN patchwise, dot product) enter by their magnitude; every row is scaled to one, so no mass is lost.
"""

import torch
from torch import Tensor

from sightline.explain.compose import push, to_grid
from sightline.explain.explanation import Answer, Ask
from sightline.explain.readout import readout
from sightline.explain.record import Call, record


@torch.no_grad()
def rollout(ask: Ask) -> Answer:
    """Rollout from `ask.at` in the last layer, or in the layer asked for, to the input of the first."""
    with record(ask.model) as calls:
        ask.model(ask.images)
    calls = up_to(calls, ask.layer)
    mass = rolled_out(calls, readout(ask.model, calls[-1], ask.at), float(ask.settings["residual"]))
    where = calls[0].geometry
    tokens = {name: mass[:, 0, index].cpu() for index, name in enumerate(where.tokens)}
    maps = mass[:, 0, where.prefix :].unflatten(1, (where.rows, where.cols))
    return Answer(maps, where, f"{calls[0].layer} to {calls[-1].layer}", tokens=tokens)


def rolled_out(calls: list[Call], mass: Tensor, residual: float) -> Tensor:
    """Mass on the queries of the last call (B, R, queries), on the input of the first (B, R, positions)."""
    if not 0 <= residual < 1:
        raise ValueError(f"residual, the share that stays in place, must be at least 0 and below 1; got {residual}")
    where = calls[-1].query_geometry
    for call in reversed(calls):
        mass = to_grid(mass, where, call.query_geometry)
        looked = to_grid(push(mass, call, one_a_row), call.key_geometry, call.geometry)
        stayed = to_grid(mass, call.query_geometry, call.geometry)
        mass, where = residual * stayed + (1 - residual) * looked, call.geometry
    return mass


def one_a_row(call: Call, queries: Tensor, weights: Tensor) -> Tensor:
    """The mean magnitude over heads of the entries that have a key, each query's scaled to sum one: (B, Q, S)."""
    target = call.support.targets(call.height, call.width, queries)
    share = weights.float().abs().mean(1).masked_fill(target < 0, 0)
    return share / share.sum(-1, keepdim=True).clamp(min=torch.finfo(share.dtype).tiny)


def up_to(calls: list[Call], layer: str | None) -> list[Call]:
    """The calls up to the last of the layer named. Raises ValueError when there is none of that name."""
    if layer is None:
        return calls
    names = dict.fromkeys(call.layer for call in calls)
    if layer not in names:
        raise ValueError(f"no attention layer {layer!r}; the model has: {', '.join(names)}")
    last = max(index for index, call in enumerate(calls) if call.layer == layer)
    return calls[: last + 1]
