"""What every Triton kernel multiplies and raises with; imported by kernels alone, as it needs triton."""

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def product(a, b, PRECISION: tl.constexpr):
    """a @ b with float32 sums; a float32 table meets a narrower a as two narrow halves, so that none of it is lost."""
    if PRECISION == "interpreted":  # its products of bfloat16 are wrong
        found = tl.dot(a.to(tl.float32), b.to(tl.float32))
    elif a.dtype == b.dtype:
        found = tl.dot(a, b, input_precision=PRECISION)
    else:
        high = b.to(a.dtype)
        low = (b - high.to(tl.float32)).to(a.dtype)
        found = tl.dot(a, high) + tl.dot(a, low)
    return found


@triton.jit
def tile_of(pid, p, tiles_h, tiles_w, P: tl.constexpr):
    """Of a program: what its number leaves beside the tiles, rows and columns of places p of its tile of P / 8 rows of 8."""
    tile, rest = pid % (tiles_h * tiles_w), pid // (tiles_h * tiles_w)
    return rest, tile // tiles_w * (P // 8) + p // 8, tile % tiles_w * 8 + p % 8


@triton.jit
def fold(place, size):
    """Places along an axis, folded into it by reflection that does not repeat the edge, however far they are."""
    last = size - 1
    folded = tl.abs(place) % tl.maximum(2 * last, 1)
    return tl.minimum(folded, 2 * last - folded)
