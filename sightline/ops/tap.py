"""Tap: the parameterless module through which a layer calls its op, and at which its weights can be seen.

A forward hook on a Tap receives the op's operands; from these `weights` recomputes the attention of the queries asked for,
whatever fused kernel ran. The layer stays one definition for training, explanation, cost and export.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from sightline.ops.support import Support


@dataclass(frozen=True)
class Cost:
    """Cost of one call, exact integers: multiply-adds, bytes read and written once, attention weights a dense evaluation stores."""

    macs: int
    bytes_moved: int
    weights_stored: int


@dataclass(frozen=True)
class Op:
    """An op as a layer hands it to its Tap: the function, its weights at chosen queries, its closed-form cost."""

    name: str
    run: Callable[..., Tensor]
    weights: Callable[..., Tensor]
    cost: Callable[..., Cost]


class Tap(nn.Module):
    """Call `op.run(*operands, **options)`.

    Args:
        op: the op.
        support: where its weights point.
        options: keyword options of the op, the same in every call.
    """

    def __init__(self, op: Op, support: Support, **options: Any) -> None:
        super().__init__()
        self.op = op
        self.support = support
        self.options = options

    def forward(self, *operands: Tensor | None, grid: tuple[int, int] | None = None) -> Tensor:
        """Run the op. `grid`, rows and columns of the tokens, is handed to it by layers whose operands do not show them."""
        return self.op.run(*operands, **self._with(grid))

    def weights(
        self, *operands: Tensor | None, queries: Tensor | None = None, grid: tuple[int, int] | None = None
    ) -> Tensor:
        """Attention weights (B, G, Q, S) of the flat queries (Q,); of all queries when None."""
        return self.op.weights(*operands, queries=queries, **self._with(grid))

    def cost(self, *operands: Tensor | None, grid: tuple[int, int] | None = None) -> Cost:
        """Closed-form cost for operands of these shapes and dtype (meta tensors do)."""
        return self.op.cost(*operands, **self._with(grid))

    def _with(self, grid: tuple[int, int] | None) -> dict[str, Any]:
        return self.options if grid is None else self.options | {"grid": grid}

    def extra_repr(self) -> str:
        options = ", ".join(f"{key}={value!r}" for key, value in self.options.items())
        return f"{self.op.name}, {options}" if options else self.op.name
