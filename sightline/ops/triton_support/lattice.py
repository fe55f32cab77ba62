"""Strided and dilated windows as plain ones: which output positions share a lattice of pixels, and how a block of them is cut.

Output i looks at pixels stride*i + dilation*(t - K//2). Outputs that are `phases` = dilation / gcd apart, i = i0 + phases*j,
look at one lattice of pixels of step `dilation`, on which they lie `jump` = stride / gcd apart: output j at jump*j, its tap t at
jump*j + t - K//2. A block of neighbouring j therefore reads a small rectangle of the lattice, whatever stride and dilation are.
"""

import math
from dataclasses import dataclass

from sightline.ops.triton_support import power_of_two

QUERIES = (2, 8)  # rows and columns of the 16 queries of one matrix product
BYTES = 8192  # of one operand's block a warp; with more, its registers spill (ptxas, sm_90)


@dataclass(frozen=True)
class Lattice:
    """A window's stride and dilation (see above); `inverse` is that of `jump` modulo `phases`."""

    stride: int
    step: int
    common: int
    jump: int
    phases: int
    inverse: int


def lattice(stride: int, dilation: int) -> Lattice:
    """The lattice of a window."""
    common = math.gcd(stride, dilation)
    jump, phases = stride // common, dilation // common
    inverse = pow(jump, -1, phases) if phases > 1 else 0
    return Lattice(stride, dilation, common, jump, phases, inverse)


@dataclass(frozen=True)
class Block:
    """How 16 neighbours meet what they look at: `rows` x `columns` of the lattice at a time, `chunks` times."""

    rows: int
    columns: int
    chunks: int


def block(rows: int, columns: int, depth: int, size: int) -> Block:
    """A block for a rectangle of rows x columns positions of `depth` channels of `size` bytes."""
    wide = power_of_two(columns, 16)
    best = min((-(-rows // high) * high, -high) for high in (1, 2, 4, 8) if high == 1 or high * wide <= 128)
    high = -best[1]
    while high > 1 and high * wide * depth * size > BYTES:
        high //= 2
    return Block(high, wide, -(-rows // high))


def batches(size: int) -> int:
    """Blocks of 16 neighbours below each other in a program, a warp each: what is `size` bytes wide must fit shared memory."""
    return 8 // size


def queries_block(kernel_size: int, jump: int, depth: int, size: int) -> Block:
    """For 16 queries and the keys of their windows."""
    rows, columns = ((side - 1) * jump + kernel_size for side in QUERIES)
    return block(rows, columns, depth, size)


def keys_block(kernel_size: int, jump: int, depth: int, size: int) -> Block:
    """For 16 keys and the queries whose windows hold them."""
    rows, columns = ((side + kernel_size - 2) // jump + 1 for side in QUERIES)
    return block(rows, columns, depth, size)
