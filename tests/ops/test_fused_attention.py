"""Torch's fused attention as we call it, at the lengths where kernels have returned NaN: every dtype, with and without relative
terms, which take the place of a mask, and over pooled keys; on the CPU, and on a GPU where there is one."""

import pytest
import torch

from sightline.ops import global_attention, pairwise_attention
from tests.ops.gpu import needs_gpu
from tests.ops.kernels import doubles, poisoned, results

DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
GRIDS = {49: (7, 7), 64: (8, 8), 65: (5, 13), 192: (12, 16), 196: (14, 14), 197: (1, 197), 320: (16, 20)}


def check(call, operands, dtype):
    """Finite, and near float64 by the reference; outputs held NaN before."""
    with poisoned():
        found = results(call, operands)
    exact = results(lambda *t: call(*t, backend="reference"), doubles(operands))
    for one, true in zip(found, exact, strict=True):
        assert one.isfinite().all()
        assert (one.double() - true).abs().max() <= TOLERANCE[dtype] * true.abs().max().clamp(min=1)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("relative", [False, True], ids=["plain", "relative"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("length", GRIDS)
def test_tokens(length, dtype, relative, device):
    torch.manual_seed(length)
    make = lambda *shape: torch.randn(*shape).to(device, dtype)  # noqa: E731
    grid = GRIDS[length]
    tables = [make(2 * size - 1, 64) / 8 for size in grid] if relative else [None, None]
    operands = [*(make(1, 2, length, 64) for _ in range(3)), *tables]
    for backend in (
        ["auto"] if device == "cpu" and relative else ["auto", "sdpa"]
    ):  # on a CPU it leaves small dense maps to others
        check(lambda *t, backend=backend: global_attention(*t, grid=grid, backend=backend), operands, dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("length", GRIDS)
def test_positions_over_pooled_keys(length, dtype, device):
    torch.manual_seed(length)
    make = lambda size: torch.randn(1, 16, size).to(device, dtype) / 2  # noqa: E731
    operands = [make(length), make(length // 4 + 1), make(length // 4 + 1)]
    check(lambda *t, backend="auto": pairwise_attention(*t, backend=backend), operands, dtype)
