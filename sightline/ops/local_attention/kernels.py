"""The Triton kernels of local attention: 16 queries, 2 rows of 8, against the rectangle of keys that their windows cover.

The rectangle's logits are one matrix product; what lies outside a query's window gets -inf from its row term or its column term,
which also carry the relative embeddings and the border. See docs/kernels.md, and `triton_support.lattice` for stride and dilation.

Legend: T blocks of 16 queries below each other; M = 16 queries (or keys); R x C positions of the rectangle at a time, N = R*C;
        D E key and value channels a head, BD BE their blocks; K window side, KT its block.
"""

import triton
import triton.language as tl

from sightline.ops.triton_support.kernels import LOG2E, product

SIZES = ["H", "W", "h", "w", "heads", "tiles_h", "tiles_w", "part", "rows_n", "cols_n", "count"]


@triton.jit
def exponential(logits, top, PRECISION: tl.constexpr):
    """e to the power of logits - top: exact differences for float32, one fused operation where the products are narrow anyway."""
    if PRECISION == "interpreted" or PRECISION == "tf32x3":
        power = tl.exp2((logits - top) * LOG2E)
    else:
        power = tl.exp2(logits * LOG2E - top * LOG2E)
    return power


@triton.jit
def read(pointer, batch, channel, row, col, s_b, s_c, s_h, s_w, mask):
    """Elements of a map, zero where the mask is False."""
    offset = channel * s_c + row * s_h + col * s_w
    return tl.load(pointer + batch * s_b + offset, mask=mask, other=0.0)


