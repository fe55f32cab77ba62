"""Made-up pictures, folders and parquet files for the tests of the data room."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def noise(seed: int, rows: int = 6, cols: int = 7) -> Image.Image:
    """A colourful picture that differs from seed to seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, cols, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def class_folders(root: Path, counts: dict[str, int], seed: int = 0, rows: int = 6, cols: int = 7) -> Path:
    """root/CLASS/N.png for every class; every picture differs."""
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            noise(hash((seed, label, number)) % 2**32, rows, cols).save(root / name / f"{number:03d}.png")
    return root


def parquet(
    path: Path,
    labels: list,
    names: list[str] | None = None,
    seed: int = 0,
    label_column: str = "label",
    images: list[bytes | None] | None = None,
) -> Path:
    """A file in the Hugging Face image layout."""
    if images is None:
        images = [encoded(noise(1000 * seed + row)) for row in range(len(labels))]
    column = pa.array([{"bytes": image, "path": f"{row}.png"} for row, image in enumerate(images)], STRUCT)
    table = pa.table({"image": column, label_column: pa.array(labels, None if labels else pa.int64())})
    features = {"image": {"_type": "Image"}, label_column: {"_type": "ClassLabel", "names": names}}
    if names is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})
