"""The paper's other position embeddings of a ViT, and the other places where they may act.

    1d         a table of one embedding a token, the prefix among them           added before the blocks
    2d         one half of the channels tells the row, the other the column      added before the blocks
    relative   the offset of two tokens in the sequence adds to their logit      inside every attention
    none       a bag of patches

    stem       added once, before the first block
    layers     every block has a table of its own
    shared     every block has the same one

"1d" at the "stem" is ViT as it is; there the table is the net's own `pos_embed` and this module is not used.

Source: Dosovitskiy et al. 2021, arXiv 2010.11929, appendix D.4, table 8.
Ours:   2-D embeddings leave the prefix alone (a token's own vector can hold what its position would add); "relative" at the "stem"
        means the paper's default for it, a table in every block; all are resized to other grids axis by axis as `resize` says,
        relative tables over the offsets, which keeps offset 0 in the middle.
Legend: B batch, L tokens (prefix, then the grid row by row), C channels, D channels a head, H W rows and columns of the grid.
"""

from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.backbones.transformer_config import TransformerConfig
from sightline.layers.positions import resize_positions

Grid = tuple[int, int]


class Table(Protocol):
    """What every table answers."""

    def at(self, grid: Grid) -> Tensor:
        """The embeddings for a grid."""
        ...

    def resize(self, grid: Grid) -> None:
        """Make another grid its own."""
        ...


class Table1d(nn.Module):
    """One embedding a token, (1, L, C)."""

    def __init__(self, cfg: TransformerConfig, prefix: int, grid: Grid) -> None:
        super().__init__()
        self.prefix, self.method, self.grid = prefix, cfg.resize, grid
        self.tokens = _table(cfg, 1, prefix + grid[0] * grid[1], cfg.dim)

    def at(self, grid: Grid) -> Tensor:
        """(1, L, C) for a grid."""
        return resize_positions(self.tokens, self.grid, grid, self.prefix, self.method)

    def resize(self, grid: Grid) -> None:
        """Make another grid its own."""
        self.tokens, self.grid = _like(self.tokens, self.at(grid)), grid


class Table2d(nn.Module):
    """Rows (1, H, C / 2) and columns (1, W, C / 2); a patch has those of its place, one behind the other."""

    def __init__(self, cfg: TransformerConfig, prefix: int, grid: Grid) -> None:
        super().__init__()
        self.prefix, self.method = prefix, cfg.resize
        self.rows, self.cols = (_table(cfg, 1, size, cfg.dim // 2) for size in grid)

    def at(self, grid: Grid) -> Tensor:
        """(1, L, C) for a grid, zero for the prefix."""
        rows, cols = (self._axis(one, size) for one, size in zip((self.rows, self.cols), grid, strict=True))
        patches = torch.cat(
            [rows[:, :, None].expand(-1, -1, grid[1], -1), cols[:, None].expand(-1, grid[0], -1, -1)], 3
        )
        return F.pad(patches.flatten(1, 2), (0, 0, self.prefix, 0))

    def resize(self, grid: Grid) -> None:
        """Make another grid its own."""
        self.rows, self.cols = (
            _like(one, self._axis(one, size)) for one, size in zip((self.rows, self.cols), grid, strict=True)
        )

    def _axis(self, table: Tensor, size: int) -> Tensor:
        return resize_positions(table, (table.shape[1], 1), (size, 1), method=self.method)


class RelativeTable(nn.Module):
    """One embedding an offset of two tokens, (2L - 1, D)."""

    def __init__(self, cfg: TransformerConfig, prefix: int, grid: Grid) -> None:
        super().__init__()
        self.prefix = prefix
        self.offsets = _table(cfg, 2 * (prefix + grid[0] * grid[1]) - 1, cfg.dim // cfg.heads)

    def at(self, grid: Grid) -> Tensor:
        """(2L - 1, D) for a grid."""
        size = 2 * (self.prefix + grid[0] * grid[1]) - 1
        if size == len(self.offsets):
            return self.offsets
        return resize_positions(self.offsets[None], (len(self.offsets), 1), (size, 1), method="bilinear")[0]

    def resize(self, grid: Grid) -> None:
        """Make another grid its own."""
        self.offsets = _like(self.offsets, self.at(grid))


class Positions(nn.Module):
    """The tables of a net and where each acts.

    Args:
        cfg: the net as data.
        prefix: tokens before the grid.
        grid: rows and columns of the patches.
    """

    def __init__(self, cfg: TransformerConfig, prefix: int, grid: Grid) -> None:
        super().__init__()
        self.relative, self.everywhere = cfg.positions == "relative", cfg.positions_at != "stem"
        own = cfg.positions_at == "layers" or (self.relative and not self.everywhere)
        kind = {"1d": Table1d, "2d": Table2d, "relative": RelativeTable}[cfg.positions]
        self.tables = nn.ModuleList(kind(cfg, prefix, grid) for _ in range(cfg.depth if own else 1))

    def add(self, tokens: Tensor, layer: int, grid: Grid) -> Tensor:
        """Tokens (B, L, C) as they enter block `layer`."""
        if self.relative or (layer > 0 and not self.everywhere):
            return tokens
        return tokens + self._of(layer).at(grid)

    def offsets(self, layer: int, grid: Grid) -> Tensor | None:
        """The relative table of block `layer`, (2L - 1, D)."""
        return self._of(layer).at(grid) if self.relative else None

    def resize(self, grid: Grid) -> None:
        """Make another grid that of all tables."""
        for table in self.tables:
            cast(Table, table).resize(grid)

    def _of(self, layer: int) -> Table:
        return cast(Table, self.tables[layer if len(self.tables) > 1 else 0])


def _table(cfg: TransformerConfig, *shape: int) -> nn.Parameter:
    return nn.Parameter(nn.init.normal_(torch.empty(shape), std=cfg.position_std))


def _like(old: nn.Parameter, data: Tensor) -> nn.Parameter:
    return nn.Parameter(data.detach().clone(), requires_grad=old.requires_grad)
