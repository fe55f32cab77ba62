"""What the classifier of a net reads: the start of every map that no position was chosen for."""

from typing import Any

import torch
from torch import Tensor

from sightline.explain.attending import net_of
from sightline.explain.record import Call


def readout(model: Any, call: Call, at: tuple[int, int] | str | None) -> Tensor:
    """Mass (B, 1, queries) on the queries of a call: on the one asked for, or where the classifier reads.

    That is the class token, in equal parts the class and the distillation token, or all positions in equal parts.
    """
    where, batch = call.query_geometry, call.output.shape[0]
    mass = torch.zeros(where.prefix + where.rows * where.cols, device=call.output.device)
    if at is not None:
        mass[where.flat(at)] = 1
    elif reads_tokens(model) and where.prefix:
        names = [name for name in where.tokens if name in ("class", "distillation")]
        for name in names:
            mass[where.flat(name)] = 1 / len(names)
    else:
        mass[where.prefix :] = 1 / (where.rows * where.cols)
    return mass.expand(batch, 1, -1)


def reads_tokens(model: Any) -> bool:
    """Whether a net's classifier reads its class token and not the mean of all positions."""
    return getattr(net_of(model), "global_pool", None) == "token"


def reads(model: Any, at: tuple[int, int] | str | None) -> str:
    """The same in words, for a title."""
    if at is not None:
        return at + " token" if isinstance(at, str) else f"pixel ({at[0]}, {at[1]})"
    if not reads_tokens(model):
        return "mean of all positions"
    return "class and distillation token" if getattr(net_of(model), "dist_token", None) is not None else "class token"
