"""Torch's fused attention as we call it, at the lengths where kernels have returned NaN: every dtype, with and without a bias."""

import pytest
import torch

from sightline.ops import global_attention
from tests.ops.gpu import needs_gpu
from tests.ops.kernels import doubles, results

pytestmark = needs_gpu
LENGTHS = (49, 64, 65, 192, 196, 197, 320)
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
GRIDS = {49: (7, 7), 64: (8, 8), 65: (5, 13), 192: (12, 16), 196: (14, 14), 197: (1, 197), 320: (16, 20)}


@pytest.mark.parametrize("backend", ["auto", "sdpa"])
@pytest.mark.parametrize("relative", [False, True], ids=["plain", "relative"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("length", LENGTHS)
def test_no_nan_and_near_float64(length, dtype, relative, backend):
    torch.manual_seed(length)
    make = lambda *shape: torch.randn(*shape, device="cuda").to(dtype)  # noqa: E731
    grid = GRIDS[length]
    tables = [make(2 * size - 1, 64) / 8 for size in grid] if relative else [None, None]
    operands = [*(make(2, 3, length, 64) for _ in range(3)), *tables]
    found = results(lambda *t: global_attention(*t, grid=grid, backend=backend), operands)
    exact = results(lambda *t: global_attention(*t, grid=grid, backend="reference"), doubles(operands))
    for one, true in zip(found, exact, strict=True):
        assert one.isfinite().all()
        assert (one.double() - true).abs().max() <= TOLERANCE[dtype] * true.abs().max().clamp(min=1)
