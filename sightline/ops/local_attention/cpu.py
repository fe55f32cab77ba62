"""The compiled kernels cpu.cpp as a torch operator, `torch.ops.sightline.local_attention`: float32 and bfloat16 on the CPU."""

from typing import Any

import torch
from torch import Tensor

from sightline.ops import native, window
from sightline.ops.local_attention import dense, reference
from sightline.ops.local_attention.cost import cost
from sightline.ops.native import operator

OPERATOR = True
SCHEMA = (
    "(Tensor query, Tensor key, Tensor value, Tensor? relative_rows, Tensor? relative_cols, "
    "int kernel_size, int heads, int stride, int dilation, bool exclude)"
)


def objection(query: Tensor, key: Tensor, value: Tensor, *tables: Tensor | None, **options: object) -> str | None:
    """Why the kernels can not run these operands; None when they can."""
    return operator.objection(query, key, value, *tables)


def outrun(query: Tensor, key: Tensor, *rest: Tensor | None, kernel_size: int, **options: Any) -> bool:
    """On maps of fewer pixels than the window has taps the dense product is faster, where it can run."""
    able = dense.objection(query, key, *rest, kernel_size=kernel_size, **options) is None
    return able and window.outrun_by_dense(key, kernel_size)


def run(query, key, value, relative_rows, relative_cols, *, kernel_size, heads, stride, dilation, border) -> Tensor:
    """See `sightline.ops.local_attention`."""
    options = (kernel_size, heads, stride, dilation, border == "exclude")
    return torch.ops.sightline.local_attention(query, key, value, relative_rows, relative_cols, *options)


def forward(query, key, value, rows, cols, *options) -> Tensor:
    """Run the forward kernel."""
    y = empty(query, key, value, rows, cols, *options)
    rows, cols = operator.table(rows), operator.table(cols)
    views = [*map(native.view, (query, key, value, y)), *[native.view(None)] * 3]
    _call("local_attention", views, (rows, cols), (None, None), query, value, *options)
    return y


def backward(needed, grad, query, key, value, rows, cols, *options) -> list[Tensor | None]:
    """Run the backward kernel: gradients of the five operands, None where they are not needed."""
    maps = zip((query, key, value), needed[:3], strict=True)
    gradients = [torch.empty_like(one) if want else None for one, want in maps]
    tables = operator.table(rows), operator.table(cols)
    grad_tables = [torch.empty_like(one) if one is not None and any(needed[3:]) else None for one in tables]
    views = map(native.view, (query, key, value, grad, *gradients))
    _call("local_attention_backward", views, tables, grad_tables, query, value, *options)
    for table, own, want in zip(grad_tables, (rows, cols), needed[3:], strict=True):
        gradients.append(table.to(own.dtype) if want and table is not None else None)
    return gradients


def _call(kernel, views, tables, grad_tables, query, value, kernel_size, heads, stride, dilation, exclude) -> None:
    """The fields of `Arguments` in cpu.cpp, in order."""
    rows, _ = tables
    addresses = [0 if t is None else t.data_ptr() for t in (*tables, *grad_tables)]
    halves = (0, 0) if rows is None else rows.shape[:2]
    sizes = (query.shape[0], heads, query.shape[1] // heads, value.shape[1] // heads, *value.shape[2:])
    fields = [field for view in views for field in view]
    native.call(kernel, *fields, *addresses, *halves, *sizes, kernel_size, stride, dilation, exclude)


def empty(query, key, value, rows, cols, kernel_size, heads, stride, dilation, exclude) -> Tensor:
    """An output of the right shape, in the query's dtype and memory format."""
    return operator.empty_map(query, value.shape[1])


def flops(query, key, value, rows, cols, kernel_size, heads, *_options, **_named) -> int:
    """Floating-point operations for shapes, as torch's counter wants them: two a multiply-add of the closed form."""
    query, key, value = (torch.empty(one, device="meta") for one in (query, key, value))
    rows, cols = (None if one is None else torch.empty(one, device="meta") for one in (rows, cols))
    return 2 * cost(query, key, value, rows, cols, kernel_size=kernel_size, heads=heads).macs


def definition(query, key, value, rows, cols, kernel_size, heads, stride, dilation, exclude) -> Tensor:
    """The reference, called as the operator is: what a derivative of the gradient is taken of."""
    options = {"kernel_size": kernel_size, "heads": heads, "stride": stride, "dilation": dilation}
    return reference.run(query, key, value, rows, cols, **options, border="exclude" if exclude else "zero")


operator.register("local_attention", SCHEMA, forward, backward, empty, flops, definition)
