"""The Triton kernels of vector attention: a tile of output positions and a block of weight groups a program, the window row by row.

The weights come from outside, each is read once and shared by the channels of its group; channel c belongs to group c mod G.
Legend: P positions of a tile of P / 8 rows of 8; T taps of a window row, a power of two; M channels of a
        group, N groups of the block.
"""

import triton
import triton.language as tl

from sightline.ops.triton_support.kernels import LOG2E, tile_of

SIZES = ["H", "W", "h", "w", "tiles_h", "tiles_w"]


@triton.jit
def place(pid, tiles_h, tiles_w, groups: tl.constexpr, P: tl.constexpr, N: tl.constexpr):
    """Of a program: batch (64 bits), groups (N,), rows and columns (P,)."""
    rest, row, col = tile_of(pid, tl.arange(0, P), tiles_h, tiles_w, P)
    blocks = tl.cdiv(groups, N)
    return (rest // blocks).to(tl.int64), rest % blocks * N + tl.arange(0, N), row, col


@triton.jit
def read(pointer, batch, channel, row, col, s_b, s_c, s_h, s_w, mask):
    """Elements of a map in float32, zero where the mask is False."""
    offset = batch * s_b + channel * s_c + row * s_h + col * s_w
    return tl.load(pointer + offset, mask=mask, other=0.0).to(tl.float32)


@triton.jit(do_not_specialize=SIZES)
def forward(
    a, v, y, statistics,
    a_b, a_g, a_t, a_h, a_w, v_b, v_c, v_h, v_w, y_b, y_c, y_h, y_w,
    H, W, h, w, tiles_h, tiles_w,
    groups: tl.constexpr, m: tl.constexpr, K: tl.constexpr, STRIDE: tl.constexpr, STEP: tl.constexpr, BEFORE: tl.constexpr,
    SOFTMAX: tl.constexpr, EXCLUDE: tl.constexpr, P: tl.constexpr, T: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """y, and with a softmax its largest logit and the inverse of its sum, statistics (B, groups, h, w, 2).

    The window of output (r, c) begins at pixel (r * STRIDE - BEFORE, c * STRIDE - BEFORE).
    """
    b, g, r, c = place(tl.program_id(0), tiles_h, tiles_w, groups, P, N)
    inside = (r < h) & (c < w)
    t, own = tl.arange(0, T), tl.arange(0, M)
    asked = inside[:, None, None] & (t < K)[None, :, None] & (g < groups)[None, None, :]  # P, T, N
    channel = own[:, None] * groups + g[None, :]  # M, N
    known = ((own < m)[:, None] & (g < groups)[None, :])[None, :, :]
    col = c[:, None] * STRIDE + t[None, :] * STEP - BEFORE  # P, T
    top = tl.full((P, N), float("-inf"), tl.float32)
    total = tl.zeros((P, N), tl.float32)
    acc = tl.zeros((P, M, N), tl.float32)
    for i in range(K):
        row = (r * STRIDE + i * STEP - BEFORE)[:, None]
        real = (row >= 0) & (row < H) & (col >= 0) & (col < W) & (t < K)[None, :] & inside[:, None]
        place_of = real[:, :, None, None] & known[None]
        vs = read(v, b, channel[None, None], row[:, :, None, None], col[:, :, None, None], v_b, v_c, v_h, v_w, place_of)
        weight = b * a_b + g[None, None, :] * a_g + (i * K + t)[None, :, None] * a_t
        weight = tl.load(a + weight + (r * a_h + c * a_w)[:, None, None], mask=asked, other=0.0).to(tl.float32)
        if SOFTMAX:
            seen = real[:, :, None] if EXCLUDE else asked
            weight = tl.where(seen, weight, float("-inf"))
            higher = tl.maximum(top, tl.max(weight, 1))
            level = tl.where(higher == float("-inf"), 0.0, higher)  # no tap seen yet
            weight = tl.exp2((weight - level[:, None, :]) * LOG2E)
            before = tl.exp2((top - level) * LOG2E)
            total = total * before + tl.sum(weight, 1)
            acc = acc * before[:, None, :]
            top = higher
        acc += tl.sum(weight[:, :, None, :] * vs, 1)
    if SOFTMAX:
        mine = inside[:, None] & (g < groups)[None, :]
        inverse = 1.0 / tl.where(mine, total, 1.0)
        acc = acc * inverse[:, None, :]
        kept = statistics + 2 * (((b * groups + g[None, :]) * h + r[:, None]) * w + c[:, None])
        tl.store(kept, top, mask=mine)
        tl.store(kept + 1, inverse, mask=mine)
    out = y + b * y_b + channel[None] * y_c + (r * y_h + c * y_w)[:, None, None]
    tl.store(out, acc.to(y.dtype.element_ty), mask=inside[:, None, None] & known)


@triton.jit(do_not_specialize=SIZES)
def backward_logits(
    a, v, statistics, dy, da,
    a_b, a_g, a_t, a_h, a_w, v_b, v_c, v_h, v_w, g_b, g_c, g_h, g_w, d_b, d_g, d_t, d_h, d_w,
    H, W, h, w, tiles_h, tiles_w,
    groups: tl.constexpr, m: tl.constexpr, K: tl.constexpr, STRIDE: tl.constexpr, STEP: tl.constexpr, BEFORE: tl.constexpr,
    SOFTMAX: tl.constexpr, EXCLUDE: tl.constexpr, P: tl.constexpr, T: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """Gradient of the logits; with a softmax a first pass over the window sums weight times gradient."""
    b, g, r, c = place(tl.program_id(0), tiles_h, tiles_w, groups, P, N)
    inside = (r < h) & (c < w)
    t, own = tl.arange(0, T), tl.arange(0, M)
    asked = inside[:, None, None] & (t < K)[None, :, None] & (g < groups)[None, None, :]
    channel = own[:, None] * groups + g[None, :]
    known = ((own < m)[:, None] & (g < groups)[None, :])[None, :, :]
    col = c[:, None] * STRIDE + t[None, :] * STEP - BEFORE
    gs = read(
        dy, b, channel[None], r[:, None, None], c[:, None, None], g_b, g_c, g_h, g_w, inside[:, None, None] & known
    )
    mine = inside[:, None] & (g < groups)[None, :]
    peak = tl.zeros((P, N), tl.float32)
    inverse = tl.zeros((P, N), tl.float32)
    if SOFTMAX:
        kept = statistics + 2 * (((b * groups + g[None, :]) * h + r[:, None]) * w + c[:, None])
        peak = tl.load(kept, mask=mine, other=0.0)
        inverse = tl.load(kept + 1, mask=mine, other=0.0)
    deltas = tl.zeros((P, N), tl.float32)
    for step in range(2 * K if SOFTMAX else K):
        i = step % K
        row = (r * STRIDE + i * STEP - BEFORE)[:, None]
        real = (row >= 0) & (row < H) & (col >= 0) & (col < W) & (t < K)[None, :] & inside[:, None]
        place_of = real[:, :, None, None] & known[None]
        vs = read(v, b, channel[None, None], row[:, :, None, None], col[:, :, None, None], v_b, v_c, v_h, v_w, place_of)
        dp = tl.sum(gs[:, None] * vs, 2)  # P, T, N
        if SOFTMAX:
            weight = b * a_b + g[None, None, :] * a_g + (i * K + t)[None, :, None] * a_t
            weight = tl.load(a + weight + (r * a_h + c * a_w)[:, None, None], mask=asked, other=0.0).to(tl.float32)
            seen = real[:, :, None] if EXCLUDE else asked
            weight = tl.exp2((tl.where(seen, weight, float("-inf")) - peak[:, None, :]) * LOG2E) * inverse[:, None, :]
            if step < K:
                deltas += tl.sum(weight * dp, 1)
            dp = weight * (dp - deltas[:, None, :])
        if step >= (K if SOFTMAX else 0):
            out = b * d_b + g[None, None, :] * d_g + (i * K + t)[None, :, None] * d_t
            tl.store(da + out + (r * d_h + c * d_w)[:, None, None], dp.to(da.dtype.element_ty), mask=asked)


@triton.jit(do_not_specialize=SIZES)
def backward_values(
    a, statistics, dy, dv,
    a_b, a_g, a_t, a_h, a_w, g_b, g_c, g_h, g_w, d_b, d_c, d_h, d_w,
    H, W, h, w, tiles_h, tiles_w,
    groups: tl.constexpr, m: tl.constexpr, K: tl.constexpr, STRIDE: tl.constexpr, STEP: tl.constexpr, BEFORE: tl.constexpr,
    SOFTMAX: tl.constexpr, P: tl.constexpr, T: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """Gradient of values: every pixel gathers from the outputs whose windows hold it."""
    b, g, r, c = place(tl.program_id(0), tiles_h, tiles_w, groups, P, N)
    inside = (r < H) & (c < W)
    t, own = tl.arange(0, T), tl.arange(0, M)
    channel = own[:, None] * groups + g[None, :]
    known = ((own < m)[:, None] & (g < groups)[None, :])[None, :, :]
    along = c[:, None] + BEFORE - t[None, :] * STEP  # P, T: STRIDE times the output's column
    acc = tl.zeros((P, M, N), tl.float32)
    for i in range(K):
        down = (r + BEFORE - i * STEP)[:, None]
        real = (down >= 0) & (along >= 0) & (t < K)[None, :] & inside[:, None]
        real = real & (down % STRIDE == 0) & (along % STRIDE == 0) & (down < h * STRIDE) & (along < w * STRIDE)
        row, col = down // STRIDE, along // STRIDE
        place_of = real[:, :, None, None] & known[None]
        gs = read(
            dy, b, channel[None, None], row[:, :, None, None], col[:, :, None, None], g_b, g_c, g_h, g_w, place_of
        )
        mine = real[:, :, None] & (g < groups)[None, None, :]
        weight = b * a_b + g[None, None, :] * a_g + (i * K + t)[None, :, None] * a_t
        weight = tl.load(a + weight + (row * a_h + col * a_w)[:, :, None], mask=mine, other=0.0).to(tl.float32)
        if SOFTMAX:
            kept = statistics + 2 * (((b * groups + g[None, None, :]) * h + row[:, :, None]) * w + col[:, :, None])
            peak = tl.load(kept, mask=mine, other=0.0)
            inverse = tl.load(kept + 1, mask=mine, other=0.0)
            weight = tl.exp2((tl.where(mine, weight, float("-inf")) - peak) * LOG2E) * inverse
        acc += tl.sum(weight[:, :, None, :] * gs, 1)
    out = dv + b * d_b + channel[None] * d_c + (r * d_h + c * d_w)[:, None, None]
    tl.store(out, acc.to(dv.dtype.element_ty), mask=inside[:, None, None] & known)
