"""Where each net looks, as data for the page: every map scaled to its own largest weight, 8 bits a cell, deflated, in base64.

Beside the cells each map carries three numbers computed from the unrounded weights, with |w| for weight:
    largest   the largest |w|, which the colours are scaled to
    spread    2 ** H, H the entropy in bits of |w| / sum |w|: how many cells it would look at if it looked at all alike
    near      the share of sum |w| on the query's cell and the cells that touch it
Legend: P pictures, hq wq grid of queries, hk wk grid of keys.
"""

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sightline.report.arrays import Layer
from sightline.report.families import family_of
from sightline.report.load import Comparison, Run

BUDGET = 3_200_000  # characters of base64 for all maps of a page


@dataclass(frozen=True)
class EncodedLayer:
    """One layer on the page: `cells` uint8 (P, hq, wq, hk, wk), `numbers` float32 (P, hq, wq, 3), both deflated, in base64."""

    name: str
    op: str
    signed: bool
    queries: tuple[int, int]
    keys: tuple[int, int]
    cells: str
    numbers: str

    @property
    def size(self) -> int:
        """Characters on the page."""
        return len(self.cells) + len(self.numbers)


@dataclass(frozen=True)
class Net:
    """One net in the section: its layers' maps, or why it has none. `pictures` are test positions in the order of the maps."""

    model: str
    family: str
    seed: int | None
    note: str
    pictures: list[int]
    predicted: list[str]
    layers: list[EncodedLayer]
    shown: int  # the layer shown first


@dataclass(frozen=True)
class Attention:
    """The whole section: nets, the pictures that any of them has maps of, and what was left out to keep the page small."""

    nets: list[Net]
    described: dict[int, dict[str, Any]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    @property
    def any_maps(self) -> bool:
        """Whether there is anything to look at."""
        return any(net.layers for net in self.nets)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the finest grid of queries."""
        grids = [layer.queries for net in self.nets for layer in net.layers]
        return max((rows for rows, _ in grids), default=1), max((cols for _, cols in grids), default=1)


def attention(comparison: Comparison, budget: int = BUDGET) -> Attention:
    """Encode the maps of every net's first run that has some; drop layers, the largest first, until they fit the budget."""
    nets = [_net(comparison.of(model)) for model in comparison.models]
    described = {}
    for run in comparison.runs:
        for one in run.maps.described if run.maps else []:
            described.setdefault(int(one["index"]), {"name": str(one["name"]), "label": class_text(run, one["label"])})
    fitting, left_out = _fit(nets, budget)
    return Attention(fitting, described, left_out)


def class_text(run: Run, label: str | int) -> str:
    """A class as text; maps.json may hold its name or its number."""
    if isinstance(label, int):
        return run.classes[label] if label < len(run.classes) else f"class {label}"
    return str(label)


def _net(runs: Sequence[Run]) -> Net:
    run = next((run for run in runs if run.maps and run.maps.layers), None)
    family = family_of(runs[0].model)
    if run is None or run.maps is None:
        has_run = any(run.maps for run in runs)
        note = (
            "convolution: fixed window"
            if family.key == "convolution"
            else "no attention layer"
            if has_run
            else "no maps recorded"
        )
        seen = next((run for run in runs if run.maps), runs[0])
        described = seen.maps.described if seen.maps else []
        return Net(runs[0].model, family.key, None, note, *_answers(seen, described), [], 0)
    layers = [_encode(layer) for layer in run.maps.layers]
    return Net(run.model, family.key, run.seed, "", *_answers(run, run.maps.described), layers, _first(layers))


def _answers(run: Run, described: Sequence[dict[str, Any]]) -> tuple[list[int], list[str]]:
    return [int(one["index"]) for one in described], [class_text(run, one["predicted"]) for one in described]


def _first(layers: Sequence[EncodedLayer]) -> int:
    """The deepest of the layers with the finest grids."""
    fineness = [layer.queries[0] * layer.queries[1] * layer.keys[0] * layer.keys[1] for layer in layers]
    return max(range(len(layers)), key=lambda i: (fineness[i], i))


def _fit(nets: Sequence[Net], budget: int) -> tuple[list[Net], list[str]]:
    """Nets with fewer layers, and the names of those dropped. The layer shown first is never dropped."""
    kept = [list(net.layers) for net in nets]
    left_out = []
    while sum(layer.size for layers in kept for layer in layers) > budget:
        spare = [
            (layer.size, i, layer)
            for i, net in enumerate(nets)
            for layer in kept[i]
            if layer is not net.layers[net.shown]
        ]
        if not spare:
            break
        _, i, layer = max(spare, key=lambda one: one[:2])
        kept[i].remove(layer)
        left_out.append(f"{nets[i].model}: {layer.name}")
    fitting = [
        Net(
            n.model,
            n.family,
            n.seed,
            n.note,
            n.pictures,
            n.predicted,
            layers,
            layers.index(n.layers[n.shown]) if layers else 0,
        )
        for n, layers in zip(nets, kept, strict=True)
    ]
    return fitting, left_out


def _encode(layer: Layer) -> EncodedLayer:
    cells, numbers = quantise(layer.weights, layer.signed), map_numbers(layer.weights)
    _, rows, cols, key_rows, key_cols = layer.weights.shape
    return EncodedLayer(
        layer.name,
        layer.op,
        layer.signed,
        (rows, cols),
        (key_rows, key_cols),
        _packed(cells),
        _packed(numbers.astype("<f4")),
    )


def quantise(weights: np.ndarray, signed: bool) -> np.ndarray:
    """Each map over its own largest |w|, as uint8: 0 .. 255 for 0 .. 1, or 1 .. 255 for -1 .. 1 with 128 for nothing."""
    largest = np.abs(weights).max(axis=(-2, -1), keepdims=True)
    share = weights / np.where(largest > 0, largest, 1)
    return np.round(128 + 127 * share if signed else 255 * np.clip(share, 0, 1)).astype(np.uint8)


def map_numbers(weights: np.ndarray) -> np.ndarray:
    """largest, spread and near of every map: (P, hq, wq, 3). A map of zeros has spread and near 0."""
    size = np.abs(weights.astype(np.float64))
    total = size.sum(axis=(-2, -1), keepdims=True)
    share = size / np.where(total > 0, total, 1)
    entropy = -(share * np.log2(np.where(share > 0, share, 1))).sum(axis=(-2, -1))
    spread = np.where(total[..., 0, 0] > 0, 2**entropy, 0)
    _, rows, cols, key_rows, key_cols = weights.shape
    touching = _touching(rows, key_rows)[:, None, :, None] & _touching(cols, key_cols)[None, :, None, :]
    near = (share * touching).sum(axis=(-2, -1))
    return np.stack([size.max(axis=(-2, -1)), spread, near], axis=-1).astype(np.float32)


def _touching(queries: int, keys: int) -> np.ndarray:
    """(queries, keys): is that key the cell over the query's centre, or a neighbour of it?"""
    own = (2 * np.arange(queries) + 1) * keys // (2 * queries)
    return np.abs(own[:, None] - np.arange(keys)) <= 1


def _packed(array: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 9)).decode()
