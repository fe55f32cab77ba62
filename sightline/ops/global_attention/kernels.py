"""The Triton kernels of global attention with relative rows and columns: a flash loop over the keys' rows, no map of all pairs.

A logit is scale q . k + by_row[query, row of the key] + by_col[query, column of the key]. The columns' terms stay in registers, the
rows' are read as the loop goes down; what lies outside the grid gets -inf from them.
Legend: M queries; R rows of the grid at a time, C columns, a power of two; N = R*C keys; BD BE blocks of D E channels.
"""

import triton
import triton.language as tl

from sightline.ops.triton_support.kernels import LOG2E, product

SIZES = ["heads", "H", "W"]


@triton.jit
def read(tokens, token, known, s_l, s_c, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """Tokens by channels, zero outside."""
    c = tl.arange(0, BLOCK)
    inside = known[:, None] & (c < SIZE)[None, :]
    return tl.load(tokens + token[:, None] * s_l + c[None, :] * s_c, mask=inside, other=0.0)


@triton.jit
def write(tokens, token, known, s_l, s_c, found, SIZE: tl.constexpr, BLOCK: tl.constexpr):
    """The same, stored."""
    c = tl.arange(0, BLOCK)
    inside = known[:, None] & (c < SIZE)[None, :]
    tl.store(tokens + token[:, None] * s_l + c[None, :] * s_c, found.to(tokens.dtype.element_ty), mask=inside)


@triton.jit
def columns_term(by_col, query, known, W, C: tl.constexpr):
    """by_col of queries for all columns, -inf beyond the last."""
    c = tl.arange(0, C)
    term = tl.load(by_col + query[:, None] * W + c[None, :], mask=known[:, None] & (c < W)[None, :], other=0.0)
    return tl.where((c < W)[None, :], term, float("-inf"))


@triton.jit
def logits_of(
    q,
    k,
    by_row,
    query,
    known,
    col_term,
    first,
    scale,
    H,
    M: tl.constexpr,
    R: tl.constexpr,
    C: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Logits (M, N) of the keys in rows first .. first + R."""
    r = first + tl.arange(0, R)
    row_term = tl.load(by_row + query[:, None] * H + r[None, :], mask=known[:, None] & (r < H)[None, :], other=0.0)
    row_term = tl.where((r < H)[None, :], row_term, float("-inf"))
    logits = tl.reshape(product(q, tl.trans(k), PRECISION) * scale, (M, R, C))
    return tl.reshape(logits + row_term[:, :, None] + col_term[:, None, :], (M, R * C))


@triton.jit(do_not_specialize=SIZES)
def forward(
    q, k, v, by_row, by_col, y, statistics, scale,
    q_b, q_n, q_l, q_c, k_b, k_n, k_l, k_c, v_b, v_n, v_l, v_c, y_b, y_n, y_l, y_c,
    heads, H, W, D: tl.constexpr, E: tl.constexpr, PRECISION: tl.constexpr,
    M: tl.constexpr, R: tl.constexpr, C: tl.constexpr, BD: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    """y, and of every softmax its largest logit and the inverse of its sum, statistics (B, heads, H*W, 2)."""
    length = H * W
    block, which = tl.program_id(0) % tl.cdiv(length, M), (tl.program_id(0) // tl.cdiv(length, M)).to(tl.int64)
    b, head = which // heads, which % heads
    query, n = block * M + tl.arange(0, M), tl.arange(0, R * C)
    known = query < length
    rows, cols = by_row + which * length * H, by_col + which * length * W
    qs = read(q + b * q_b + head * q_n, query, known, q_l, q_c, D, BD)
    col_term = columns_term(cols, query, known, W, C)
    top = tl.full((M,), float("-inf"), tl.float32)
    total = tl.zeros((M,), tl.float32)
    acc = tl.zeros((M, BE), tl.float32)
    for first in range(0, H, R):
        key, there = (first + n // C) * W + n % C, (first + n // C < H) & (n % C < W)
        ks = read(k + b * k_b + head * k_n, key, there, k_l, k_c, D, BD)
        vs = read(v + b * v_b + head * v_n, key, there, v_l, v_c, E, BE)
        logits = logits_of(qs, ks, rows, query, known, col_term, first, scale, H, M, R, C, PRECISION)
        higher = tl.maximum(top, tl.max(logits, 1))
        p = tl.exp2((logits - higher[:, None]) * LOG2E)
        shrink = tl.exp2((top - higher) * LOG2E)
        total = total * shrink + tl.sum(p, 1)
        acc = acc * shrink[:, None] + product(p.to(vs.dtype), vs, PRECISION)
        top = higher
    kept = statistics + 2 * (which * length + query)
    tl.store(kept, top, mask=known)
    tl.store(kept + 1, 1.0 / total, mask=known)
    write(y + b * y_b + head * y_n, query, known, y_l, y_c, acc / total[:, None], E, BE)


@triton.jit(do_not_specialize=SIZES)
def backward_queries(
    q, k, v, by_row, by_col, statistics, dy, delta, dq, d_row, d_col, scale,
    q_b, q_n, q_l, q_c, k_b, k_n, k_l, k_c, v_b, v_n, v_l, v_c, g_b, g_n, g_l, g_c, d_b, d_n, d_l, d_c,
    heads, H, W, D: tl.constexpr, E: tl.constexpr, PRECISION: tl.constexpr,
    M: tl.constexpr, R: tl.constexpr, C: tl.constexpr, BD: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    """Gradients of queries, by_row and by_col, and delta, the sum of weight times its gradient, in a first pass over the keys."""
    length = H * W
    block, which = tl.program_id(0) % tl.cdiv(length, M), (tl.program_id(0) // tl.cdiv(length, M)).to(tl.int64)
    b, head = which // heads, which % heads
    query, n = block * M + tl.arange(0, M), tl.arange(0, R * C)
    r, c = tl.arange(0, R), tl.arange(0, C)
    known = query < length
    rows, cols = by_row + which * length * H, by_col + which * length * W
    qs = read(q + b * q_b + head * q_n, query, known, q_l, q_c, D, BD)
    gs = read(dy + b * g_b + head * g_n, query, known, g_l, g_c, E, BE).to(qs.dtype)
    col_term = columns_term(cols, query, known, W, C)
    kept = statistics + 2 * (which * length + query)
    peak, inverse = tl.load(kept, mask=known, other=0.0), tl.load(kept + 1, mask=known, other=0.0)
    deltas = tl.zeros((M,), tl.float32)
    acc = tl.zeros((M, BD), tl.float32)
    sum_cols = tl.zeros((M, C), tl.float32)
    steps = tl.cdiv(H, R)
    for step in range(2 * steps):
        first = step % steps * R
        key, there = (first + n // C) * W + n % C, (first + n // C < H) & (n % C < W)
        ks = read(k + b * k_b + head * k_n, key, there, k_l, k_c, D, BD)
        vs = read(v + b * v_b + head * v_n, key, there, v_l, v_c, E, BE)
        logits = logits_of(qs, ks, rows, query, known, col_term, first, scale, H, M, R, C, PRECISION)
        p = tl.exp2((logits - peak[:, None]) * LOG2E) * inverse[:, None]
        dp = product(gs, tl.trans(vs), PRECISION)
        if step < steps:
            deltas += tl.sum(p * dp, 1)
        else:
            ds = p * (dp - deltas[:, None])
            acc += product(ds.to(ks.dtype), ks, PRECISION)
            parts = tl.reshape(ds, (M, R, C))
            sum_cols += tl.sum(parts, 1)
            line = first + r
            out = d_row + which * length * H + query[:, None] * H + line[None, :]
            tl.store(out, tl.sum(parts, 2), mask=known[:, None] & (line < H)[None, :])
    tl.store(delta + which * length + query, deltas, mask=known)
    out = d_col + which * length * W + query[:, None] * W + c[None, :]
    tl.store(out, sum_cols, mask=known[:, None] & (c < W)[None, :])
    write(dq + b * d_b + head * d_n, query, known, d_l, d_c, acc * scale, D, BD)


@triton.jit(do_not_specialize=SIZES)
def backward_keys(
    q, k, v, by_row, by_col, statistics, dy, delta, dk, dv, scale,
    q_b, q_n, q_l, q_c, k_b, k_n, k_l, k_c, v_b, v_n, v_l, v_c, g_b, g_n, g_l, g_c,
    e_b, e_n, e_l, e_c, f_b, f_n, f_l, f_c,
    heads, H, W, D: tl.constexpr, E: tl.constexpr, PRECISION: tl.constexpr,
    M: tl.constexpr, R: tl.constexpr, C: tl.constexpr, BD: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    """Gradients of keys and values: R rows of keys gather from all queries."""
    length, blocks = H * W, tl.cdiv(H, R)
    first, which = tl.program_id(0) % blocks * R, (tl.program_id(0) // blocks).to(tl.int64)
    b, head = which // heads, which % heads
    n = tl.arange(0, R * C)
    key, there = (first + n // C) * W + n % C, (first + n // C < H) & (n % C < W)
    rows, cols = by_row + which * length * H, by_col + which * length * W
    ks = read(k + b * k_b + head * k_n, key, there, k_l, k_c, D, BD)
    vs = read(v + b * v_b + head * v_n, key, there, v_l, v_c, E, BE)
    acc_k, acc_v = tl.zeros((R * C, BD), tl.float32), tl.zeros((R * C, BE), tl.float32)
    for start in range(0, length, M):
        query = start + tl.arange(0, M)
        known = query < length
        qs = read(q + b * q_b + head * q_n, query, known, q_l, q_c, D, BD)
        gs = read(dy + b * g_b + head * g_n, query, known, g_l, g_c, E, BE).to(qs.dtype)
        kept = statistics + 2 * (which * length + query)
        peak, inverse = tl.load(kept, mask=known, other=0.0), tl.load(kept + 1, mask=known, other=0.0)
        deltas = tl.load(delta + which * length + query, mask=known, other=0.0)
        col_term = columns_term(cols, query, known, W, C)
        logits = logits_of(qs, ks, rows, query, known, col_term, first, scale, H, M, R, C, PRECISION)
        p = tl.exp2((logits - peak[:, None]) * LOG2E) * inverse[:, None]
        acc_v += product(tl.trans(p.to(gs.dtype)), gs, PRECISION)
        ds = p * (product(gs, tl.trans(vs), PRECISION) - deltas[:, None])
        acc_k += product(tl.trans(ds.to(qs.dtype)), qs, PRECISION)
    write(dk + b * e_b + head * e_n, key, there, e_l, e_c, acc_k * scale, D, BD)
    write(dv + b * f_b + head * f_n, key, there, f_l, f_c, acc_v, E, BE)
