"""Read the arrays of a run folder: predictions, attention maps, test pictures. A damaged file is named and stops the report.

Legend: P pictures, H W rows and columns, hq wq grid of queries, hk wk grid of keys, N test images.
"""

import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sightline.runs import RunFolder, RunFolderError

MAPS = "maps/maps.json"


@dataclass(frozen=True)
class Layer:
    """The maps of one layer: weights (P, hq, wq, hk, wk), float32; signed ones may be negative."""

    name: str
    op: str
    signed: bool
    weights: np.ndarray


@dataclass(frozen=True)
class Maps:
    """Where a net looks: for each picture its description {"index", "name", "label", "predicted"}, its pixels, its layers' maps."""

    described: list[dict[str, Any]]
    pixels: np.ndarray  # P, H, W, 3 uint8
    layers: list[Layer]
    faithfulness: dict[str, Any] = field(default_factory=dict)  # empty where an older version wrote the folder


@dataclass(frozen=True)
class Predictions:
    """What a net said of the N test images: truth and answer (N,), probability (N, classes), position in the test set (N,)."""

    label: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray
    index: np.ndarray


def need(content: dict[str, Any], key: str, path: Path) -> Any:
    """A value that a JSON file must have. Raises RunFolderError, which names the file and the key, when it has not."""
    if key not in content:
        raise RunFolderError(f'{path} has no "{key}"; it was not written by sightline or is damaged')
    return content[key]


def _arrays(path: Path, *names: str) -> dict[str, np.ndarray]:
    """The named arrays of an .npz, all when none is named; pickled content is refused."""
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as stored:
            return {name: stored[name] for name in names or stored.files}
    except FileNotFoundError:
        raise RunFolderError(f"{path} is missing; the JSON beside it describes it") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunFolderError(f"{path} is damaged: {error}") from error


def read_predictions(path: Path) -> Predictions:
    """Read predictions.npz. Raises RunFolderError when it is damaged."""
    stored = _arrays(path, "label", "predicted", "probability", "index")
    if len({len(array) for array in stored.values()}) != 1:
        raise RunFolderError(f"{path} is damaged: its arrays are of different lengths")
    probability, predicted = stored["probability"], stored["predicted"]
    if probability.ndim != 2 or ((predicted < 0) | (predicted >= probability.shape[-1])).any():
        raise RunFolderError(f"{path} is damaged: an answer has no probability; there are {probability.shape} of them")
    return Predictions(stored["label"], stored["predicted"], stored["probability"].astype(np.float32), stored["index"])


def read_maps(folder: Path) -> Maps:
    """Read maps/ of a run folder. Raises RunFolderError when a file is damaged, or the two do not fit each other."""
    about = RunFolder(folder).read(MAPS)
    described, layers = need(about, "pictures", folder / MAPS), need(about, "layers", folder / MAPS)
    path = folder / "maps" / "maps.npz"
    stored = _arrays(path, "pictures", *(f"layer{i}" for i in range(len(layers))))
    read = []
    for i, layer in enumerate(layers):
        weights = stored[f"layer{i}"]
        grids = need(layer, "query_grid", folder / MAPS), need(layer, "key_grid", folder / MAPS)
        expected = (len(described), *grids[0], *grids[1])
        if weights.shape != expected:
            raise RunFolderError(f"{path} is damaged: layer{i} has shape {weights.shape}, {MAPS} says {expected}")
        about_layer = (str(need(layer, "name", folder / MAPS)), str(layer.get("op", "")), bool(layer.get("signed")))
        read.append(Layer(*about_layer, np.nan_to_num(weights.astype(np.float32))))
    pixels = stored["pictures"]
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or len(pixels) != len(described) or pixels.shape[-1] != 3:
        raise RunFolderError(
            f"{path} is damaged: pictures must be {len(described)} x H x W x 3 uint8; got {pixels.shape}"
        )
    return Maps(described, pixels, read, about.get("faithfulness") or {})


def read_pictures(path: Path) -> dict[int, np.ndarray]:
    """Read pictures.npz: position in the test set to pixels (H, W, 3). Raises RunFolderError when it is damaged."""
    stored = _arrays(path, "index", "pictures")
    pixels = stored["pictures"]
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3 or len(pixels) != len(stored["index"]):
        raise RunFolderError(
            f"{path} is damaged: pictures must be {len(stored['index'])} x H x W x 3 uint8; got {pixels.shape}"
        )
    return {int(index): one for index, one in zip(stored["index"], pixels, strict=True)}
