"""Which layers of a net can be looked at: found by one forward pass over a black image."""

from dataclasses import dataclass

import torch
from torch import nn

from sightline.explain import AttentionMap, Geometry, capture


@dataclass(frozen=True)
class Layer:
    """One thing to look at: an attention layer, or one of its passes when it runs several times.

    Args:
        name: the layer's name in the net.
        passed: which pass, from 0; None: all its passes, one after the other.
        passes: how often the layer runs.
        op: the op's name.
        groups: heads or channel groups.
        geometry: the grid of queries in the net's input.
    """

    name: str
    passed: int | None
    passes: int
    op: str
    groups: int
    geometry: Geometry

    @property
    def tokens(self) -> int:
        """Prefix tokens that ask, as the class token."""
        return self.geometry.prefix

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of queries."""
        return self.geometry.rows, self.geometry.cols

    @property
    def title(self) -> str:
        """Its name on the page, and in requests."""
        if self.passes == 1:
            return self.name
        return (
            f"{self.name}, all {self.passes} passes" if self.passed is None else f"{self.name}, pass {self.passed + 1}"
        )


@torch.no_grad()
def layers_of(model: nn.Module, size: tuple[int, int], channels: int = 3) -> tuple[Layer, ...]:
    """The layers in the order they run; () for a net without attention."""
    try:
        with capture(model, queries=[(0, 0)]) as maps:
            model(torch.zeros(1, channels, *size))
    except ValueError:  # a convolution
        return ()
    return tuple(layer for name in maps.layers for layer in _of_calls(maps[name]))


def _of_calls(calls: list[AttentionMap]) -> list[Layer]:
    first, passes = calls[0], len(calls)
    which = [None] if passes == 1 else [*range(passes), None]
    return [
        Layer(first.layer, passed, passes, first.op, first.weights.shape[1], first.query_geometry) for passed in which
    ]
