"""The gradient of a class score with respect to attention weights that no kernel ever stored.

An op's output is linear in its weights, y_q = sum over s of w_qs v_s, so dL/dw_qs = dL/dy_q . v_s: from the gradient at the op's
output and the values it received, for the queries asked for, whatever fused kernel ran. Exact, not an approximation.

Legend: B batch, G heads or channel groups, P positions of the keys, Q queries, S entries, E channels a group.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sightline.explain.attending import TapLayer, TimmLayer
from sightline.explain.record import Call
from sightline.ops import support
from sightline.ops.precision import widen, without_autocast


@dataclass(frozen=True)
class Values:
    """What the weights of a call are applied to.

    Args:
        parts: values (B, G, P, E), several where they are mixed by the place they are read at (SASA's stem).
        shares: for each part the factor (S,) of every entry; None: 1.
        gradient: of the score at the op's output, (B, G, Q, E).
    """

    parts: tuple[Tensor, ...]
    shares: tuple[Tensor | None, ...]
    gradient: Tensor

    @property
    def channels(self) -> int:
        """Numbers read for an entry: B * G * E."""
        return self.parts[0].shape[0] * self.parts[0].shape[1] * self.parts[0].shape[3]


def values_of(call: Call, gradient: Tensor) -> Values:
    """The values of a call and the gradient at its output, by head or channel group."""
    if isinstance(call.attending, TimmLayer):
        value = call.attending.projections(call.operands)[2]
        return Values((value,), (None,), gradient.unflatten(2, (value.shape[1], -1)).transpose(1, 2))
    if not isinstance(call.attending, TapLayer):
        raise TypeError(f"no values are known of {type(call.attending).__name__}")
    read = _READ[call.attending.op]
    return read(call.attending.received(call.operands), call.attending.tap.options, gradient)


def weight_gradient(call: Call, values: Values, queries: Tensor) -> Tensor:
    """dL/dw (B, G, Q, S) of flat queries (Q,), in float32 or wider."""
    with without_autocast(values.gradient.device):
        return _products(call, values, queries)


def _products(call: Call, values: Values, queries: Tensor) -> Tensor:
    (gradient,) = widen(values.gradient[:, :, queries])  # B, G, Q, E
    if isinstance(call.support, support.Global):
        return gradient @ widen(values.parts[0])[0].transpose(2, 3)
    target = call.support.targets(call.height, call.width, queries)  # Q, S
    total = torch.zeros((), device=gradient.device)
    for part, share in zip(values.parts, values.shares, strict=True):
        read = widen(part)[0][:, :, target.clamp(min=0)]  # B, G, Q, S, E
        product = torch.einsum("bgqse,bgqe->bgqs", read, gradient)
        total = total + (product if share is None else product * share)
    return total.masked_fill(target < 0, 0)


def _tokens(operands: tuple[Any, ...], _options: dict[str, Any], gradient: Tensor) -> Values:
    return Values((operands[2],), (None,), gradient)


def _one_group(operands: tuple[Any, ...], _options: dict[str, Any], gradient: Tensor) -> Values:
    return Values((_split(operands[2], 1),), (None,), _split(gradient, 1))


def _heads(operands: tuple[Any, ...], options: dict[str, Any], gradient: Tensor) -> Values:
    return Values((_split(operands[2], options["heads"]),), (None,), _split(gradient, options["heads"]))


def _relation(operands: tuple[Any, ...], options: dict[str, Any], gradient: Tensor) -> Values:
    split = _split if options["order"] == "contiguous" else _interleaved
    groups = operands[1].shape[1]
    return Values((split(operands[2], groups),), (None,), split(gradient, groups))


def _vector(operands: tuple[Any, ...], _options: dict[str, Any], gradient: Tensor) -> Values:
    groups = operands[0].shape[1]
    return Values((_interleaved(operands[1], groups),), (None,), _interleaved(gradient, groups))


def _stem(operands: tuple[Any, ...], options: dict[str, Any], gradient: Tensor) -> Values:
    value, mixture = operands[2], operands[3]
    parts = value.unflatten(1, (mixture.shape[0], -1)).unbind(1)
    split = tuple(_split(part, options["heads"]) for part in parts)
    return Values(split, tuple(mixture.unbind(0)), _split(gradient, options["heads"]))


def _split(x: Tensor, groups: int) -> Tensor:
    """(B, G*E, ...) with the channels of a group side by side -> (B, G, P, E)."""
    return x.flatten(2).unflatten(1, (groups, -1)).transpose(2, 3)


def _interleaved(x: Tensor, groups: int) -> Tensor:
    """(B, E*G, ...), channel c in group c mod G -> (B, G, P, E)."""
    return x.flatten(2).unflatten(1, (-1, groups)).permute(0, 2, 3, 1)


_READ = {
    "global_attention": _tokens,
    "pairwise_attention": _one_group,
    "criss_cross_attention": _one_group,
    "local_attention": _heads,
    "local_relation": _relation,
    "vector_attention": _vector,
    "stem_attention": _stem,
}
