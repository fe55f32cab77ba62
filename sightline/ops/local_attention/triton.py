"""The Triton kernels as a torch operator, `torch.ops.sightline.triton_local_attention`: float32, bfloat16 and float16 on a GPU.

Operands are read where they lie, in any layout; channels-last is the fast one. Backward recomputes the weights from each
softmax's largest logit and sum, gathers without atomics, and is the same bits every time.
"""

from typing import Any

import torch
from torch import Tensor

from sightline.ops import triton_support as support
from sightline.ops.local_attention import cpu
from sightline.ops.native import operator
from sightline.ops.native.operator import empty_map
from sightline.ops.triton_support import power_of_two
from sightline.ops.triton_support.lattice import QUERIES, Lattice, batches, keys_block, lattice, queries_block
from sightline.ops.window import output_size

OPERATOR = True
DEEPEST = 128  # channels a head
LARGEST_WINDOW = 31
PROGRAMS = 1024  # of the queries' backward kernel; each writes one sum of the tables' gradients
STAGES = (
    {"num_stages": 1},
    {"num_stages": 2},
)  # little shared memory and many programs, or loads ahead of their products
NAME = "triton_local_attention"


def objection(query, key, value, *tables: Tensor | None, kernel_size: int, heads: int, **options: Any) -> str | None:
    """Why the kernels can not run these operands; None when they can."""
    if (reason := support.objection(query, key, value, *tables)) is not None:
        return reason
    depth = max(query.shape[1], value.shape[1]) // heads
    if depth > DEEPEST:
        return f"it takes heads of up to {DEEPEST} channels; got {depth}"
    if kernel_size > LARGEST_WINDOW:
        return f"it takes windows of up to {LARGEST_WINDOW} x {LARGEST_WINDOW}; got kernel_size {kernel_size}"
    return support.too_far(query, key, value)


def outrun(*operands: Any, **options: Any) -> bool:
    """The interpreter is slower than anything."""
    return support.INTERPRETING


def run(query, key, value, relative_rows, relative_cols, *, kernel_size, heads, stride, dilation, border) -> Tensor:
    """See `sightline.ops.local_attention`."""
    options = (kernel_size, heads, stride, dilation, border == "exclude")
    return torch.ops.sightline.triton_local_attention(query, key, value, relative_rows, relative_cols, *options)[0]


def forward(query, key, value, rows, cols, *options) -> tuple[Tensor, Tensor]:
    """Run the forward kernel: the answer, and of every softmax the largest logit and the inverse of the sum, (B, N, h, w, 2)."""
    y, statistics = empty(query, key, value, rows, cols, *options)
    if y.numel():
        _Kernels(query, key, value, rows, cols, *options).forward(y, statistics)
    return y, statistics


def backward(needed, grad, y, statistics, query, key, value, rows, cols, *options) -> list[Tensor | None]:
    """Run the backward kernels: gradients of the five operands, None where they are not needed."""
    operands = (query, key, value, rows, cols)
    if not y.numel():
        return [torch.zeros_like(one) if want else None for one, want in zip(operands, needed, strict=True)]
    kernels = _Kernels(*operands, *options)
    delta, scores = torch.empty_like(statistics[..., 0]), kernels.scores(statistics)
    found = kernels.backward_queries(grad, statistics, delta, scores)
    if any(needed[1:3]):
        found[1:3] = kernels.backward_keys(grad, statistics, delta, scores)
    pairs = zip(found, operands, needed, strict=True)
    return [one.to(operand.dtype) if want and one is not None else None for one, operand, want in pairs]


