"""Maps as bytes: what the page fetches once, to answer every move of the pointer by itself; and as files to keep.

A packed answer, little-endian:
    uint32    length of the header, a multiple of 4
    JSON      the header, padded with blanks
    float32   numbers (G, Q, 4)
    int32     targets (Q, S), where the header says so
    uint8     cells (G, Q, S)
A cell is its weight in shares of the largest |weight| of its map: 0 .. 255; where weights are signed, 128 is zero and 1 .. 255
stand for -largest .. +largest. Numbers are computed before the weights are rounded.
"""

import io
import json
from typing import Any

import numpy as np

from sightline.explain import Geometry
from sightline.web.maps import Look

NUMBERS = ["largest", "entropy in bits", "distance in pixels of the input", "share on tokens"]


def pack(look: Look, most: int) -> bytes:
    """The packed answer; where all groups would be more than `most` bytes of cells, the first alone."""
    if look.weights.size > most and len(look.groups) > 1:
        look = look.group(look.groups[0])
    text = json.dumps(_header(look), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    parts = [np.uint32(len(text)).tobytes(), text, look.numbers.astype("<f4").tobytes()]
    if look.targets is not None:
        parts.append(look.targets.astype("<i4").tobytes())
    return b"".join([*parts, _cells(look).tobytes()])


def _header(look: Look) -> dict[str, Any]:
    return {
        "groups": list(look.groups),
        "all_groups": list(look.all_groups),
        "complete": len(look.groups) == len(look.all_groups),
        "tokens": look.queries.prefix,
        "on_tokens": look.keys.prefix,
        "query_grid": [look.queries.rows, look.queries.cols],
        "query_reach": _reach(look.queries),
        "key_grid": [look.keys.rows, look.keys.cols],
        "key_reach": _reach(look.keys),
        "sparse": look.targets is not None,
        "signed": look.signed,
        "by_position": look.by_position,
        "unit": look.unit,
        "shares": bool(not look.signed and (look.numbers[..., 0] <= 1.001).all()),
        "shape": list(look.weights.shape),
    }


def _reach(grid: Geometry) -> list[float]:
    """How far a grid reaches from the top and the left, in shares of the net's input; above 1 where its last cells stick out."""
    sides = zip((grid.rows, grid.cols), grid.stride, grid.size, strict=True)
    return [cells * stride / size for cells, stride, size in sides]


def _cells(look: Look) -> np.ndarray:
    largest = look.numbers[..., :1]
    shares = np.divide(look.weights, largest, out=np.zeros_like(look.weights), where=largest > 0)
    shares = shares.clip(-1, 1)
    return np.rint(128 + 127 * shares if look.signed else 255 * shares).astype(np.uint8)


def archive(looks: list[tuple[dict[str, Any], Look]]) -> bytes:
    """Maps of several nets as one .npz: for each net NAME/weights, NAME/numbers, NAME/targets; what they are in "about" (JSON)."""
    about = {one["net"]: one | grids(look) for one, look in looks}
    arrays: dict[str, np.ndarray] = {"about": np.array(json.dumps(about))}
    for one, look in looks:
        arrays[f"{one['net']}/weights"] = look.weights
        arrays[f"{one['net']}/numbers"] = look.numbers
        if look.targets is not None:
            arrays[f"{one['net']}/targets"] = look.targets
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def written_out(looks: list[tuple[dict[str, Any], Look]]) -> bytes:
    """The map of one query and one group of each look, over the grid of keys, as JSON."""
    return json.dumps(
        {"looks": [one | _one_map(look, one["query"]) for one, look in looks]}, indent=1, allow_nan=False
    ).encode()


def grids(look: Look) -> dict[str, Any]:
    """What the axes of a look are, as JSON."""
    return {
        "groups": list(look.groups),
        "tokens": list(look.queries.tokens) if look.by_position else [],
        "query_grid": [look.queries.rows, look.queries.cols],
        "key_grid": [look.keys.rows, look.keys.cols],
        "unit": look.unit,
        "numbers": NUMBERS,
    }


def _one_map(look: Look, query: int | None) -> dict[str, Any]:
    which = min(max(query or 0, 0), look.weights.shape[1] - 1)
    weights, size = look.weights[0, which], look.keys.rows * look.keys.cols
    if look.targets is not None:
        dense = np.zeros(size, dtype=np.float32)
        there = look.targets[which] >= 0
        np.add.at(dense, look.targets[which][there], weights[there])
        weights = dense
    numbers = [float(value) if np.isfinite(value) else None for value in look.numbers[0, which]]
    rows = weights.reshape(look.keys.rows, look.keys.cols).tolist()
    return grids(look) | {"numbers": dict(zip(NUMBERS, numbers, strict=True)), "map": rows}
