"""What the stem and the stages of a residual net or a SAN hand on: timm's interface for features, mixed into `Trunk` and `SAN`."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn

from sightline.backbones.indices import chosen


class StageIntermediates(nn.Module):
    """Maps of chosen levels, in the order of `feature_info`, and a net cut behind the last of them."""

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """Maps (B, C, h, w) of the chosen levels: 0 the stem, then the stages, last a neck where there is one; timm's interface.

        Args:
            x: image.
            indices: the last so many levels, or which ones; None: all.
            norm: accepted as timm does; a level's maps are normalised as the net hands them on.
            stop_early: leave out the levels after the last chosen one.
            output_fmt: "NCHW", the only one.
            intermediates_only: return the list alone; otherwise (last map, list).

        Raises:
            ValueError: another format, or a level the net does not have.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt must be NCHW; got {output_fmt!r}")
        levels = self._levels()
        wanted, found = chosen(indices, len(levels), "levels"), []
        for index, level in enumerate(levels):
            if stop_early and index > max(wanted):
                break
            x = level(x)
            if index in wanted:
                found.append(x)
        return found if intermediates_only else (x, found)

    def prune_intermediate_layers(
        self, indices: int | Sequence[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Leave out the levels after the last chosen one and, unless told otherwise, the classifier; timm's interface."""
        wanted = chosen(indices, len(self._levels()), "levels")
        self._cut(max(wanted))
        if prune_head:
            self.reset_classifier(0, "")
        return wanted

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """The net's own."""
        raise NotImplementedError

    def _levels(self) -> list[Callable[[Tensor], Tensor]]:
        """What leads from one level to the next."""
        raise NotImplementedError

    def _cut(self, last: int) -> None:
        """Leave out all after a level."""
        raise NotImplementedError