class _Kernels:
    """The operands as the kernels read them, and their launches."""

    def __init__(self, query, key, value, rows, cols, kernel_size, heads, stride, dilation, exclude) -> None:
        self.query, self.key, self.value = support.common(query, key, value)
        self.rows, self.cols = (_table(one, self.query.dtype) for one in (rows, cols))
        self.K, self.heads, self.exclude = kernel_size, heads, exclude
        self.D, self.E = query.shape[1] // heads, value.shape[1] // heads
        self.lattice: Lattice = lattice(stride, dilation)
        self.batches = batches(self.query.element_size())
        self.depth, self.size = power_of_two(max(self.D, self.E), 16), self.query.element_size()

    def forward(self, y: Tensor, statistics: Tensor) -> None:
        block = queries_block(self.K, self.lattice.jump, self.depth, self.size)
        down, across = self._tiles(self.query, self.lattice.phases)
        tiles = down * across * self.lattice.phases**2 * self.query.shape[0]
        maps = (self.query, self.key, self.value)
        self._launch(
            "forward",
            lambda meta: (tiles * -(-self.heads // meta["HEADS"]),),
            (*maps, *self._tables(), y, statistics),
            (*maps, y),
            (*self._halves(), *self._sizes(), down, across),
            RELATIVE=self.rows is not None,
            EXCLUDE=self.exclude,
            choices=_grouped(self._together()),
            **self._block(block),
        )

    def scores(self, statistics: Tensor) -> Tensor:
        """Room for q . r of every query and tap, rows then columns."""
        relative = self.rows is not None
        return statistics.new_empty((*statistics.shape[:-1], 2 * self.K) if relative else (1,))

    def backward_queries(self, grad, statistics, delta, scores) -> list[Tensor | None]:
        block = queries_block(self.K, self.lattice.jump, self.depth, self.size)
        down, across = self._tiles(self.query, self.lattice.phases)
        count = down * across * self.lattice.phases**2 * self.query.shape[0]
        programs = min(count, max(PROGRAMS // self.heads, 1))
        grad_query = torch.empty_like(self.query)
        sums = [statistics.new_empty(programs, self.heads, self.D, self.K) for _ in range(2 if self._relative() else 0)]
        maps = (self.query, self.key, self.value)
        unused = [statistics] * (2 - len(sums))
        self._launch(
            "backward_queries",
            lambda _options: (programs, self.heads),
            (*maps, *self._tables(), statistics, grad, grad_query, delta, scores, *sums, *unused),
            (*maps, grad, grad_query),
            (*self._halves(), *self._sizes(), down, across, count),
            RELATIVE=self._relative(),
            EXCLUDE=self.exclude,
            KT=power_of_two(self.K, 16),
            choices=STAGES,
            **self._block(block),
        )
        return [grad_query, None, None, *self._grad_tables(sums)]

    def backward_keys(self, grad, statistics, delta, scores) -> list[Tensor]:
        block = keys_block(self.K, self.lattice.jump, self.depth, self.size)
        down, across = self._tiles(self.key, self.lattice.step)
        tiles = down * across * self.lattice.step**2 * self.key.shape[0]
        gradients = [torch.empty_like(one) for one in (self.key, self.value)]
        maps = (self.query, self.key, self.value)
        self._launch(
            "backward_keys",
            lambda meta: (tiles * -(-self.heads // meta["HEADS"]),),
            (*maps, statistics, grad, delta, scores, *gradients),
            (*maps, grad, *gradients),
            (*self._sizes(), down, across),
            RELATIVE=self._relative(),
            COMMON=self.lattice.common,
            INVERSE=self.lattice.inverse,
            choices=_grouped(self._together()),
            **self._block(block),
        )
        return gradients

    def _launch(self, name: str, grid: Any, tensors: Any, maps: Any, numbers: Any, **options: Any) -> None:
        from sightline.ops.local_attention import kernels

        strides = [step for one in maps for step in one.stride()]
        support.launch(
            getattr(kernels, name),
            grid,
            *tensors,
            *strides,
            *numbers,
            device=self.query.device,
            D=self.D,
            E=self.E,
            K=self.K,
            STRIDE=self.lattice.stride,
            STEP=self.lattice.step,
            JUMP=self.lattice.jump,
            PHASES=self.lattice.phases,
            PRECISION=support.precision(self.query.dtype),
            BD=power_of_two(self.D, 16),
            BE=power_of_two(self.E, 16),
            **options,
        )

    def _relative(self) -> bool:
        return self.rows is not None

    def _tables(self) -> tuple[Tensor, Tensor]:
        return (self.query, self.query) if self.rows is None or self.cols is None else (self.rows, self.cols)

    def _halves(self) -> tuple[int, int, int]:
        """Elements between the tables of two heads (0: they share them), channels of the row table."""
        if self.rows is None or self.cols is None:
            return 0, 0, 0
        part, own = self.rows.shape[1], self.rows.shape[0] > 1
        return part * self.K * own, (self.D - part) * self.K * (self.cols.shape[0] > 1), part

    def _sizes(self) -> tuple[int, ...]:
        return (*self.key.shape[2:], *self.query.shape[2:], self.heads)

    def _tiles(self, one: Tensor, phases: int) -> tuple[int, int]:
        """Tiles of one phase, down and across."""
        rows, cols = (-(-size // phases) for size in one.shape[2:])
        return -(-rows // (QUERIES[0] * self.batches)), -(-cols // QUERIES[1])

    def _block(self, block: Any) -> dict[str, int]:
        return {
            "R": block.rows,
            "C": block.columns,
            "CHUNKS": block.chunks,
            "T": self.batches,
            "num_warps": self.batches,
        }

    def _together(self) -> int:
        """Heads a program takes in turn: as many as share 128 bytes of a pixel in channels_last, which one SM then reads once."""
        last = self.key.stride(1) == 1
        return max(min(128 // (self.D * self.size), self.heads), 1) if last else 1

    def _grad_tables(self, sums: list[Tensor]) -> list[Tensor | None]:
        """The programs' sums as gradients of the tables: theirs are the first channels, or the others."""
        if self.rows is None or self.cols is None:
            return [None, None]
        rows, cols = (one.sum(0) for one in sums)  # N, D, K
        part = self.rows.shape[1]
        found = (rows[:, :part], self.rows), (cols[:, part:], self.cols)
        return [one.sum(0, keepdim=True) if table.shape[0] == 1 else one for one, table in found]


def _grouped(heads: int) -> list[dict[str, int]]:
    """Configurations with that many heads a program in turn, and with one."""
    return [{**one, "HEADS": many} for many in dict.fromkeys((heads, 1)) for one in STAGES]


def _table(table: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Embeddings as kernels read them: of the queries' dtype, or float32, never narrower than they are."""
    if table is None:
        return None
    return table.to(dtype if table.dtype is dtype else torch.float32).contiguous()


def empty(query, key, value, rows, cols, kernel_size, heads, stride, dilation, exclude) -> tuple[Tensor, Tensor]:
    """An answer of the right shape, in the query's dtype and memory format, and room for the statistics."""
    grid = output_size(value.shape[2], value.shape[3], stride)
    return empty_map(query, value.shape[1]), query.new_empty((query.shape[0], heads, *grid, 2), dtype=torch.float32)


operator.register(
    NAME, cpu.SCHEMA, forward, backward, empty, cpu.flops, cpu.definition, support.DEVICES, statistics=True
)
