"""Capture attention weights during an ordinary forward pass, whatever fused kernel runs.

A hook on every `Tap` recomputes, from the operands the op received, the weights of the layers and queries asked for; the model's
own computation is untouched, so its output is bitwise what it is without capture.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import torch
from torch import Tensor, nn

from sightline.ops import support
from sightline.ops.support import Support
from sightline.ops.tap import Tap


@dataclass(frozen=True)
class AttentionMap:
    """The weights of one call of one layer.

    Args:
        layer: the layer's name in the model.
        call: 0 for its first call in the forward pass, 1 for the second (recurrence).
        op: the op's name.
        weights: (B, G, Q, S): batch, head or channel group, query, entry of the support.
        support: where the entries point.
        queries: flat query positions (Q,), prefix tokens first.
        height, width: rows and columns of the layer's input.
    """

    layer: str
    call: int
    op: str
    weights: Tensor
    support: Support
    queries: Tensor
    height: int
    width: int

    @property
    def query_grid(self) -> tuple[int, int]:
        """Rows and columns of the grid of queries."""
        return self.support.query_grid(self.height, self.width)

    @property
    def key_grid(self) -> tuple[int, int]:
        """Rows and columns of the grid of keys."""
        return self.support.key_grid(self.height, self.width)

    def dense(self) -> Tensor:
        """Weights over the whole grid of keys: (B, G, Q, rows, columns); prefix keys are left out."""
        return support.dense(self.support, self.weights, self.queries, self.height, self.width)


class Capture(Sequence[AttentionMap]):
    """The maps of the forward passes run inside `capture`, in the order of the calls."""

    def __init__(self) -> None:
        self._maps: list[AttentionMap] = []

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, index: Any) -> Any:
        """The map at a position, or the list of maps of a layer name."""
        if isinstance(index, str):
            found = [one for one in self._maps if one.layer == index]
            if not found:
                raise KeyError(f"no map of layer {index!r}; captured: {', '.join(self.layers)}")
            return found
        return self._maps[index]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the captured layers, each once, in the order of the calls."""
        return tuple(dict.fromkeys(one.layer for one in self._maps))

    def add(self, one: AttentionMap) -> None:
        """Append a map."""
        self._maps.append(one)


def taps(model: nn.Module) -> dict[str, Tap]:
    """The model's attention layers by name (the name of the layer, not of its tap)."""
    return {name.removesuffix(".attend"): module for name, module in model.named_modules() if isinstance(module, Tap)}


@contextmanager
def capture(
    model: nn.Module, layers: Sequence[str] | None = None, queries: Sequence[tuple[int, int]] | None = None
) -> Iterator[Capture]:
    """Record attention weights of the forward passes run inside the context: `with capture(model) as maps: model(images)`.

    Args:
        model: any model built from sightline's layers, not compiled.
        layers: names or glob patterns of layers (`taps(model)` lists them); None: all.
        queries: pixels (row, column) of the model's input image, each turned into the query that covers it in every layer's
            grid; None: every query, prefix tokens included.

    Raises:
        ValueError: the model has no attention, a pattern matches no layer, or a query lies outside the image.
        RuntimeError: no captured layer ran inside the context.
    """
    chosen = _choose(taps(model), layers)
    maps, image_size, handles = Capture(), [], []

    def note_image(_module: nn.Module, args: tuple[Any, ...]) -> None:
        image_size[:] = args[0].shape[-2:]
        calls.clear()

    calls: dict[str, int] = {}
    handles.append(model.register_forward_pre_hook(note_image))
    for name, tap in chosen.items():

        def record(tap: Tap, args: tuple[Any, ...], options: dict[str, Any], _output: Tensor, name: str = name) -> None:
            call = calls[name] = calls.get(name, -1) + 1
            maps.add(_map(name, call, tap, args, options.get("grid"), queries, image_size))

        handles.append(tap.register_forward_hook(record, with_kwargs=True))
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()
    if not maps:
        raise RuntimeError(
            "capture saw no attention: run the model's forward pass inside the `with` block, not compiled"
        )


def _choose(known: dict[str, Tap], patterns: Sequence[str] | None) -> dict[str, Tap]:
    if not known:
        raise ValueError(
            "this model has no attention layer of sightline's to capture; a convolution has no attention map"
        )
    if patterns is None:
        return known
    chosen = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        found = {name: tap for name, tap in known.items() if fnmatch(name, pattern)}
        if not found:
            raise ValueError(f"no attention layer matches {pattern!r}; the model has: {', '.join(known)}")
        chosen |= found
    return chosen


@torch.no_grad()
def _map(
    name: str,
    call: int,
    tap: Tap,
    operands: tuple[Any, ...],
    grid: tuple[int, int] | None,
    queries: Sequence[tuple[int, int]] | None,
    image_size: list[int],
) -> AttentionMap:
    height, width = grid if grid is not None else _grid(tap.support, operands)
    rows, cols = tap.support.query_grid(height, width)
    if queries is None:
        flat = torch.arange(tap.support.prefix + rows * cols, device=operands[0].device)
    else:
        flat = _covering(queries, image_size, rows, cols).to(operands[0].device) + tap.support.prefix
    weights = tap.weights(*operands, queries=flat, grid=grid)
    return AttentionMap(name, call, tap.op.name, weights, tap.support, flat, height, width)


def _grid(where: Support, operands: tuple[Any, ...]) -> tuple[int, int]:
    pooled = isinstance(where, support.Global)  # its keys may be pooled, its queries never are
    spatial = operands[0 if pooled else 1].shape[2:]
    if len(spatial) > 2:
        raise ValueError(
            f"capture draws maps over rows and columns; this layer works on {len(spatial)} axes {tuple(spatial)}. "
            "Its weights are to be had from `layer.attend.weights(*operands)`"
        )
    return (1, spatial[0]) if len(spatial) == 1 else (spatial[0], spatial[1])


def _covering(queries: Sequence[tuple[int, int]], image_size: list[int], rows: int, cols: int) -> Tensor:
    height, width = image_size
    for row, col in queries:
        if not (0 <= row < height and 0 <= col < width):
            raise ValueError(f"query ({row}, {col}) lies outside the image of {height} rows and {width} columns")
    return torch.tensor([row * rows // height * cols + col * cols // width for row, col in queries])