@triton.jit
def axis_term(
    q, table, low, high, first, place, near,
    COUNT: tl.constexpr, JUMP: tl.constexpr, K: tl.constexpr, N: tl.constexpr, T: tl.constexpr, BD: tl.constexpr,
    RELATIVE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Of every query the term of N rows (or columns) of the rectangle from `first` on, (T, M, N): q . r, -inf outside the window.

    place (M,): which of COUNT rows (columns) the query is in; near (T, N): may that row be looked at?
    The table's channels are low .. high.
    """
    line = first + tl.arange(0, N)
    term = tl.zeros((T, 16, N), tl.float32)
    if RELATIVE:
        d = tl.arange(0, BD)
        own = (d >= low) & (d < high)
        for at in tl.static_range(COUNT):
            tap = line - JUMP * at
            seen = own[:, None] & ((tap >= 0) & (tap < K))[None, :]
            r = tl.load(table + (d[:, None] - low) * K + tap[None, :], mask=seen, other=0.0)  # BD, N
            term = tl.where(
                (place == at)[None, :, None], product(q, tl.broadcast_to(r[None], (T, BD, N)), PRECISION), term
            )
    tap = line[None, :] - JUMP * place[:, None]  # M, N
    return tl.where(((tap >= 0) & (tap < K))[None] & near[:, None, :], term, float("-inf"))


@triton.jit
def rectangle(
    qs, k, v, table, b, channel, value_channel, first, top_pixel, col,
    k_b, k_c, k_h, k_w, v_b, v_c, v_h, v_w, part, H, W,
    D: tl.constexpr, E: tl.constexpr, K: tl.constexpr, STEP: tl.constexpr, JUMP: tl.constexpr,
    RELATIVE: tl.constexpr, EXCLUDE: tl.constexpr, PRECISION: tl.constexpr,
    BD: tl.constexpr, BE: tl.constexpr, R: tl.constexpr, C: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """Keys (T, N, BD), values (T, N, BE) and the row term (T, M, R) of R rows of the rectangle from row `first` on."""
    d, e, n = tl.arange(0, BD), tl.arange(0, BE), tl.arange(0, R * C)
    row = top_pixel[:, None] + STEP * (first + n // C)[None, :]  # T, N
    line = top_pixel[:, None] + STEP * (first + tl.arange(0, R))[None, :]
    near = (line >= 0) & (line < H) | (not EXCLUDE)
    real = ((row >= 0) & (row < H) & (col >= 0) & (col < W))[:, :, None]
    i, j = row[:, :, None], col[:, :, None]
    ks = read(k, b, channel[None, None, :], i, j, k_b, k_c, k_h, k_w, real & (d < D)[None, None, :])
    vs = read(v, b, value_channel[None, None, :], i, j, v_b, v_c, v_h, v_w, real & (e < E)[None, None, :])
    which = tl.arange(0, 16) // 8
    term = axis_term(qs, table, 0, part, first, which, near, 2, JUMP, K, R, T, BD, RELATIVE, PRECISION)
    return ks, vs, term


@triton.jit
def window_logits(q, k, row_term, col_term, R: tl.constexpr, C: tl.constexpr, T: tl.constexpr, PRECISION: tl.constexpr):
    """Logits (T, M, N) of queries (T, M, BD) and keys (T, N, BD)."""
    logits = tl.reshape(product(q, tl.permute(k, (0, 2, 1)), PRECISION), (T, 16, R, C))
    return tl.reshape(logits + row_term[:, :, :, None] + col_term[:, :, None, :], (T, 16, R * C))


@triton.jit
def place(pid, tiles_h, tiles_w, heads, PHASES: tl.constexpr, HEADS: tl.constexpr):
    """Of a program: batch (64 bits), first head, row phase, row tile, column phase, column tile."""
    tiles = tiles_h * tiles_w * PHASES * PHASES
    tile, rest = pid % tiles, pid // tiles
    groups = tl.cdiv(heads, HEADS)
    across, down = tile % (tiles_w * PHASES), tile // (tiles_w * PHASES)
    return (
        (rest // groups).to(tl.int64),
        (rest % groups) * HEADS,
        down % PHASES,
        down // PHASES,
        across % PHASES,
        across // PHASES,
    )


@triton.jit(do_not_specialize=SIZES)
def forward(
    q, k, v, rows, cols, y, statistics,
    q_b, q_c, q_h, q_w, k_b, k_c, k_h, k_w, v_b, v_c, v_h, v_w, y_b, y_c, y_h, y_w,
    rows_n, cols_n, part, H, W, h, w, heads, tiles_h, tiles_w,
    D: tl.constexpr, E: tl.constexpr, K: tl.constexpr,
    STRIDE: tl.constexpr, STEP: tl.constexpr, JUMP: tl.constexpr, PHASES: tl.constexpr,
    RELATIVE: tl.constexpr, EXCLUDE: tl.constexpr, PRECISION: tl.constexpr,
    BD: tl.constexpr, BE: tl.constexpr, R: tl.constexpr, C: tl.constexpr, CHUNKS: tl.constexpr,
    T: tl.constexpr, HEADS: tl.constexpr,
):  # fmt: skip
    """y, and of every softmax its largest logit and the inverse of its sum, statistics (B, heads, h, w, 2)."""
    b, first, phase_r, tile_r, phase_c, tile_c = place(tl.program_id(0), tiles_h, tiles_w, heads, PHASES, HEADS)
    batch, m = tl.arange(0, T), tl.arange(0, 16)
    top = tile_r * (2 * T) + 2 * batch  # T: the block's first row among the outputs of its phase
    i = phase_r + PHASES * (top[:, None] + (m // 8)[None, :])  # T, M
    j = phase_c + PHASES * (tile_c * 8 + (m % 8)[None, :])
    inside = (i < h) & (j < w)
    top_pixel = STRIDE * (phase_r + PHASES * top) - STEP * (K // 2)  # T
    left_pixel = STRIDE * (phase_c + PHASES * tile_c * 8) - STEP * (K // 2)
    d, e, n = tl.arange(0, BD), tl.arange(0, BE), tl.arange(0, R * C)
    col = (left_pixel + STEP * (n % C))[None, :]  # 1, N
    line = left_pixel + STEP * tl.arange(0, C)
    near_col = tl.broadcast_to(((line >= 0) & (line < W) | (not EXCLUDE))[None, :], (T, C))
    for head in range(first, tl.minimum(first + HEADS, heads)):
        channel, value_channel = head * D + d, head * E + e
        mask = inside[:, :, None] & (d < D)[None, None, :]
        qs = read(q, b, channel[None, None, :], i[:, :, None], j[:, :, None], q_b, q_c, q_h, q_w, mask)  # T, M, BD
        col_term = axis_term(
            qs, cols + head * cols_n, part, D, 0, m % 8, near_col, 8, JUMP, K, C, T, BD, RELATIVE, PRECISION
        )
        top_logit = tl.full((T, 16), float("-inf"), tl.float32)
        total = tl.zeros((T, 16), tl.float32)
        acc = tl.zeros((T, 16, BE), tl.float32)
        for chunk in range(CHUNKS):
            ks, vs, row_term = rectangle(
                qs, k, v, rows + head * rows_n, b, channel, value_channel, chunk * R, top_pixel, col,
                k_b, k_c, k_h, k_w, v_b, v_c, v_h, v_w, part, H, W,
                D, E, K, STEP, JUMP, RELATIVE, EXCLUDE, PRECISION, BD, BE, R, C, T,
            )  # fmt: skip
            logits = window_logits(qs, ks, row_term, col_term, R, C, T, PRECISION)
            higher = tl.maximum(top_logit, tl.max(logits, 2))
            reference = tl.where(higher == float("-inf"), 0.0, higher)  # no key seen yet
            p = exponential(logits, reference[:, :, None], PRECISION)
            before = exponential(top_logit, reference, PRECISION)
            total = total * before + tl.sum(p, 2)
            acc = acc * before[:, :, None] + product(p.to(vs.dtype), vs, PRECISION)
            top_logit = higher
        safe = tl.where(inside, total, 1.0)
        acc = acc / safe[:, :, None]
        out = y + b * y_b + value_channel[None, None, :] * y_c + i[:, :, None] * y_h + j[:, :, None] * y_w
        tl.store(out, acc.to(y.dtype.element_ty), mask=inside[:, :, None] & (e < E)[None, None, :])
        place_of = ((b * heads + head) * h + i) * w + j
        tl.store(statistics + 2 * place_of, top_logit, mask=inside)
        tl.store(statistics + 2 * place_of + 1, 1.0 / safe, mask=inside)


@triton.jit
def to_taps(
    term, place, first, COUNT: tl.constexpr, JUMP: tl.constexpr, KT: tl.constexpr, N: tl.constexpr, T: tl.constexpr
):
    """A sum per query and line of the rectangle (T, M, N), as one per query and tap (T, M, KT)."""
    tap = first + tl.arange(0, N)[None, :, None] - JUMP * place[:, None, None]  # M, N, 1
    here = tap == tl.arange(0, KT)[None, None, :]
    return tl.sum(tl.where(here[None], term[:, :, :, None], 0.0), 2)


@triton.jit
def table_of(table, low, high, K: tl.constexpr, KT: tl.constexpr, BD: tl.constexpr):
    """An axis' embeddings (BD, KT): channels low .. high of a head, zero elsewhere."""
    d, t = tl.arange(0, BD)[:, None], tl.arange(0, KT)[None, :]
    return tl.load(table + (d - low) * K + t, mask=(d >= low) & (d < high) & (t < K), other=0.0)


@triton.jit(do_not_specialize=SIZES)
def backward_queries(
    q, k, v, rows, cols, statistics, dy, dq, delta, scores, d_rows, d_cols,
    q_b, q_c, q_h, q_w, k_b, k_c, k_h, k_w, v_b, v_c, v_h, v_w,
    g_b, g_c, g_h, g_w, dq_b, dq_c, dq_h, dq_w,
    rows_n, cols_n, part, H, W, h, w, heads, tiles_h, tiles_w, count,
    D: tl.constexpr, E: tl.constexpr, K: tl.constexpr,
    STRIDE: tl.constexpr, STEP: tl.constexpr, JUMP: tl.constexpr, PHASES: tl.constexpr,
    RELATIVE: tl.constexpr, EXCLUDE: tl.constexpr, PRECISION: tl.constexpr,
    BD: tl.constexpr, BE: tl.constexpr, R: tl.constexpr, C: tl.constexpr, CHUNKS: tl.constexpr, KT: tl.constexpr,
    T: tl.constexpr,
):  # fmt: skip
    """Gradients of queries and, one sum a program, of the tables; for the keys' kernel delta = dy . y, which is p . dp, and the
    scores q . r by tap.

    A program takes every so many-th of `count` tiles, so that few sums of the tables' gradients are written.
    """
    head = tl.program_id(1)
    batch, m = tl.arange(0, T), tl.arange(0, 16)
    d, e, n = tl.arange(0, BD), tl.arange(0, BE), tl.arange(0, R * C)
    taps = tl.arange(0, KT)
    channel, value_channel = head * D + d, head * E + e
    sum_rows = tl.zeros((T, BD, KT), tl.float32)
    sum_cols = tl.zeros((T, BD, KT), tl.float32)
    for tile in range(tl.program_id(0), count, tl.num_programs(0)):
        b, _, phase_r, tile_r, phase_c, tile_c = place(tile, tiles_h, tiles_w, 1, PHASES, 1)
        top = tile_r * (2 * T) + 2 * batch
        i = phase_r + PHASES * (top[:, None] + (m // 8)[None, :])
        j = phase_c + PHASES * (tile_c * 8 + (m % 8)[None, :])
        inside = (i < h) & (j < w)
        top_pixel = STRIDE * (phase_r + PHASES * top) - STEP * (K // 2)
        left_pixel = STRIDE * (phase_c + PHASES * tile_c * 8) - STEP * (K // 2)
        col = (left_pixel + STEP * (n % C))[None, :]
        line = left_pixel + STEP * tl.arange(0, C)
        near_col = tl.broadcast_to(((line >= 0) & (line < W) | (not EXCLUDE))[None, :], (T, C))
        mask_d, mask_e = inside[:, :, None] & (d < D)[None, None, :], inside[:, :, None] & (e < E)[None, None, :]
        qs = read(q, b, channel[None, None, :], i[:, :, None], j[:, :, None], q_b, q_c, q_h, q_w, mask_d)
        gs = read(dy, b, value_channel[None, None, :], i[:, :, None], j[:, :, None], g_b, g_c, g_h, g_w, mask_e)
        gs = gs.to(qs.dtype)
        place_of = ((b * heads + head) * h + i) * w + j
        peak = tl.load(statistics + 2 * place_of, mask=inside, other=0.0)
        inverse = tl.load(statistics + 2 * place_of + 1, mask=inside, other=0.0)
        col_term = axis_term(
            qs, cols + head * cols_n, part, D, 0, m % 8, near_col, 8, JUMP, K, C, T, BD, RELATIVE, PRECISION
        )
        acc = tl.zeros((T, 16, BD), tl.float32)
        by_col = tl.zeros((T, 16, C), tl.float32)
        row_taps = tl.zeros((T, 16, KT), tl.float32)
        deltas = tl.zeros((T, 16), tl.float32)
        # p . dp rather than dy . y, whose y has been rounded; in one chunk it is at hand
        for step in range(CHUNKS if CHUNKS == 1 else 2 * CHUNKS):
            chunk = step % CHUNKS
            ks, vs, row_term = rectangle(
                qs, k, v, rows + head * rows_n, b, channel, value_channel, chunk * R, top_pixel, col,
                k_b, k_c, k_h, k_w, v_b, v_c, v_h, v_w, part, H, W,
                D, E, K, STEP, JUMP, RELATIVE, EXCLUDE, PRECISION, BD, BE, R, C, T,
            )  # fmt: skip
            logits = window_logits(qs, ks, row_term, col_term, R, C, T, PRECISION)
            p = exponential(logits, peak[:, :, None], PRECISION) * inverse[:, :, None]
            dp = product(gs, tl.permute(vs, (0, 2, 1)), PRECISION)
            if step < CHUNKS:
                deltas += tl.sum(p * dp, 2)
            if step >= CHUNKS - (CHUNKS == 1):
                ds = p * (dp - deltas[:, :, None])
                acc += product(ds.to(ks.dtype), ks, PRECISION)
                if RELATIVE:
                    parts = tl.reshape(ds, (T, 16, R, C))
                    by_col += tl.sum(parts, 2)
                    row_taps += to_taps(tl.sum(parts, 3), m // 8, chunk * R, 2, JUMP, KT, R, T)
        tl.store(delta + place_of, deltas, mask=inside)
        if RELATIVE:
            col_taps = to_taps(by_col, m % 8, 0, 8, JUMP, KT, C, T)
            r, c = (
                table_of(rows + head * rows_n, 0, part, K, KT, BD),
                table_of(cols + head * cols_n, part, D, K, KT, BD),
            )
            acc += product(row_taps.to(qs.dtype), tl.broadcast_to(tl.trans(r)[None], (T, KT, BD)), PRECISION)
            acc += product(col_taps.to(qs.dtype), tl.broadcast_to(tl.trans(c)[None], (T, KT, BD)), PRECISION)
            turned = tl.permute(qs, (0, 2, 1))
            sum_rows += product(turned, row_taps.to(qs.dtype), PRECISION)
            sum_cols += product(turned, col_taps.to(qs.dtype), PRECISION)
            out = scores + place_of[:, :, None] * (2 * K) + taps[None, None, :]
            known = inside[:, :, None] & (taps < K)[None, None, :]
            tl.store(out, product(qs, tl.broadcast_to(r[None], (T, BD, KT)), PRECISION), mask=known)
            tl.store(out + K, product(qs, tl.broadcast_to(c[None], (T, BD, KT)), PRECISION), mask=known)
        out = dq + b * dq_b + channel[None, None, :] * dq_c + i[:, :, None] * dq_h + j[:, :, None] * dq_w
        tl.store(out, acc.to(dq.dtype.element_ty), mask=mask_d)
    if RELATIVE:
        program = (tl.program_id(0) * heads + head).to(tl.int64)
        out = program * (D * K) + d[:, None] * K + taps[None, :]
        known = (d < D)[:, None] & (taps < K)[None, :]
        tl.store(d_rows + out, tl.sum(sum_rows, 0), mask=known)
        tl.store(d_cols + out, tl.sum(sum_cols, 0), mask=known)


@triton.jit(do_not_specialize=SIZES)
def backward_keys(
    q, k, v, statistics, dy, delta, scores, dk, dv,
    q_b, q_c, q_h, q_w, k_b, k_c, k_h, k_w, v_b, v_c, v_h, v_w, g_b, g_c, g_h, g_w,
    dk_b, dk_c, dk_h, dk_w, dv_b, dv_c, dv_h, dv_w,
    H, W, h, w, heads, tiles_h, tiles_w,
    D: tl.constexpr, E: tl.constexpr, K: tl.constexpr,
    STRIDE: tl.constexpr, STEP: tl.constexpr, JUMP: tl.constexpr, PHASES: tl.constexpr,
    COMMON: tl.constexpr, INVERSE: tl.constexpr, RELATIVE: tl.constexpr, PRECISION: tl.constexpr,
    BD: tl.constexpr, BE: tl.constexpr, R: tl.constexpr, C: tl.constexpr, CHUNKS: tl.constexpr,
    T: tl.constexpr, HEADS: tl.constexpr,
):  # fmt: skip
    """Gradients of keys and values: 16 keys, 2 rows of 8 of the lattice, gather from the queries whose windows hold them."""
    b, first, phase_r, tile_r, phase_c, tile_c = place(tl.program_id(0), tiles_h, tiles_w, heads, STEP, HEADS)
    batch, m = tl.arange(0, T), tl.arange(0, 16)
    top, left = tile_r * (2 * T) + 2 * batch, tile_c * 8  # lattice coordinates of the first key
    row = phase_r + STEP * (top[:, None] + (m // 8)[None, :])  # T, M
    col = phase_c + STEP * (left + (m % 8)[None, :])
    inside = (row < H) & (col < W)
    # the queries that read this lattice: i = first_i + PHASES * j, at lattice coordinate origin + JUMP * j
    first_i, first_j = (phase_r // COMMON * INVERSE) % PHASES, (phase_c // COMMON * INVERSE) % PHASES
    origin_r, origin_c = (STRIDE * first_i - phase_r) // STEP, (STRIDE * first_j - phase_c) // STEP
    low_r, low_c = top - origin_r - K // 2, left - origin_c - K // 2
    start_r = (low_r + JUMP * K + JUMP - 1) // JUMP - K  # rounded up; low_r may be negative
    start_c = (low_c + JUMP * K + JUMP - 1) // JUMP - K
    n = tl.arange(0, R * C)
    d, e = tl.arange(0, BD), tl.arange(0, BE)
    along = start_c + n % C  # N
    j = first_j + PHASES * along
    read_at_all = (n * 0 + phase_r % COMMON + phase_c % COMMON) == 0  # a block: the interpreter knows no single bool
    col_tap = (left - origin_c + K // 2 - JUMP * along)[:, None] + tl.arange(0, 8)[None, :]  # N, 8
    for head in range(first, tl.minimum(first + HEADS, heads)):
        channel, value_channel = head * D + d, head * E + e
        mask_d, mask_e = inside[:, :, None] & (d < D)[None, None, :], inside[:, :, None] & (e < E)[None, None, :]
        ks = read(k, b, channel[None, None, :], row[:, :, None], col[:, :, None], k_b, k_c, k_h, k_w, mask_d)
        vs = read(v, b, value_channel[None, None, :], row[:, :, None], col[:, :, None], v_b, v_c, v_h, v_w, mask_e)
        acc_k, acc_v = tl.zeros((T, 16, BD), tl.float32), tl.zeros((T, 16, BE), tl.float32)
        for chunk in range(CHUNKS):
            down = start_r[:, None] + (chunk * R + n // C)[None, :]  # T, N
            i = first_i + PHASES * down
            row_tap = (top[:, None] - origin_r + K // 2 - JUMP * down)[:, :, None] + tl.arange(0, 2)[
                None, None, :
            ]  # T, N, 2
            there = (down >= 0) & (i < h) & ((along >= 0) & (j < w) & read_at_all)[None, :]
            qs = read(
                q,
                b,
                channel[None, None, :],
                i[:, :, None],
                j[None, :, None],
                q_b,
                q_c,
                q_h,
                q_w,
                there[:, :, None] & (d < D)[None, None, :],
            )
            gs = read(
                dy,
                b,
                value_channel[None, None, :],
                i[:, :, None],
                j[None, :, None],
                g_b,
                g_c,
                g_h,
                g_w,
                there[:, :, None] & (e < E)[None, None, :],
            )
            gs = gs.to(qs.dtype)
            place_of = ((b * heads + head) * h + i) * w + j[None, :]
            peak = tl.load(statistics + 2 * place_of, mask=there, other=0.0)
            inverse = tl.load(statistics + 2 * place_of + 1, mask=there, other=0.0)
            deltas = tl.load(delta + place_of, mask=there, other=0.0)
            rows_seen = there[:, :, None] & (row_tap >= 0) & (row_tap < K)
            cols_seen = there[:, :, None] & ((col_tap >= 0) & (col_tap < K))[None]
            row_term = tl.zeros((T, R * C, 2), tl.float32)
            col_term = tl.zeros((T, R * C, 8), tl.float32)
            if RELATIVE:
                score = scores + place_of[:, :, None] * (2 * K)
                row_term = tl.load(score + row_tap, mask=rows_seen, other=0.0)
                col_term = tl.load(score + K + col_tap[None], mask=cols_seen, other=0.0)
            row_term = tl.where(rows_seen, row_term, float("-inf"))
            col_term = tl.where(cols_seen, col_term, float("-inf"))
            logits = tl.reshape(product(qs, tl.permute(ks, (0, 2, 1)), PRECISION), (T, R * C, 2, 8))
            logits = tl.reshape(logits + row_term[:, :, :, None] + col_term[:, :, None, :], (T, R * C, 16))
            p = exponential(logits, peak[:, :, None], PRECISION) * inverse[:, :, None]
            dp = product(gs, tl.permute(vs, (0, 2, 1)), PRECISION)
            ds = p * (dp - deltas[:, :, None])
            acc_v += product(tl.permute(p.to(gs.dtype), (0, 2, 1)), gs, PRECISION)
            acc_k += product(tl.permute(ds.to(qs.dtype), (0, 2, 1)), qs, PRECISION)
        out = dk + b * dk_b + channel[None, None, :] * dk_c + row[:, :, None] * dk_h + col[:, :, None] * dk_w
        tl.store(out, acc_k.to(dk.dtype.element_ty), mask=mask_d)
        out = dv + b * dv_b + value_channel[None, None, :] * dv_c + row[:, :, None] * dv_h + col[:, :, None] * dv_w
        tl.store(out, acc_v.to(dv.dtype.element_ty), mask=mask_e)
