"""Capture attention weights during an ordinary forward pass, whatever fused kernel runs.

From the operands that each layer received, the weights of the layers and queries asked for are recomputed, some queries at a time;
the model's own computation is untouched, so its output is bitwise what it is without capture.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from sightline.explain.compose import push
from sightline.explain.geometry import Geometry
from sightline.explain.record import Call, detached, watching
from sightline.ops import support
from sightline.ops.support import CrissCross, Support
from sightline.ops.tap import Tap

Query = str | tuple[int, int]


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
        query_geometry, key_geometry: where the grids of queries and of keys lie in the image.
    """

    layer: str
    call: int
    op: str
    weights: Tensor
    support: Support
    queries: Tensor
    height: int
    width: int
    query_geometry: Geometry
    key_geometry: Geometry
    _call: Call | None = field(default=None, repr=False)

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

    def to_tokens(self) -> dict[str, Tensor]:
        """Weights on the prefix tokens by their names, each (B, G, Q); empty where a layer has none."""
        names = self.key_geometry.tokens
        return {name: self.weights[..., index] for index, name in enumerate(names)}


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

    def composed(self, layer: str) -> Tensor:
        """Where the queries look after all passes of a recurrent layer (criss-cross attention): (B, Q, rows, columns).

        The product of the passes' maps, groups averaged. For a layer called once, its dense map averaged over groups.

        Raises:
            ValueError: a layer of another kind ran several times, or the model did.
        """
        *earlier, last = self[layer]
        if any(one.call == 0 for one in self[layer][1:]):
            raise ValueError(
                f"layer {layer!r} was captured in several forward passes; capture one of them to compose its maps"
            )
        mass = last.weights.float().mean(1, keepdim=True)
        mass = support.dense(last.support, mass, last.queries, last.height, last.width)[:, 0].flatten(2)  # B, Q, keys
        for one in reversed(earlier):
            if one._call is None:
                raise ValueError(f"layer {layer!r} ran several times, but only criss-cross attention is composed")
            mass = push(mass, one._call)
        return mass.unflatten(2, last.key_grid)


def taps(model: nn.Module) -> dict[str, Tap]:
    """The attention layers of sightline's in a model, by name (the name of the layer, not of its tap)."""
    return {name.removesuffix(".attend"): module for name, module in model.named_modules() if isinstance(module, Tap)}


@contextmanager
def capture(
    model: nn.Module, layers: str | Sequence[str] | None = None, queries: Query | Sequence[Query] | None = None
) -> Iterator[Capture]:
    """Record attention weights of the forward passes run inside the context: `with capture(model) as maps: model(images)`.

    Args:
        model: any model built from sightline's layers, or a ViT or DeiT of timm's; not compiled. Fused kernels stay in use.
        layers: names or glob patterns of layers (`attention_layers(model)` lists them); None: all.
        queries: pixels (row, column) of the model's input image, each turned into the query that covers it in every layer's
            grid; or tokens by name: "class", "distillation", "register1", ...; None: every query, prefix tokens included.

    Raises:
        ValueError: the model has no attention that can be captured or is compiled, a pattern matches no layer, a query lies
            outside the image, a layer lacks the token asked for, or works on three axes.
        RuntimeError: no captured layer ran inside the context.
    """
    maps, asked = Capture(), [queries] if _is_one(queries) else queries
    with watching(model, layers, lambda call: maps.add(_map(call, asked))):
        yield maps
    if not maps:
        raise RuntimeError(
            "capture saw no attention: run the model's forward pass inside the `with` block, not compiled"
        )


def _is_one(queries: Any) -> bool:
    return isinstance(queries, str) or (
        isinstance(queries, tuple) and len(queries) == 2 and all(isinstance(one, Integral) for one in queries)
    )


@torch.no_grad()
def _map(call: Call, queries: Any) -> AttentionMap:
    where = call.query_geometry
    if queries is None:
        flat = call.queries
    else:
        flat = torch.tensor([where.flat(query) for query in queries], device=call.output.device)
    again = isinstance(call.support, CrissCross)  # a later pass may need the weights of other queries
    return AttentionMap(
        call.layer,
        call.index,
        call.attending.op,
        call.weights(flat),
        call.support,
        flat,
        call.height,
        call.width,
        where,
        call.key_geometry,
        detached(call) if again else None,
    )
