"""The dense backends of the window ops against their references, in float64, forward and gradient."""

import itertools

import pytest
import torch

from sightline.ops import local_attention, local_relation, window
from sightline.ops.local_attention import cpu as attention_kernels
from sightline.ops.local_relation import cpu as relation_kernels
from sightline.ops.window import output_size

GEOMETRIES = [
    {"kernel_size": k, "stride": s, "dilation": d}
    for k, s, d in ((1, 1, 1), (3, 1, 1), (5, 2, 1), (3, 2, 2), (7, 3, 1), (3, 1, 3))
]
SIZES = [(1, 1), (1, 4), (4, 3), (3, 2)]


def compare(op, operands, options):
    results = []
    for backend in ("dense", "reference"):
        leaves = [None if one is None else one.clone().requires_grad_() for one in operands]
        y = op(*leaves, **options, backend=backend)
        torch.manual_seed(1)
        (y * torch.randn_like(y)).sum().backward()
        results.append([y, *(one.grad for one in leaves if one is not None)])
    for dense, reference in zip(*results, strict=True):
        torch.testing.assert_close(dense, reference, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("geometry", "size"), list(itertools.product(GEOMETRIES, SIZES)))
def test_local_attention(geometry, size, monkeypatch):
    monkeypatch.setattr(window, "PIXELS_PER_TAP", 100)
    out = output_size(*size, geometry["stride"])
    make = lambda *shape: torch.randn(*shape, dtype=torch.float64)  # noqa: E731
    relative = (make(2, 2, geometry["kernel_size"]), make(2, 1, geometry["kernel_size"]))
    for tables in (relative, (None, None)):
        operands = (make(2, 6, *out), make(2, 6, *size), make(2, 4, *size), *tables)
        compare(local_attention, operands, geometry | {"heads": 2})


@pytest.mark.parametrize(("geometry", "size"), list(itertools.product(GEOMETRIES, SIZES)))
def test_local_relation(geometry, size, monkeypatch):
    monkeypatch.setattr(window, "PIXELS_PER_TAP", 100)
    out = output_size(*size, geometry["stride"])
    make = lambda *shape: torch.randn(*shape, dtype=torch.float64)  # noqa: E731
    for order, similarity in (("contiguous", "multiply"), ("interleaved", "squared_difference")):
        operands = (make(2, 3, *out), make(2, 3, *size), make(2, 6, *size), make(3, geometry["kernel_size"] ** 2))
        compare(local_relation, operands, geometry | {"order": order, "similarity": similarity})


@pytest.mark.parametrize("op", [local_attention, local_relation])
def test_a_named_backend_runs_or_raises(op):
    large = torch.randn(1, 2, 16, 16)
    with pytest.raises(NotImplementedError, match=r"backend 'dense' .* 256 pixels"):
        op(large, large, large, kernel_size=3, backend="dense")
    with pytest.raises(NotImplementedError, match="border is 'zero'"):
        op(large, large, large, kernel_size=9, border="zero", backend="dense")
    with pytest.raises(ValueError, match=r"has no backend 'fast'; it has: auto, .*dense, reference"):
        op(large, large, large, kernel_size=3, backend="fast")


def test_auto_leaves_small_maps_to_the_dense_product() -> None:
    """The kernels can run there, but a product with all pixels is faster; where it can not run, the kernels are kept."""
    for side, border, outrun in ((4, "exclude", True), (4, "zero", False), (5, "exclude", False)):
        x = torch.zeros(1, 8, side, side)
        options = {"kernel_size": 5, "stride": 1, "dilation": 1, "border": border}
        assert attention_kernels.outrun(x, x, x, None, None, heads=2, **options) is outrun
        similarity = {"similarity": "multiply", "order": "contiguous"}
        assert relation_kernels.outrun(x, x, x, None, **similarity, **options) is outrun
