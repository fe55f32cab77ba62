"""What a method answers: one map a picture, that knows where its cells lie, what its numbers mean and what was asked."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from sightline.explain.geometry import Geometry


@dataclass(frozen=True)
class Explanation:
    """The maps of some pictures by one method.

    Args:
        method: its name in `METHODS`.
        maps: (B, h, w) float32, on the grid that `geometry` places in the image.
        geometry: where the cells lie.
        signed: whether values below zero mean something (against the class), so that colours must diverge.
        unit: what the numbers are.
        layer: the layer asked, or the layers followed; "" where the whole net is asked.
        head: the head or channel group; None: their mean, or the method knows none.
        at: the pixel (row, column) or token that looks; None: what the classifier reads.
        target: the class explained, one a picture; () where the method asks for none.
        tokens: weights that went to the prefix tokens, by name, each (B,).
    """

    method: str
    maps: Tensor
    geometry: Geometry
    signed: bool
    unit: str
    layer: str = ""
    head: int | None = None
    at: tuple[int, int] | str | None = None
    target: tuple[int, ...] = ()
    tokens: dict[str, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, picture: int) -> "Explanation":
        """One picture's."""
        if not -len(self) <= picture < len(self):
            raise IndexError(f"picture {picture} of {len(self)}")
        tokens = None if self.tokens is None else {name: one[[picture]] for name, one in self.tokens.items()}
        target = self.target[picture : picture + 1 or None] if self.target else ()
        return replace(self, maps=self.maps[[picture]], target=target, tokens=tokens)

    @property
    def map(self) -> Tensor:
        """The map (h, w) of the only picture. Raises ValueError when there are several; see `maps`."""
        if len(self) != 1:
            raise ValueError(f"{len(self)} pictures were explained; take explanation[i].map or explanation.maps")
        return self.maps[0]

    def over_image(self, smooth: bool = False) -> Tensor:
        """The maps at the image's resolution, (B, H, W): each cell over its pixels, or interpolated between cells."""
        return self.geometry.over_image(self.maps, smooth)


@dataclass(frozen=True)
class Ask:
    """What is asked of a method; `explain` checks it, a method reads what it needs.

    Args:
        model: in evaluation mode.
        images: normalised, (B, C, H, W).
        layer, head, at, target: see `explain`.
        settings: the method's own, all of them, see `Method.settings`.
    """

    model: Any
    images: Tensor
    layer: str | None
    head: int | None
    at: tuple[int, int] | str | None
    target: Tensor | None
    settings: dict[str, Any]

    @property
    def image_size(self) -> tuple[int, int]:
        """Rows and columns of the pictures."""
        return self.images.shape[2], self.images.shape[3]


@dataclass(frozen=True)
class Answer:
    """What a method returns; `explain` makes an `Explanation` of it. Fields as there; `signed` and `unit` override the method's."""

    maps: Tensor
    geometry: Geometry
    layer: str = ""
    target: Tensor | None = None
    signed: bool | None = None
    unit: str | None = None
    tokens: dict[str, Tensor] | None = None

    def targets(self) -> tuple[int, ...]:
        """The classes explained as plain numbers."""
        return () if self.target is None else tuple(torch.as_tensor(self.target).tolist())
