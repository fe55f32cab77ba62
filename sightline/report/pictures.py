"""Test pictures on the page: each is embedded once as a PNG and shown wherever it is needed; and the file that keeps them.

`pictures.npz` of a comparison or run folder: "index" (M,) int64 positions in the test set, "pictures" (M, H, W, 3) uint8.
"""

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from sightline.report.examples import all_examples
from sightline.report.load import COMPARISON, PICTURES, find_runs, read_comparison, read_runs
from sightline.runs import atomic_write

LONGEST_SIDE = 96  # larger pictures are reduced; the page shows none larger than 22 rem


@dataclass(frozen=True)
class Picture:
    """A picture of the page: its position in the test set, its data URI, its rows and columns as embedded."""

    index: int
    uri: str
    height: int
    width: int


def embed(index: int, pixels: np.ndarray) -> Picture:
    """The picture (H, W, 3) uint8 of a test position, reduced to LONGEST_SIDE."""
    image = Image.fromarray(pixels)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    return Picture(index, png(np.asarray(image)), image.height, image.width)


def png(pixels: np.ndarray) -> str:
    """Pixels (H, W, 3 or 4) uint8 as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def wanted_pictures(folder: str | os.PathLike[str]) -> list[int]:
    """Positions of the test pictures the report of a comparison or run folder would show as examples, in rising order.

    Raises:
        RunFolderError: a file of the folder is damaged.
        ValueError: the folder holds no run.
    """
    folder = Path(folder)
    comparison = read_comparison(folder) if (folder / COMPARISON).is_file() else read_runs(find_runs(folder))
    return sorted(all_examples(comparison, None).indices)


def save_pictures(folder: str | os.PathLike[str], index: Sequence[int], pictures: np.ndarray) -> Path:
    """Write pictures.npz into a comparison or run folder and return its path.

    Args:
        folder: where the report will be made.
        index: M positions in the test set.
        pictures: their pixels, (M, H, W, 3) uint8.

    Raises:
        ValueError: the shapes or the dtype are others.
    """
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3 or len(pictures) != len(index):
        raise ValueError(f"pictures must be ({len(index)}, H, W, 3) uint8; got {pictures.shape} {pictures.dtype}")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, index=np.asarray(index, dtype=np.int64), pictures=pictures)
    path = Path(folder) / PICTURES
    atomic_write(path, buffer.getvalue())
    return path
