"""The Triton kernels of criss-cross attention: a block of queries of one line against it, lines merged by the softmax's sums.

One launch a direction. The first leaves sums that are not divided yet, with the largest logit and the sum of the softmax so far, in
scratch memory; the next goes on from there, the last divides. A query meets itself in the first direction alone. Backward adds up
the same way. Nothing of the size of the weights is stored.

Legend: along a line positions are `a` apart; the lines of a direction are numbered by two more axes of sizes n1 (unused: 1) and n2.
        Every map has its steps (b, c, 1, 2, a); scratch is (B, positions, channels), positions stepping p1, p2, pa.
        M queries, N keys, BD and BE channels at a time; D E key and value channels.
"""

import triton
import triton.language as tl

from sightline.ops.triton_support.kernels import LOG2E, product

SIZES = ["length", "n1", "n2", "positions", "p1", "p2", "pa"]


@triton.jit
def start_of(pointer, b, one, two, s_b, s_1, s_2):
    """Where a line of a map begins."""
    return pointer + b * s_b + one * s_1 + two * s_2


@triton.jit
def read(line, along, channel, s_c, s_a, length, C):
    """Rows of positions, columns of channels, zero outside."""
    inside = (along < length)[:, None] & (channel < C)[None, :]
    return tl.load(line + along[:, None] * s_a + channel[None, :] * s_c, mask=inside, other=0.0)


