"""The Triton kernel of concatenation: relu(a_i + b_j) and its slope made in tiles, never a map; forward and backward are this one.

    ramps_i = sum over j of relu(a_i + b_j) v_j        dots_i = u_i . sum over j of [a_i + b_j > 0] v_j

Forward takes the ramps of queries over keys. Backward takes those of keys over queries, whose v is dy: the gradient of v; and dots,
u being the other side's map: the gradients of a and b.
Legend: M rows i, N columns j, BE channels at a time; E channels.
"""

import triton
import triton.language as tl

from sightline.ops.triton_support.kernels import product

SIZES = ["rows", "cols"]


@triton.jit
def part(a, b, v, j, e, v_e, v_j, cols, E: tl.constexpr):
    """a_i + b_j (M, N), below zero beyond the last column, and v (N, BE)."""
    bs = tl.load(b + j, mask=j < cols, other=float("-inf"))
    known = (j < cols)[:, None] & (e < E)[None, :]
    vs = tl.load(v + j[:, None] * v_j + e[None, :] * v_e, mask=known, other=0.0)
    return a[:, None] + bs[None, :], vs


@triton.jit(do_not_specialize=SIZES)
def sums(
    a, b, v, u, ramps, dots, factor, v_b, v_e, v_j, u_b, u_e, u_i, r_b, r_e, r_i, rows, cols,
    E: tl.constexpr, RAMPS: tl.constexpr, DOTS: tl.constexpr, PRECISION: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    """A block of rows of one image, times factor: where RAMPS, ramps (B, E, rows); where DOTS, dots (B, rows).

    The second axis of programs shares the channels out; for dots it is one program.
    """
    blocks = tl.cdiv(rows, M)
    batch = (tl.program_id(0) // blocks).to(tl.int64)
    i = tl.program_id(0) % blocks * M + tl.arange(0, M)
    own = tl.load(a + batch * rows + i, mask=i < rows, other=0.0)
    dot = tl.zeros((M,), tl.float32)
    for first in range(tl.program_id(1) * BE, E, tl.num_programs(1) * BE):
        e = first + tl.arange(0, BE)
        inside = (i < rows)[:, None] & (e < E)[None, :]
        ramp = tl.zeros((M, BE), tl.float32)
        step = tl.zeros((M, BE), tl.float32)
        for start in range(0, cols, N):
            j = start + tl.arange(0, N)
            s, vs = part(own, b + batch * cols, v + batch * v_b, j, e, v_e, v_j, cols, E)
            if RAMPS:
                ramp += product(tl.maximum(s, 0.0).to(vs.dtype), vs, PRECISION)
            if DOTS:
                step += product(tl.where(s > 0.0, 1.0, 0.0).to(vs.dtype), vs, PRECISION)
        if RAMPS:
            out = ramps + batch * r_b + i[:, None] * r_i + e[None, :] * r_e
            tl.store(out, (ramp * factor).to(ramps.dtype.element_ty), mask=inside)
        if DOTS:
            there = u + batch * u_b + i[:, None] * u_i + e[None, :] * u_e
            dot += tl.sum(step * tl.load(there, mask=inside, other=0.0).to(tl.float32), 1)
    if DOTS:
        tl.store(dots + batch * rows + i, dot * factor, mask=i < rows)
