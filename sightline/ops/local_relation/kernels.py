"""The Triton kernels of local relation: a tile of output positions and one channel group a program, the window row by row.

Scalars are compared, so there is no matrix product to gain; each program keeps its positions' softmax over the window's rows.
Steps between batches, rows and columns of values and answers come in UNITs of elements, so that the compiler knows which vectors
it may load (it notices multiples of 16 by itself; LR-Net has 100 channels).

Legend: P positions of a tile; T taps of a window row, a power of two; M channels of the group, a power of two.
"""

import triton
import triton.language as tl

from sightline.ops.triton_support.kernels import LOG2E, tile_of

SIZES = ["H", "W", "h", "w", "groups", "tiles_h", "tiles_w"]


@triton.jit
def compare(q, k, KIND: tl.constexpr):
    """Similarity of scalars: product, minus the squared, minus the absolute difference."""
    if KIND == 0:
        found = q * k
    elif KIND == 1:
        found = -(q - k) * (q - k)
    else:
        found = -tl.abs(q - k)
    return found


@triton.jit
def slope(q, k, KIND: tl.constexpr):
    """Derivative of the similarity by its first scalar; by the second it is the same with both exchanged."""
    if KIND == 0:
        found = k + 0.0 * q
    elif KIND == 1:
        found = 2.0 * (k - q)
    else:
        found = tl.where(k > q, 1.0, tl.where(k < q, -1.0, 0.0))
    return found


