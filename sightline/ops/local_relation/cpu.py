"""The compiled kernels cpu.cpp as a torch operator, `torch.ops.sightline.local_relation`: float32 and bfloat16 on the CPU."""

from typing import Any

import torch
from torch import Tensor

from sightline.ops import native, window
from sightline.ops.local_relation import dense, reference
from sightline.ops.local_relation.cost import cost
from sightline.ops.native import operator

OPERATOR = True
SIMILARITIES = tuple(reference.SIMILARITIES)  # in the order of `Similarity` in cpu.cpp
SCHEMA = (
    "(Tensor query, Tensor key, Tensor value, Tensor? geometry, "
    "int kernel_size, int similarity, int stride, int dilation, bool exclude, bool interleaved, "
    "int share)"
)


def objection(query: Tensor, key: Tensor, value: Tensor, geometry: Tensor | None, **options: object) -> str | None:
    """Why the kernels can not run these operands; None when they can."""
    return operator.objection(query, key, value, geometry)


def outrun(query: Tensor, key: Tensor, *rest: Tensor | None, kernel_size: int, **options: Any) -> bool:
    """On maps of fewer pixels than the window has taps the dense product is faster, where it can run."""
    able = dense.objection(query, key, *rest, kernel_size=kernel_size, **options) is None
    return able and window.outrun_by_dense(key, kernel_size)


def run(query, key, value, geometry, *, kernel_size, similarity, stride, dilation, border, order, share) -> Tensor:
    """See `sightline.ops.local_relation`."""
    sizes = (kernel_size, SIMILARITIES.index(similarity), stride, dilation)
    share = value.shape[1] // key.shape[1] if share is None else share
    return torch.ops.sightline.local_relation(
        query, key, value, geometry, *sizes, border == "exclude", order == "interleaved", share
    )


def forward(query, key, value, geometry, *options) -> Tensor:
    """Run the forward kernel."""
    y = empty(query, key, value, geometry, *options)
    _call("local_relation", (query, key, value, y, None, None, None), operator.table(geometry), None, *options)
    return y


def backward(needed, grad, query, key, value, geometry, *options) -> list[Tensor | None]:
    """Run the backward kernel: gradients of the four operands, None where they are not needed."""
    maps = zip((query, key, value), needed[:3], strict=True)
    gradients = [torch.empty_like(one) if want else None for one, want in maps]
    prior = operator.table(geometry)
    grad_prior = torch.empty_like(prior) if prior is not None and needed[3] else None
    _call("local_relation_backward", (query, key, value, grad, *gradients), prior, grad_prior, *options)
    return [*gradients, None if grad_prior is None else grad_prior.to(geometry.dtype)]


def _call(
    kernel, maps, prior, grad_prior, kernel_size, similarity, stride, dilation, exclude, interleaved, share
) -> None:
    """The fields of `Arguments` in cpu.cpp, in order."""
    _, key, value, *_ = maps
    fields = [field for one in maps for field in native.view(one)]
    fields += [0 if one is None else one.data_ptr() for one in (prior, grad_prior)]
    fields += [*key.shape[:2], share, value.shape[1], *key.shape[2:]]
    native.call(kernel, *fields, kernel_size, stride, dilation, similarity, exclude, interleaved)


def empty(query, key, value, geometry, *options) -> Tensor:
    """An output of the right shape, in the query's dtype and the value's memory format."""
    return operator.empty_map(query, value.shape[1], layout=value)


def flops(query, key, value, geometry, kernel_size, *_options, **_named) -> int:
    """Floating-point operations for shapes, as torch's counter wants them: two a multiply-add of the closed form."""
    query, key, value = (torch.empty(one, device="meta") for one in (query, key, value))
    return 2 * cost(query, key, value, kernel_size=kernel_size).macs


def definition(
    query, key, value, geometry, kernel_size, similarity, stride, dilation, exclude, interleaved, share
) -> Tensor:
    """The reference, called as the operator is: what a derivative of the gradient is taken of."""
    return reference.run(
        query,
        key,
        value,
        geometry,
        kernel_size=kernel_size,
        similarity=SIMILARITIES[similarity],
        stride=stride,
        dilation=dilation,
        border="exclude" if exclude else "zero",
        order="interleaved" if interleaved else "contiguous",
        share=share,
    )


operator.register("local_relation", SCHEMA, forward, backward, empty, flops, definition)
