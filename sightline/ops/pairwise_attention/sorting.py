"""Concatenation in N log N: the keys are sorted by b, and what a query sees is then a prefix of them.

    y_i = 1/N sum over j of relu(a_i + b_j) v_j,    c = -b sorted upwards,    n the number of c_j < a_i
    P_n = v_1 + ... + v_n                           (steps: what the slope of y_i in a_i is)
    N y_i = P_n (a_i - c_n) + sum over l < n of P_l (c_{l+1} - c_l)                                (ramps)

Exact, and as precise as the dense sum: all factors of P are differences that relu would have made, none is negative, so an offset
between a and b cancels before it is multiplied. At a kink (a_i + b_j = 0) the slope is 0, as relu's is in torch.
The gradients have the same form with queries and keys exchanged: the one of v is the ramps of the gradient, the one of b its steps;
the one of a takes the steps of v.
Legend: B batch, D E key and value channels, M queries, N keys (both flat, row-major).
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sightline.ops.dispatch import known
from sightline.ops.native.operator import forward_mode
from sightline.ops.pairwise_attention.reference import concatenated
from sightline.ops.precision import widen, without_autocast

FEWEST_PAIRS = 256 * 256  # measured: the dense sum over fewer pairs is quicker than the sort


def objection(query, key, value, concat_weight, *, similarity, **options: Any) -> str | None:
    """It sorts scalars, which the products of the other similarities do not come from, and has no forward-mode derivative."""
    if similarity != "concatenation":
        return f"it is for 'concatenation'; got {similarity!r}"
    if forward_mode():
        return "forward-mode derivatives need the reference"
    pairs = math.prod(query.shape[2:]) * math.prod(key.shape[2:])
    if not known(pairs) or pairs < FEWEST_PAIRS:
        return f"the dense sum over {pairs} pairs is quicker than the sort; it is for {FEWEST_PAIRS} and more"
    return None


def run(query, key, value, concat_weight, *, similarity, scale) -> Tensor:
    """See `sightline.ops.pairwise_attention`."""
    with without_autocast(query.device):
        q, k, v, weight = widen(query, key, value, concat_weight)
        a, b = concatenated(q.flatten(2), k.flatten(2), weight)
        _, ramps = _Sums.apply(a, b, v.flatten(2) / b.shape[1])
        return ramps.unflatten(2, query.shape[2:]).to(query.dtype)


class _Sums(torch.autograd.Function):
    """steps, ramps (B, E, M) of a (B, M), b (B, N), v (B, E, N): the sums of v_j over a_i + b_j > 0, and of relu(a_i + b_j) v_j."""

    @staticmethod
    def forward(a: Tensor, b: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        c, order = (-b).sort(dim=1)
        seen = torch.searchsorted(c, a.contiguous())  # B, M
        last = (seen - 1).clamp(min=0)
        prefix = v.gather(2, _along(order, v)).cumsum(2)  # B, E, N
        rises = prefix[:, :, :-1] * c.diff().unsqueeze(1)
        risen = F.pad(rises, (1, 0)).cumsum(2)  # B, E, N: the ramps of queries at c
        some = (seen > 0).to(v.dtype).unsqueeze(1)
        steps = prefix.gather(2, _along(last, v)) * some
        beyond = (a - c.gather(1, last)).unsqueeze(1)
        return steps, torch.addcmul(risen.gather(2, _along(last, v)) * some, steps, beyond)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs, output[0])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        a, b, v, steps = ctx.saved_tensors
        of_steps, of_ramps = gradients
        of_a = of_b = of_v = None
        if of_ramps is not None:
            of_b, of_v = _Sums.apply(b, a, of_ramps)
            of_a, of_b = (of_ramps * steps).sum(1), (of_b * v).sum(1)
        if of_steps is not None:  # in a second derivative alone
            more, _ = _Sums.apply(b, a, of_steps)
            of_v = more if of_v is None else of_v + more
        return of_a, of_b, of_v

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], *operands: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[int, int]]:
        """What `torch.func.vmap` maps over joins the batch."""
        size = info.batch_size
        joined = [
            (one.expand(size, *one.shape) if axis is None else one.movedim(axis, 0)).flatten(0, 1)
            for one, axis in zip(operands, in_dims, strict=True)
        ]
        steps, ramps = (one.unflatten(0, (size, -1)) for one in _Sums.apply(*joined))
        return (steps, ramps), (0, 0)


def _along(index: Tensor, v: Tensor) -> Tensor:
    """index (B, L) for every channel of v (B, E, N), without a copy."""
    return index.unsqueeze(1).expand(-1, v.shape[1], -1)