@triton.jit
def place(pid, tiles_h, tiles_w, groups, P: tl.constexpr):
    """Of a program: batch (64 bits), group, rows and columns (P,) of its tile."""
    rest, row, col = tile_of(pid, tl.arange(0, P), tiles_h, tiles_w, P)
    return (rest // groups).to(tl.int64), rest % groups, row, col


@triton.jit
def channels(g, m: tl.constexpr, CHANNELS: tl.constexpr, INTERLEAVED: tl.constexpr, M: tl.constexpr, groups):
    """The group's channels (M,), and which of them there are: the last group may have fewer."""
    own = tl.arange(0, M)
    channel = own * groups + g if INTERLEAVED else g * m + own
    return channel, (own < m) & (channel < CHANNELS)


@triton.jit
def spot(pointer, b, channel, row, col, s_b, s_c, s_h, s_w, UNIT: tl.constexpr):
    """Where elements of a map with values are."""
    return pointer + b * s_b * UNIT + channel * s_c + row * (s_h * UNIT) + col * (s_w * UNIT)


@triton.jit
def scalars(pointer, b, g, row, col, s_b, s_c, s_h, s_w, mask):
    """Queries or keys of a group in float32, zero where the mask is False."""
    found = tl.load(pointer + b * s_b + g * s_c + row * s_h + col * s_w, mask=mask, other=0.0)
    return found.to(tl.float32)


@triton.jit
def values(pointer, b, channel, row, col, s_b, s_c, s_h, s_w, mask, known, UNIT: tl.constexpr):
    """Elements (P, T, M) of a map with values in float32, of rows and columns that broadcast to (P, T)."""
    there = spot(pointer, b, channel[None, None, :], row[:, :, None], col[:, :, None], s_b, s_c, s_h, s_w, UNIT)
    return tl.load(there, mask=mask[:, :, None] & known[None, None, :], other=0.0).to(tl.float32)


@triton.jit
def with_prior(logits, prior, g, i, t, K: tl.constexpr, PRIOR: tl.constexpr):
    """Logits (P, T) of window row i with the geometry prior."""
    if PRIOR:
        logits += tl.load(prior + (g * K + i) * K + t, mask=t < K, other=0.0)[None, :]
    return logits


@triton.jit
def window_row(
    qs, k, v, prior, i, b, g, channel, known, inside, r, col, t, k_b, k_c, k_h, k_w, v_b, v_c, v_h, v_w, H, W,
    UNIT: tl.constexpr, K: tl.constexpr, STRIDE: tl.constexpr, STEP: tl.constexpr, KIND: tl.constexpr,
    PRIOR: tl.constexpr, EXCLUDE: tl.constexpr,
):  # fmt: skip
    """Of row i of the windows: logits (P, T), -inf where there is no tap, keys (P, T), values (P, T, M)."""
    row = (r * STRIDE + (i - K // 2) * STEP)[:, None]
    real = inside[:, None] & (row >= 0) & (row < H) & (col >= 0) & (col < W) & (t < K)[None, :]
    ks = scalars(k, b, g, row, col, k_b, k_c, k_h, k_w, real)
    vs = values(v, b, channel, row, col, v_b, v_c, v_h, v_w, real, known, UNIT)
    logits = with_prior(compare(qs, ks, KIND), prior, g, i, t, K, PRIOR)
    logits = tl.where(real if EXCLUDE else (t < K)[None, :] & inside[:, None], logits, float("-inf"))
    return logits, ks, vs


@triton.jit(do_not_specialize=SIZES)
def forward(
    q, k, v, prior, y, statistics,
    q_b, q_c, q_h, q_w, k_b, k_c, k_h, k_w, v_b, v_c, v_h, v_w, y_b, y_c, y_h, y_w,
    H, W, h, w, groups, tiles_h, tiles_w,
    m: tl.constexpr, CHANNELS: tl.constexpr, INTERLEAVED: tl.constexpr, UNIT: tl.constexpr,
    K: tl.constexpr, STRIDE: tl.constexpr, STEP: tl.constexpr, KIND: tl.constexpr,
    PRIOR: tl.constexpr, EXCLUDE: tl.constexpr, P: tl.constexpr, T: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """y, and of every softmax its largest logit and the inverse of its sum, statistics (B, groups, h, w, 2)."""
    b, g, r, c = place(tl.program_id(0), tiles_h, tiles_w, groups, P)
    inside = (r < h) & (c < w)
    t = tl.arange(0, T)
    channel, known = channels(g, m, CHANNELS, INTERLEAVED, M, groups)
    qs = scalars(q, b, g, r, c, q_b, q_c, q_h, q_w, inside)[:, None]
    col = c[:, None] * STRIDE + (t[None, :] - K // 2) * STEP  # P, T
    top = tl.full((P,), float("-inf"), tl.float32)
    total = tl.zeros((P,), tl.float32)
    acc = tl.zeros((P, M), tl.float32)
    for i in range(K):
        logits, _, vs = window_row(
            qs, k, v, prior, i, b, g, channel, known, inside, r, col, t, k_b, k_c, k_h, k_w, v_b, v_c, v_h, v_w, H, W,
            UNIT, K, STRIDE, STEP, KIND, PRIOR, EXCLUDE,
        )  # fmt: skip
        higher = tl.maximum(top, tl.max(logits, 1))
        level = tl.where(higher == float("-inf"), 0.0, higher)  # no tap seen yet
        weight = tl.exp2((logits - level[:, None]) * LOG2E)
        before = tl.exp2((top - level) * LOG2E)
        total = total * before + tl.sum(weight, 1)
        acc = acc * before[:, None] + tl.sum(weight[:, :, None] * vs, 1)
        top = higher
    inverse = 1.0 / tl.where(inside, total, 1.0)
    out = spot(y, b, channel[None, :], r[:, None], c[:, None], y_b, y_c, y_h, y_w, UNIT)
    tl.store(out, (acc * inverse[:, None]).to(y.dtype.element_ty), mask=inside[:, None] & known[None, :])
    kept = statistics + 2 * (((b * groups + g) * h + r) * w + c)
    tl.store(kept, top, mask=inside)
    tl.store(kept + 1, inverse, mask=inside)


@triton.jit(do_not_specialize=SIZES)
def backward_queries(
    q, k, v, prior, statistics, dy, dq, delta, d_prior,
    q_b, q_c, q_h, q_w, k_b, k_c, k_h, k_w, v_b, v_c, v_h, v_w, g_b, g_c, g_h, g_w, dq_b, dq_c, dq_h, dq_w,
    H, W, h, w, groups, tiles_h, tiles_w,
    m: tl.constexpr, CHANNELS: tl.constexpr, INTERLEAVED: tl.constexpr, UNIT: tl.constexpr,
    K: tl.constexpr, STRIDE: tl.constexpr, STEP: tl.constexpr, KIND: tl.constexpr,
    PRIOR: tl.constexpr, EXCLUDE: tl.constexpr, P: tl.constexpr, T: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """Gradient of queries, delta = sum of weight times its gradient, and of the prior's gradient one sum a tile.

    The first pass over the window gives delta, the second the gradients.
    """
    b, g, r, c = place(tl.program_id(0), tiles_h, tiles_w, groups, P)
    inside = (r < h) & (c < w)
    t = tl.arange(0, T)
    channel, known = channels(g, m, CHANNELS, INTERLEAVED, M, groups)
    qs = scalars(q, b, g, r, c, q_b, q_c, q_h, q_w, inside)[:, None]
    gs = values(dy, b, channel, r[:, None], c[:, None], g_b, g_c, g_h, g_w, inside[:, None], known, UNIT)  # P, 1, M
    place_of = ((b * groups + g) * h + r) * w + c
    peak = tl.load(statistics + 2 * place_of, mask=inside, other=0.0)[:, None]
    inverse = tl.load(statistics + 2 * place_of + 1, mask=inside, other=0.0)[:, None]
    col = c[:, None] * STRIDE + (t[None, :] - K // 2) * STEP
    deltas = tl.zeros((P,), tl.float32)
    acc = tl.zeros((P,), tl.float32)
    for step in range(2 * K):
        i = step % K
        logits, ks, vs = window_row(
            qs, k, v, prior, i, b, g, channel, known, inside, r, col, t, k_b, k_c, k_h, k_w, v_b, v_c, v_h, v_w, H, W,
            UNIT, K, STRIDE, STEP, KIND, PRIOR, EXCLUDE,
        )  # fmt: skip
        weight = tl.exp2((logits - peak) * LOG2E) * inverse
        dp = tl.sum(gs * vs, 2)
        if step < K:
            deltas += tl.sum(weight * dp, 1)
        else:
            ds = weight * (dp - deltas[:, None])
            acc += tl.sum(ds * slope(qs, ks, KIND), 1)
            if PRIOR:
                tile = (b * tiles_h * tiles_w + tl.program_id(0) % (tiles_h * tiles_w)) * groups + g
                tl.store(d_prior + (tile * K + i) * K + t, tl.sum(ds, 0), mask=t < K)
    tl.store(delta + place_of, deltas, mask=inside)
    tl.store(dq + b * dq_b + g * dq_c + r * dq_h + c * dq_w, acc.to(dq.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=SIZES)
def backward_keys(
    q, k, v, prior, statistics, dy, delta, dk, dv,
    q_b, q_c, q_h, q_w, k_b, k_c, k_h, k_w, v_b, v_c, v_h, v_w, g_b, g_c, g_h, g_w,
    dk_b, dk_c, dk_h, dk_w, dv_b, dv_c, dv_h, dv_w,
    H, W, h, w, groups, tiles_h, tiles_w,
    m: tl.constexpr, CHANNELS: tl.constexpr, INTERLEAVED: tl.constexpr, UNIT: tl.constexpr,
    K: tl.constexpr, STRIDE: tl.constexpr, STEP: tl.constexpr, KIND: tl.constexpr,
    PRIOR: tl.constexpr, P: tl.constexpr, T: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """Gradients of keys and values: every pixel gathers from the queries whose windows hold it."""
    b, g, r, c = place(tl.program_id(0), tiles_h, tiles_w, groups, P)
    inside = (r < H) & (c < W)
    t = tl.arange(0, T)
    channel, known = channels(g, m, CHANNELS, INTERLEAVED, M, groups)
    ks = scalars(k, b, g, r, c, k_b, k_c, k_h, k_w, inside)[:, None]
    vs = values(v, b, channel, r[:, None], c[:, None], v_b, v_c, v_h, v_w, inside[:, None], known, UNIT)  # P, 1, M
    along = c[:, None] - (t[None, :] - K // 2) * STEP  # P, T: STRIDE times the query's column
    acc_k = tl.zeros((P,), tl.float32)
    acc_v = tl.zeros((P, M), tl.float32)
    for i in range(K):
        down = (r - (i - K // 2) * STEP)[:, None]
        real = inside[:, None] & (down >= 0) & (along >= 0) & (t < K)[None, :]
        real = real & (down % STRIDE == 0) & (along % STRIDE == 0) & (down < h * STRIDE) & (along < w * STRIDE)
        row, col = down // STRIDE, along // STRIDE
        qs = scalars(q, b, g, row, col, q_b, q_c, q_h, q_w, real)
        gs = values(dy, b, channel, row, col, g_b, g_c, g_h, g_w, real, known, UNIT)
        place_of = ((b * groups + g) * h + row) * w + col
        peak = tl.load(statistics + 2 * place_of, mask=real, other=0.0)
        inverse = tl.load(statistics + 2 * place_of + 1, mask=real, other=0.0)
        deltas = tl.load(delta + place_of, mask=real, other=0.0)
        logits = with_prior(compare(qs, ks, KIND), prior, g, i, t, K, PRIOR)
        weight = tl.exp2((tl.where(real, logits, float("-inf")) - peak) * LOG2E) * inverse
        acc_v += tl.sum(weight[:, :, None] * gs, 1)
        ds = weight * (tl.sum(gs * vs, 2) - deltas)
        acc_k += tl.sum(ds * slope(ks, qs, KIND), 1)
    tl.store(dk + b * dk_b + g * dk_c + r * dk_h + c * dk_w, acc_k.to(dk.dtype.element_ty), mask=inside)
    found = spot(dv, b, channel[None, :], r[:, None], c[:, None], dv_b, dv_c, dv_h, dv_w, UNIT)
    tl.store(found, acc_v.to(dv.dtype.element_ty), mask=inside[:, None] & known[None, :])
