"""One parquet file: which column holds the pictures, which the labels, and what the classes are called.

The schema metadata of Hugging Face (key "huggingface": info.features) says it where it is there; otherwise the column types do.

Ours: of several columns that may hold pictures, and none marked, the first of IMAGE_COLUMNS, else the first.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sightline.data.errors import DataError, LayoutError

IMAGE_COLUMNS = ("image", "img", "picture", "photo", "jpg", "png", "webp")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "target", "category", "coarse_label")


Label = int | str
"""A label as it is stored."""


@dataclass(frozen=True)
class Table:
    """The rows of one file: encoded pictures (None where a row has none), labels as stored, class names if the file tells."""

    images: list[bytes | None]
    labels: list[Label | None]
    class_names: tuple[str, ...] | None


def read_table(path: Path) -> Table:
    """Read one file.

    Raises:
        DataError: the file is not parquet, or damaged.
        LayoutError: it has no column of pictures or none of labels.
    """
    try:
        schema = pq.read_schema(path)
        features = _features(schema)
        image, label = _image_column(path, schema, features), _label_column(path, schema, features)
        rows = pq.read_table(path, columns=[image, label], partitioning=None)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a parquet file, or a damaged one: {error}") from error
    names = features.get(label, {}).get("names")
    return Table(_encoded(rows[image]), rows[label].to_pylist(), tuple(names) if names else None)


def read_index(path: Path) -> tuple[list[list[Label | None]], tuple[str, ...] | None]:
    """Labels of every row group as stored, and class names if the file tells; pictures are not read.

    Raises:
        DataError: the file is not parquet, or damaged.
        LayoutError: it has no column of pictures or none of labels.
    """
    try:
        file = pq.ParquetFile(path)
        features = _features(file.schema_arrow)
        _image_column(path, file.schema_arrow, features)
        label = _label_column(path, file.schema_arrow, features)
        groups = range(file.metadata.num_row_groups)
        labels = [file.read_row_group(group, columns=[label])[label].to_pylist() for group in groups]
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a parquet file, or a damaged one: {error}") from error
    names = features.get(label, {}).get("names")
    return labels, tuple(names) if names else None


def read_row_group(path: Path, group: int) -> pa.Array:
    """The encoded pictures of a row group, as one array of bytes, null where a row has none."""
    file = pq.ParquetFile(path)
    image = _image_column(path, file.schema_arrow, _features(file.schema_arrow))
    column = file.read_row_group(group, columns=[image])[image].combine_chunks()
    whole = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    encoded = whole.field("bytes") if pa.types.is_struct(whole.type) else whole
    return encoded.cast(pa.large_binary()) if pa.types.is_binary_view(encoded.type) else encoded  # views have no `take`


def _encoded(column: pa.ChunkedArray) -> list[bytes | None]:
    chunks: Iterable[pa.Array] = column.chunks
    if pa.types.is_struct(column.type):
        chunks = (chunk.field("bytes") for chunk in column.chunks)
    return [value for chunk in chunks for value in chunk.to_pylist()]


def _features(schema: pa.Schema) -> Mapping[str, Any]:
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):  # none, or somebody else's metadata under that key
        return {}


def _image_column(path: Path, schema: pa.Schema, features: Mapping[str, Any]) -> str:
    able = [field.name for field in schema if _holds_bytes(field.type)]
    marked = [name for name in able if features.get(name, {}).get("_type") == "Image"]
    usual = [name for name in IMAGE_COLUMNS if name in able]
    if not able:
        raise LayoutError(
            f"{path}: no column of pictures (struct with bytes, or binary); its columns: {_listed(schema)}"
        )
    return (marked or usual or able)[0]


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and _holds_bytes(kind.field(place).type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _label_column(path: Path, schema: pa.Schema, features: Mapping[str, Any]) -> str:
    usual = [name for name in LABEL_COLUMNS if name in schema.names]
    marked = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
    for name in (*usual, *marked):
        if _holds_labels(schema.field(name).type):
            return name
    raise LayoutError(
        f"{path}: no column of labels (integers or strings, called {', '.join(LABEL_COLUMNS)} or marked as ClassLabel); "
        f"its columns: {_listed(schema)}"
    )


def _holds_labels(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):  # a category of pandas or polars
        return _holds_labels(kind.value_type)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return text or pa.types.is_integer(kind)


def _listed(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)
