"""The plain weights of one position in one layer."""

from functools import partial

import torch
from torch import Tensor

from sightline.explain.compose import push
from sightline.explain.explanation import Answer, Ask
from sightline.explain.readout import readout
from sightline.explain.record import Call, record


@torch.no_grad()
def attention(ask: Ask) -> Answer:
    """The weights of the query at `ask.at` (None: what the classifier reads) in one layer, all its passes composed."""
    with record(ask.model, ask.layer) as calls:
        ask.model(ask.images)
    *earlier, last = of_one_layer(calls, ask.layer)
    mass = push(readout(ask.model, last, ask.at), last, partial(of_head, ask.head))
    for call in reversed(earlier):
        mass = push(mass, call)
    return on_grid(mass, last)


def of_one_layer(calls: list[Call], layer: str | None) -> list[Call]:
    """The calls of the layer asked for; None: of the deepest among those with the finest grid of queries.

    Raises:
        ValueError: a pattern matches several layers.
    """
    names = list(dict.fromkeys(call.layer for call in calls))
    if layer is not None and len(names) > 1:
        raise ValueError(f"one layer at a time; {layer!r} matches {', '.join(names)}")
    chosen = deepest_of_the_finest(calls) if layer is None else names[0]
    return [call for call in calls if call.layer == chosen]


def deepest_of_the_finest(calls: list[Call]) -> str:
    """The name of the deepest layer among those with the most queries."""
    sizes = [call.query_geometry.rows * call.query_geometry.cols for call in calls]
    return next(call.layer for call, size in zip(reversed(calls), reversed(sizes), strict=True) if size == max(sizes))


def of_head(head: int | None, call: Call, _queries: Tensor, weights: Tensor) -> Tensor:
    """The weights of one head or channel group (B, Q, S), or their mean. Raises ValueError when there is no such head."""
    if head is None:
        return weights.float().mean(1)
    if not 0 <= head < weights.shape[1]:
        raise ValueError(f"layer {call.layer} has heads or channel groups 0 to {weights.shape[1] - 1}; got {head}")
    return weights[:, head].float()


def on_grid(mass: Tensor, call: Call) -> Answer:
    """Mass on the keys of a call (B, 1, keys) as maps and tokens."""
    where = call.key_geometry
    tokens = {name: mass[:, 0, index].cpu() for index, name in enumerate(where.tokens)}
    maps = mass[:, 0, where.prefix :].unflatten(1, (where.rows, where.cols))
    return Answer(maps, where, call.layer, signed=bool((maps < 0).any()), tokens=tokens)
