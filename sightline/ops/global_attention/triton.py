"""The Triton kernels as a torch operator, `torch.ops.sightline.triton_grid_attention`: attention with 2-D relative terms on a GPU.

q . r of every query with every row and every column of the grid, (L, H) and (L, W), are torch's products, in float32; the kernels
add them to the logits in a flash loop. Neither the (L, L) logits nor a bias of that size is ever in memory.
"""

from typing import Any

import torch
from torch import Tensor

from sightline.ops import triton_support as support
from sightline.ops.global_attention.reference import relative_logits
from sightline.ops.native import operator
from sightline.ops.precision import widen, without_autocast
from sightline.ops.triton_support import power_of_two

OPERATOR = True
DEEPEST = 128  # channels a head
WIDEST = 128  # columns of the grid
CHOICES = ({"num_warps": 4, "num_stages": 2}, {"num_warps": 4, "num_stages": 1})
NAME = "triton_grid_attention"
SCHEMA = "(Tensor query, Tensor key, Tensor value, Tensor by_row, Tensor by_col, int height, int width, float scale)"


def objection(query, key, value, relative_rows, relative_cols, *, grid, scale) -> str | None:
    """Why the kernels can not run these operands; None when they can. Without relative terms torch's kernels do the same."""
    if relative_rows is None:
        return "it is for relative rows and columns; without them backend 'sdpa' takes torch's fused kernels"
    if (reason := support.objection(query, key, value, relative_rows, relative_cols)) is not None:
        return reason
    if max(query.shape[3], value.shape[3]) > DEEPEST:
        return f"it takes heads of up to {DEEPEST} channels; got {query.shape[3]} and {value.shape[3]}"
    if grid[1] > WIDEST:
        return f"it takes grids of up to {WIDEST} columns; got {grid[1]}"
    return support.too_far(query, key, value)


def outrun(*operands: Any, **options: Any) -> bool:
    """The interpreter is slower than anything."""
    return support.INTERPRETING


def run(query, key, value, relative_rows, relative_cols, *, grid, scale) -> Tensor:
    """See `sightline.ops.global_attention`."""
    with without_autocast(query.device):
        q, rows, cols = widen(query, relative_rows, relative_cols)
        by_row, by_col = relative_logits(q * scale, rows, cols, grid)
    return torch.ops.sightline.triton_grid_attention(query, key, value, by_row, by_col, *grid, scale)[0]


def forward(query, key, value, by_row, by_col, height, width, scale) -> tuple[Tensor, Tensor]:
    """Run the forward kernel: the answer, and of every softmax the largest logit and the inverse of the sum, (B, N, L, 2)."""
    y, statistics = empty(query, key, value, by_row, by_col, height, width, scale)
    if y.numel():
        maps = (*support.common(query, key, value), y)
        tensors = (*maps[:3], by_row.contiguous(), by_col.contiguous(), y, statistics)
        _launch("forward", height * width, maps, tensors, query, value, height, width, scale)
    return y, statistics


def backward(
    needed, grad, y, statistics, query, key, value, by_row, by_col, height, width, scale
) -> list[Tensor | None]:
    """Run the backward kernels: gradients of the five operands, None where they are not needed."""
    operands = (query, key, value, by_row, by_col)
    fill = torch.empty_like if y.numel() else torch.zeros_like
    gradients = [fill(one) for one in operands[:3]]
    gradients += [fill(one, memory_format=torch.contiguous_format) for one in operands[3:]]
    if y.numel():
        maps, terms = support.common(query, key, value), (by_row.contiguous(), by_col.contiguous())
        delta, last = torch.empty_like(statistics[..., 0]), (query, value, height, width, scale)
        d_query, d_key, d_value, d_row, d_col = gradients
        read = (*maps, *terms, statistics, grad, delta)
        _launch("backward_queries", height * width, (*maps, grad, d_query), (*read, d_query, d_row, d_col), *last)
        if needed[1] or needed[2]:
            _launch("backward_keys", height, (*maps, grad, d_key, d_value), (*read, d_key, d_value), *last)
    return [one if want else None for one, want in zip(gradients, needed, strict=True)]


def _launch(name, items, maps, tensors, query, value, height, width, scale) -> None:
    """Start a kernel: a program takes `block` queries, or `high` rows of keys, of `items`."""
    from sightline.ops.global_attention import kernels

    wide, many = power_of_two(width, 16), 32 if maps[0].element_size() == 4 else 64
    high = max(many // wide, 1)
    block = min(power_of_two(height * width, 16), many)
    programs = -(-items // (high if name == "backward_keys" else block)) * query.shape[0] * query.shape[1]
    support.launch(
        getattr(kernels, name),
        lambda _options: (programs,),
        *tensors,
        scale,
        *[step for one in maps for step in one.stride()],
        query.shape[1],
        height,
        width,
        device=query.device,
        choices=CHOICES,
        D=query.shape[3],
        E=value.shape[3],
        PRECISION=support.precision(maps[0].dtype),
        M=block,
        R=high,
        C=wide,
        BD=power_of_two(query.shape[3], 16),
        BE=power_of_two(value.shape[3], 16),
    )


def empty(query, key, value, by_row, by_col, height, width, scale) -> tuple[Tensor, Tensor]:
    """An answer in the query's dtype, the heads of a token side by side, and room for the statistics."""
    batch, heads, length, _ = query.shape
    y = query.new_empty(batch, length, heads, value.shape[3]).transpose(1, 2)
    return y, query.new_empty((batch, heads, length, 2), dtype=torch.float32)


def flops(query, key, value, by_row, by_col, *_options, **_named) -> int:
    """Two a multiply-add; q . r are torch's and counted there."""
    return 2 * query[0] * query[1] * query[2] * key[2] * (query[3] + value[3])


def definition(query, key, value, by_row, by_col, height, width, scale) -> Tensor:
    """The same in plain PyTorch: what a derivative of the gradient is taken of."""
    q, k, v, rows, cols = widen(query, key, value, by_row, by_col)
    logits = q @ k.transpose(2, 3) * scale + (rows.unsqueeze(-1) + cols.unsqueeze(-2)).flatten(-2)
    return (logits.softmax(-1) @ v).to(query.dtype)


operator.register(NAME, SCHEMA, forward, backward, empty, flops, definition, support.DEVICES, statistics=True)
