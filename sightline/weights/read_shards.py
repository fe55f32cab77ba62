"""Weights cut into several files beside an index, as transformers and accelerate write large nets.

model.safetensors.index.json    {"weight_map": {tensor: file, ...}, "metadata": {...}}
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from torch import Tensor

from sightline.weights.errors import WeightsError

ENDING = ".index.json"
LARGEST = 64 << 20  # bytes of an index; that of a net with a million tensors is smaller


def read_shards(index: Path, read: Callable[[Path], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors that an index lists, from the files beside it, each read by `read`.

    Raises:
        WeightsError: the index is damaged or names files elsewhere, a file or a tensor is missing, or a file holds one that the
            index does not give it.
    """
    placed = _placed(index)
    tensors: dict[str, Tensor] = {}
    for name in sorted(set(placed.values())):
        held = read(index.parent / name)
        listed = {tensor for tensor, file in placed.items() if file == name}
        if held.keys() != listed:
            raise WeightsError(f"{index} does not fit {name}: {_differ(listed, held)}. Get all files of one version")
        tensors |= held
    return tensors


def _placed(index: Path) -> dict[str, str]:
    if index.stat().st_size > LARGEST:
        raise WeightsError(f"{index} has {index.stat().st_size:,} bytes; an index has at most {LARGEST:,}")
    try:
        placed = json.loads(index.read_bytes())["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{index} is no index of weights: {error!r}") from error
    if not isinstance(placed, dict) or not all(isinstance(file, str) for file in placed.values()):
        raise WeightsError(f"{index} is no index of weights: its weight_map must give every tensor a file name")
    for file in set(placed.values()):
        if Path(file).name != file or "\\" in file or file in ("", ".", "..") or file.endswith(ENDING):
            raise WeightsError(f"{index} names {file!r}; the files of an index lie beside it")
    return placed


def _differ(listed: set[str], held: Iterable[str]) -> str:
    missing, strange = sorted(listed - set(held)), sorted(set(held) - listed)
    parts = [f"it lacks {', '.join(missing[:3])}"] if missing else []
    return " and ".join(parts + ([f"it also holds {', '.join(strange[:3])}"] if strange else []))
