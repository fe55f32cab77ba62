"""The Triton kernel of patchwise SAN's first linear map, for inference: P output positions, tap by tap, norm and ReLU in registers.

Legend: P positions of a tile of P / 8 rows of 8; D channels, BD of them at a time; G outputs, BG of them a program.
"""

import triton
import triton.language as tl

from sightline.ops.triton_support.kernels import fold, product, tile_of

SIZES = ["H", "W", "tiles_h", "tiles_w"]


@triton.jit
def tap_of(
    acc, pointer, spot, s_c, real, norm, weight, tap, g,
    D: tl.constexpr, G: tl.constexpr, COUNT: tl.constexpr, BD: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """acc, and what one of COUNT taps adds to it: spot are its places (P,) in the map, real whether they are inside."""
    for first in tl.static_range(0, D, BD):
        d = first + tl.arange(0, BD)
        known = d < D
        mean = tl.load(norm + tap * D + d, mask=known, other=0.0)
        scale = tl.load(norm + (COUNT + tap) * D + d, mask=known, other=0.0)
        offset = tl.load(norm + (2 * COUNT + tap) * D + d, mask=known, other=0.0)
        there = pointer + d[None, :] * s_c + spot[:, None]
        x = tl.load(there, mask=real[:, None] & known[None, :], other=0.0).to(tl.float32)
        z = tl.maximum((x - mean[None, :]) * scale[None, :] + offset[None, :], 0.0).to(weight.dtype.element_ty)
        w = weight + (tap * D + d)[:, None] * G + g[None, :]
        acc += product(z, tl.load(w, mask=known[:, None] & (g < G)[None, :], other=0.0), PRECISION)
    return acc


@triton.jit(do_not_specialize=SIZES)
def forward(
    q, k, norm, weight, y, q_b, q_c, q_h, q_w, k_b, k_c, k_h, k_w, H, W, tiles_h, tiles_w,
    D: tl.constexpr, G: tl.constexpr, K: tl.constexpr, OWN: tl.constexpr, REFLECT: tl.constexpr, PRECISION: tl.constexpr,
    P: tl.constexpr, BD: tl.constexpr, BG: tl.constexpr,
):  # fmt: skip
    """y (B, H, W, G) of queries (where OWN) and keys (B, D, H, W), norm (3, N, D): mean, scale, offset, and weight (N, D, G).

    N is the number of taps, after which the query comes as one more.
    """
    N: tl.constexpr = K * K + OWN
    rest, row, col = tile_of(tl.program_id(0), tl.arange(0, P), tiles_h, tiles_w, P)
    blocks: tl.constexpr = (G + BG - 1) // BG
    b, g = (rest // blocks).to(tl.int64), rest % blocks * BG + tl.arange(0, BG)
    inside = (row < H) & (col < W)
    acc = tl.zeros((P, BG), tl.float32)
    if OWN:
        acc = tap_of(
            acc, q + b * q_b, row * q_h + col * q_w, q_c, inside, norm, weight, K * K, g, D, G, N, BD, PRECISION
        )
    for tap in range(K * K):
        at, along = row + tap // K - K // 2, col + tap % K - K // 2
        if REFLECT:
            at, along, real = fold(at, H), fold(along, W), inside
        else:
            real = inside & (at >= 0) & (at < H) & (along >= 0) & (along < W)
        acc = tap_of(acc, k + b * k_b, at * k_h + along * k_w, k_c, real, norm, weight, tap, g, D, G, N, BD, PRECISION)
    out = y + ((b * H + row) * W + col)[:, None] * G + g[None, :]
    tl.store(out, acc.to(y.dtype.element_ty), mask=inside[:, None] & (g < G)[None, :])