@triton.jit
def place(n1, n2, blocks, parts):
    """Of a program: batch (64 bits), the line's two numbers, block along the line, part of the channels."""
    pid = tl.program_id(0)
    block, rest = pid % blocks, pid // blocks
    part, rest = rest % parts, rest // parts
    second, rest = rest % n2, rest // n2
    return (rest // n1).to(tl.int64), rest % n1, second, block, part


@triton.jit
def logits_of(q, k, rows, cols, length, OTHERS: tl.constexpr, PRECISION: tl.constexpr):
    """q . k of queries (rows) and keys (cols) of one line, -inf beyond its end, and where OTHERS, of a query and itself."""
    seen = (rows < length)[:, None] & (cols < length)[None, :]
    if OTHERS:
        seen = seen & (rows[:, None] != cols[None, :])
    return tl.where(seen, product(q, tl.trans(k), PRECISION), float("-inf"))


@triton.jit
def weights_of(q, k, rows, cols, length, kept, OTHERS: tl.constexpr, PRECISION: tl.constexpr):
    """The softmax's weights, from its largest logit and the inverse of its sum, kept one after the other."""
    known = rows < length
    peak, inverse = tl.load(kept, mask=known, other=0.0), tl.load(kept + 1, mask=known, other=0.0)
    logits = logits_of(q, k, rows, cols, length, OTHERS, PRECISION)
    return tl.exp2((logits - peak[:, None]) * LOG2E) * inverse[:, None]


@triton.jit(do_not_specialize=SIZES)
def forward(
    q, k, v, y, sums, before, after,
    q_b, q_c, q_1, q_2, q_a, k_b, k_c, k_1, k_2, k_a, v_b, v_c, v_1, v_2, v_a, y_b, y_c, y_1, y_2, y_a,
    length, n1, n2, positions, p1, p2, pa,
    D: tl.constexpr, E: tl.constexpr, FIRST: tl.constexpr, LAST: tl.constexpr, PRECISION: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, BD: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    """One direction: from sums and statistics `before` to sums and statistics `after`; the last writes y and inverse sums."""
    b, one, two, block, part = place(n1, n2, tl.cdiv(length, M), tl.cdiv(E, BE))
    rows, d, e = block * M + tl.arange(0, M), tl.arange(0, BD), part * BE + tl.arange(0, BE)
    spot = b * positions + one * p1 + two * p2 + rows * pa
    inside, wide = rows < length, (rows < length)[:, None] & (e < E)[None, :]
    kept = sums + spot[:, None] * E + e[None, :]
    qs = read(start_of(q, b, one, two, q_b, q_1, q_2), rows, d, q_c, q_a, length, D)
    if FIRST:
        top = tl.full((M,), float("-inf"), tl.float32)
        total = tl.zeros((M,), tl.float32)
        acc = tl.zeros((M, BE), tl.float32)
    else:
        top = tl.load(before + 2 * spot, mask=inside, other=0.0)
        total = tl.load(before + 2 * spot + 1, mask=inside, other=1.0)
        acc = tl.load(kept, mask=wide, other=0.0)
    for start in range(0, length, N):
        cols = start + tl.arange(0, N)
        ks = read(start_of(k, b, one, two, k_b, k_1, k_2), cols, d, k_c, k_a, length, D)
        vs = read(start_of(v, b, one, two, v_b, v_1, v_2), cols, e, v_c, v_a, length, E)
        logits = logits_of(qs, ks, rows, cols, length, not FIRST, PRECISION)
        higher = tl.maximum(top, tl.max(logits, 1))
        level = tl.where(higher == float("-inf"), 0.0, higher)  # beyond the line's end
        p = tl.exp2((logits - level[:, None]) * LOG2E)
        shrink = tl.exp2((top - level) * LOG2E)
        total = total * shrink + tl.sum(p, 1)
        acc = acc * shrink[:, None] + product(p.to(vs.dtype), vs, PRECISION)
        top = higher
    if LAST:
        total = 1.0 / tl.where(inside, total, 1.0)
        out = start_of(y, b, one, two, y_b, y_1, y_2) + rows[:, None] * y_a + e[None, :] * y_c
        tl.store(out, (acc * total[:, None]).to(y.dtype.element_ty), mask=wide)
    else:
        tl.store(kept, acc, mask=wide)
    if part == 0:
        tl.store(after + 2 * spot, top, mask=inside)
        tl.store(after + 2 * spot + 1, total, mask=inside)


@triton.jit
def gradient_of_weights(
    g, v, rows, cols, g_c, g_a, v_c, v_a, length,
    E: tl.constexpr, M: tl.constexpr, N: tl.constexpr, BE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """dy . v of queries and keys of one line (M, N)."""
    found = tl.zeros((M, N), tl.float32)
    for start in range(0, E, BE):
        e = start + tl.arange(0, BE)
        vs = read(v, cols, e, v_c, v_a, length, E)
        found += product(read(g, rows, e, g_c, g_a, length, E).to(vs.dtype), tl.trans(vs), PRECISION)
    return found


@triton.jit(do_not_specialize=SIZES)
def backward_queries(
    q, k, v, statistics, dy, delta, sums, dq,
    q_b, q_c, q_1, q_2, q_a, k_b, k_c, k_1, k_2, k_a, v_b, v_c, v_1, v_2, v_a, g_b, g_c, g_1, g_2, g_a,
    d_b, d_c, d_1, d_2, d_a,
    length, n1, n2, positions, p1, p2, pa,
    D: tl.constexpr, E: tl.constexpr, FIRST: tl.constexpr, LAST: tl.constexpr, DELTA: tl.constexpr,
    PRECISION: tl.constexpr, M: tl.constexpr, N: tl.constexpr, BD: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    """One direction's part of delta (the sum of weight times its gradient) or, once that is known, of the queries' gradient."""
    b, one, two, block, _ = place(n1, n2, tl.cdiv(length, M), 1)
    rows, d = block * M + tl.arange(0, M), tl.arange(0, BD)
    spot = b * positions + one * p1 + two * p2 + rows * pa
    inside, wide = rows < length, (rows < length)[:, None] & (d < D)[None, :]
    kept = sums + spot[:, None] * D + d[None, :]
    qs = read(start_of(q, b, one, two, q_b, q_1, q_2), rows, d, q_c, q_a, length, D)
    deltas = tl.zeros((M,), tl.float32)
    acc = tl.zeros((M, BD), tl.float32)
    if not (DELTA and FIRST):
        deltas = tl.load(delta + spot, mask=inside, other=0.0)
    if not (DELTA or FIRST):
        acc = tl.load(kept, mask=wide, other=0.0)
    values, grads = start_of(v, b, one, two, v_b, v_1, v_2), start_of(dy, b, one, two, g_b, g_1, g_2)
    for start in range(0, length, N):
        cols = start + tl.arange(0, N)
        ks = read(start_of(k, b, one, two, k_b, k_1, k_2), cols, d, k_c, k_a, length, D)
        p = weights_of(qs, ks, rows, cols, length, statistics + 2 * spot, not FIRST, PRECISION)
        dp = gradient_of_weights(grads, values, rows, cols, g_c, g_a, v_c, v_a, length, E, M, N, BE, PRECISION)
        if DELTA:
            deltas += tl.sum(p * dp, 1)
        else:
            acc += product((p * (dp - deltas[:, None])).to(ks.dtype), ks, PRECISION)
    if DELTA:
        tl.store(delta + spot, deltas, mask=inside)
    elif LAST:
        out = start_of(dq, b, one, two, d_b, d_1, d_2) + rows[:, None] * d_a + d[None, :] * d_c
        tl.store(out, acc.to(dq.dtype.element_ty), mask=wide)
    else:
        tl.store(kept, acc, mask=wide)


@triton.jit(do_not_specialize=SIZES)
def backward_keys(
    q, k, v, statistics, dy, delta, sums, dk,
    q_b, q_c, q_1, q_2, q_a, k_b, k_c, k_1, k_2, k_a, v_b, v_c, v_1, v_2, v_a, g_b, g_c, g_1, g_2, g_a,
    d_b, d_c, d_1, d_2, d_a,
    length, n1, n2, positions, p1, p2, pa,
    D: tl.constexpr, E: tl.constexpr, FIRST: tl.constexpr, LAST: tl.constexpr, PRECISION: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, BD: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    """One direction's part of the keys' gradient: N keys gather from the queries of their line."""
    b, one, two, block, _ = place(n1, n2, tl.cdiv(length, N), 1)
    cols, d = block * N + tl.arange(0, N), tl.arange(0, BD)
    line = b * positions + one * p1 + two * p2
    wide = (cols < length)[:, None] & (d < D)[None, :]
    kept = sums + (line + cols * pa)[:, None] * D + d[None, :]
    ks = read(start_of(k, b, one, two, k_b, k_1, k_2), cols, d, k_c, k_a, length, D)
    acc = tl.zeros((N, BD), tl.float32)
    if not FIRST:
        acc = tl.load(kept, mask=wide, other=0.0)
    values, grads = start_of(v, b, one, two, v_b, v_1, v_2), start_of(dy, b, one, two, g_b, g_1, g_2)
    for start in range(0, length, M):
        rows = start + tl.arange(0, M)
        spot = line + rows * pa
        qs = read(start_of(q, b, one, two, q_b, q_1, q_2), rows, d, q_c, q_a, length, D)
        p = weights_of(qs, ks, rows, cols, length, statistics + 2 * spot, not FIRST, PRECISION)
        dp = gradient_of_weights(grads, values, rows, cols, g_c, g_a, v_c, v_a, length, E, M, N, BE, PRECISION)
        ds = p * (dp - tl.load(delta + spot, mask=rows < length, other=0.0)[:, None])
        acc += product(tl.trans(ds.to(qs.dtype)), qs, PRECISION)
    if LAST:
        out = start_of(dk, b, one, two, d_b, d_1, d_2) + cols[:, None] * d_a + d[None, :] * d_c
        tl.store(out, acc.to(dk.dtype.element_ty), mask=wide)
    else:
        tl.store(kept, acc, mask=wide)


@triton.jit(do_not_specialize=SIZES)
def backward_values(
    q, k, statistics, dy, sums, dv,
    q_b, q_c, q_1, q_2, q_a, k_b, k_c, k_1, k_2, k_a, g_b, g_c, g_1, g_2, g_a, d_b, d_c, d_1, d_2, d_a,
    length, n1, n2, positions, p1, p2, pa,
    D: tl.constexpr, E: tl.constexpr, FIRST: tl.constexpr, LAST: tl.constexpr, PRECISION: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, BD: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    """One direction's part of the values' gradient."""
    b, one, two, block, part = place(n1, n2, tl.cdiv(length, N), tl.cdiv(E, BE))
    cols, d, e = block * N + tl.arange(0, N), tl.arange(0, BD), part * BE + tl.arange(0, BE)
    line = b * positions + one * p1 + two * p2
    wide = (cols < length)[:, None] & (e < E)[None, :]
    kept = sums + (line + cols * pa)[:, None] * E + e[None, :]
    ks = read(start_of(k, b, one, two, k_b, k_1, k_2), cols, d, k_c, k_a, length, D)
    acc = tl.zeros((N, BE), tl.float32)
    if not FIRST:
        acc = tl.load(kept, mask=wide, other=0.0)
    for start in range(0, length, M):
        rows = start + tl.arange(0, M)
        qs = read(start_of(q, b, one, two, q_b, q_1, q_2), rows, d, q_c, q_a, length, D)
        p = weights_of(qs, ks, rows, cols, length, statistics + 2 * (line + rows * pa), not FIRST, PRECISION)
        gs = read(start_of(dy, b, one, two, g_b, g_1, g_2), rows, e, g_c, g_a, length, E).to(ks.dtype)
        acc += product(tl.trans(p.to(gs.dtype)), gs, PRECISION)
    if LAST:
        out = start_of(dv, b, one, two, d_b, d_1, d_2) + cols[:, None] * d_a + e[None, :] * d_c
        tl.store(out, acc.to(dv.dtype.element_ty), mask=wide)
    else:
        tl.store(kept, acc, mask=wide)
