"""What the blocks of a ViT or DeiT hand on, as grids: timm's interface for features, mixed into `PatchTransformer`.

Legend: B batch, L tokens (prefix, then the grid row by row), T prefix tokens, C channels, h w rows and columns of the grid.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from sightline.backbones.indices import chosen

FORMATS = ("NCHW", "NLC")


class Intermediates(nn.Module):
    """Grids of chosen blocks, and a net cut behind the last of them."""

    blocks: nn.ModuleList
    norm: nn.Module
    num_prefix_tokens: int

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Grids of the chosen blocks, (B, C, h, w) or, as "NLC", (B, h*w, C), prefix left out; timm's interface.

        Args:
            x: image.
            indices: the last so many blocks, or which ones; None: all.
            return_prefix_tokens: give pairs (grid, prefix tokens (B, T, C)) instead of grids.
            norm: apply the last norm to each.
            stop_early: leave out the blocks after the last chosen one.
            output_fmt: "NCHW" or "NLC".
            intermediates_only: return the list alone; otherwise (tokens after the last norm, list).

        Raises:
            ValueError: an unknown format, or a block the net does not have.
        """
        if output_fmt not in FORMATS:
            raise ValueError(f"output_fmt must be one of {', '.join(FORMATS)}; got {output_fmt!r}")
        wanted, found, start = chosen(indices, len(self.blocks)), [], self.num_prefix_tokens
        tokens, grid = self._embed(x)
        for index in range(len(self.blocks)):
            if stop_early and index > max(wanted):
                break
            tokens = self._run(index, tokens, grid)
            if index in wanted:
                found.append(self.norm(tokens) if norm else tokens)
        shown = [one[:, start:] for one in found]
        if output_fmt == "NCHW":
            shown = [one.transpose(1, 2).unflatten(2, grid).contiguous() for one in shown]
        if return_prefix_tokens:
            shown = [(one, whole[:, :start]) for one, whole in zip(shown, found, strict=True)]
        return shown if intermediates_only else (self.norm(tokens), shown)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drop the blocks after the last chosen one and, when asked, the last norm and the head; timm's interface."""
        wanted = chosen(indices, len(self.blocks))
        self.blocks = self.blocks[: max(wanted) + 1]
        if prune_norm:
            self.norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0)
        return wanted

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """The net's own."""
        raise NotImplementedError

    def _embed(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        raise NotImplementedError

    def _run(self, layer: int, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        raise NotImplementedError
