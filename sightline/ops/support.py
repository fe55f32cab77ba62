"""Where attention weights point: the support of an op, and its dense map on demand.

An op's weights have shape (B, G, Q, S): batch, group (head or channel group), query, entry of the support. A support knows, for
an input of H rows and W columns, the grid of queries, the grid of keys, and which key each of the S entries of a query is.
Positions are flat, row-major. Prefix tokens (class, distillation) come before the grid in queries and entries alike.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sightline.ops import window


class Support(Protocol):
    """What every support answers; H and W are the rows and columns of the layer's input."""

    @property
    def prefix(self) -> int:
        """Number of tokens before the grid."""
        ...

    def query_grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the grid of queries."""
        ...

    def key_grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the grid of keys."""
        ...

    def targets(self, height: int, width: int, queries: Tensor) -> Tensor:
        """Flat keys (Q, S) of the entries of the flat queries (Q,); prefix tokens count; -1 where an entry has no key."""
        ...


@dataclass(frozen=True)
class Window:
    """A K x K footprint around each query (SASA, LR-Net, SAN)."""

    kernel_size: int
    stride: int = 1
    dilation: int = 1
    border: str = "exclude"
    prefix: int = 0

    def query_grid(self, height: int, width: int) -> tuple[int, int]:
        return window.output_size(height, width, self.stride)

    def key_grid(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def targets(self, height: int, width: int, queries: Tensor) -> Tensor:
        return window.targets(height, width, self.kernel_size, self.stride, self.dilation, self.border, queries)


@dataclass(frozen=True)
class Block:
    """The K x K block that holds the query; blocks tile the grid from its top left corner (SASA's stem)."""

    kernel_size: int
    prefix: int = 0

    def query_grid(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def key_grid(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def targets(self, height: int, width: int, queries: Tensor) -> Tensor:
        side = torch.arange(self.kernel_size, device=queries.device)
        top, left = queries // width, queries % width
        rows = (top - top % self.kernel_size)[:, None] + side  # Q, K
        cols = (left - left % self.kernel_size)[:, None] + side  # Q, K
        inside = (rows < height)[:, :, None] & (cols < width)[:, None, :]
        return (rows[:, :, None] * width + cols[:, None, :]).masked_fill(~inside, -1).flatten(1)  # Q, K*K


@dataclass(frozen=True)
class Global:
    """Every key (non-local, AA, ViT, DeiT). Pooled keys: one per key_stride rows and columns, remainder dropped, at least one."""

    prefix: int = 0
    key_stride: tuple[int, int] = (1, 1)

    def query_grid(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def key_grid(self, height: int, width: int) -> tuple[int, int]:
        return max(height // self.key_stride[0], 1), max(width // self.key_stride[1], 1)

    def targets(self, height: int, width: int, queries: Tensor) -> Tensor:
        rows, cols = self.key_grid(height, width)
        return torch.arange(self.prefix + rows * cols, device=queries.device).expand(len(queries), -1)


@dataclass(frozen=True)
class CrissCross:
    """The query's column (H entries, top to bottom; the query itself among them), then its row (W entries; itself absent: -1)."""

    prefix: int = 0

    def query_grid(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def key_grid(self, height: int, width: int) -> tuple[int, int]:
        return height, width

    def targets(self, height: int, width: int, queries: Tensor) -> Tensor:
        row, col = queries // width, queries % width
        column = torch.arange(height, device=queries.device) * width + col[:, None]  # Q, H
        along = row[:, None] * width + torch.arange(width, device=queries.device)  # Q, W
        along = along.masked_fill(along == queries[:, None], -1)
        return torch.cat([column, along], dim=1)  # Q, H+W


def dense(support: Support, weights: Tensor, queries: Tensor, height: int, width: int) -> Tensor:
    """Spread sparse weights (B, G, Q, S) over the grid of keys: (B, G, Q, rows, cols). Prefix keys are left out.

    Entries that point at the same key (reflection) add up.
    """
    target = support.targets(height, width, queries)  # Q, S
    rows, cols = support.key_grid(height, width)
    flat = weights.new_zeros(*weights.shape[:3], support.prefix + rows * cols)
    valued = weights.masked_fill(target < 0, 0)
    flat.scatter_add_(-1, target.clamp(min=0).expand_as(weights), valued)
    return flat[..., support.prefix :].unflatten(-1, (rows, cols))
