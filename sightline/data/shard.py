"""A shard: a file, or a part of one, whose pictures are read together. Its index says where they lie; readers fetch their bytes."""

import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from sightline.data.errors import DataError
from sightline.data.table import Label, read_row_group

K = TypeVar("K")
V = TypeVar("V")


class Entry(NamedTuple):
    """One picture of a shard: where it begins, its bytes (both in a tar; the row alone in a row group), and its label as stored."""

    place: int
    size: int
    label: Label | None


@dataclass(frozen=True)
class Shard:
    """Pictures that lie together.

    Args:
        path: the file.
        name: of the file, within the source.
        entries: its pictures, in their order.
        group: row group of a parquet file; None: a tar.
        first: number of its first picture within the file.
    """

    path: Path
    name: str
    entries: list[Entry]
    group: int | None = None
    first: int = 0


class Reader(Protocol):
    """Fetches pictures of shards; used by several threads at a time."""

    def read(self, shard: int, place: int, size: int) -> bytes | None: ...


class TarReader:
    """Pictures of tar shards, each read where it lies. A shard that is begun is announced to the system, which reads it ahead.

    Args:
        paths: of the shards, by number.
    """

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self._announced: Recent[int, bool] = Recent(64, self._announce)

    def read(self, shard: int, place: int, size: int) -> bytes:
        """The bytes of a picture.

        Raises:
            DataError: the shard is gone or shorter than it was.
        """
        self._announced.get(shard)
        try:
            with self.paths[shard].open("rb", buffering=0) as file:
                content, whole = os.pread(file.fileno(), size, place), os.fstat(file.fileno()).st_size
        except OSError as error:
            raise changed(self.paths[shard], error.strerror or str(error)) from error
        if len(content) < size:
            raise changed(self.paths[shard], f"it ends after {whole} bytes, before the end of a picture")
        return content

    def _announce(self, shard: int) -> bool:
        with suppress(OSError, AttributeError), self.paths[shard].open("rb") as file:  # not every system can be told
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)
        return True


class RowGroupReader:
    """Pictures of parquet row groups; what is wanted of the latest groups stays in memory, encoded.

    Args:
        groups: path and number of the row group, by number of the shard.
        wanted: rows of each group that will be asked for, rising.
        kept: how many groups stay.
    """

    def __init__(self, groups: list[tuple[Path, int]], wanted: list[np.ndarray], kept: int) -> None:
        self.groups, self.wanted = groups, wanted
        self._columns: Recent[int, pa.Array] = Recent(kept, self._load)

    def read(self, shard: int, place: int, size: int) -> bytes | None:
        """The bytes of a picture; None where the row has none. Raises DataError when the file can not be read any more."""
        return self._columns.get(shard)[int(np.searchsorted(self.wanted[shard], place))].as_py()

    def _load(self, shard: int) -> pa.Array:
        path, group = self.groups[shard]
        try:
            return read_row_group(path, group).take(pa.array(self.wanted[shard]))
        except (pa.ArrowException, OSError) as error:
            raise changed(path, str(error)) from error


class Recent(Generic[K, V]):
    """The latest values of a function, one call at a time."""

    def __init__(self, kept: int, function: Callable[[K], V]) -> None:
        self.kept, self.function = kept, function
        self._values: OrderedDict[K, V] = OrderedDict()
        self._lock = Lock()

    def get(self, key: K) -> V:
        """The value at key."""
        with self._lock:
            if key not in self._values:
                self._values[key] = self.function(key)
                if len(self._values) > self.kept:
                    self._values.popitem(last=False)
            self._values.move_to_end(key)
            return self._values[key]


def changed(path: Path, reason: str) -> DataError:
    """What to say of a shard that is not any more what it was when it was indexed."""
    return DataError(
        f"{path}: {reason}; it could be read when the data were loaded. Put it back as it was and resume the run from its last "
        "checkpoint"
    )
