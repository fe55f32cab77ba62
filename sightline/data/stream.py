"""Pictures of shards: a set of which labels and places are in memory and pictures on the disk, read as they come.

Ours: a training picture that can not be decoded is replaced by the next readable one of its class and noted, and training stops
      when more are unreadable than allowed; so batches keep their size and labels, and a resumed run sees the same.
Legend: N pictures, B of a batch, H W rows and columns.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from sightline.data.errors import TooManyUnreadableError, UnreadableImage
from sightline.data.picture import Picture, Unreadable
from sightline.data.quiet import quiet_pillow
from sightline.data.reading import read_each, useful_threads
from sightline.data.shard import Reader
from sightline.data.stream_order import stream_order

_log = logging.getLogger("sightline.data")
_MISSING = b""  # a row without bytes reads as an empty picture, which says so


@dataclass(frozen=True)
class Places:
    """Where pictures lie, shard after shard. All arrays have one entry a picture.

    Args:
        shard: its number, rising.
        number: which picture of its file it is.
        place, size: what the reader takes.
        label: index of its class.
        files: name of the file of each shard.
    """

    shard: np.ndarray
    number: np.ndarray
    place: np.ndarray
    size: np.ndarray
    label: np.ndarray
    files: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.shard)

    def take(self, rows: np.ndarray) -> "Places":
        """Some of them, in rising order."""
        return Places(
            self.shard[rows], self.number[rows], self.place[rows], self.size[rows], self.label[rows], self.files
        )

    def name(self, row: int) -> str:
        """What a picture is called: "train-0003.tar#17"."""
        return f"{self.files[self.shard[row]]}#{self.number[row]}"


class Names(Sequence[str]):
    """The names of all pictures, each made when it is asked for."""

    def __init__(self, places: Places) -> None:
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, row):  # type: ignore[override]
        return [self[i] for i in range(*row.indices(len(self)))] if isinstance(row, slice) else self.places.name(row)

    def __iter__(self) -> Iterator[str]:
        return map(self.places.name, range(len(self)))


class StreamSet:
    """Pictures read and decoded for every batch, from shards that are read nearly in sequence.

    Args:
        places: where they lie.
        reader: fetches their bytes.
        classes: class names, by label.
        size: rows and columns of a batch.
        max_pixels: see `open_image`.
        unreadable: share of pictures that may turn out unreadable and be replaced; None: none is replaced.
    """

    def __init__(
        self,
        places: Places,
        reader: Reader,
        classes: Sequence[str],
        size: tuple[int, int],
        max_pixels: int,
        unreadable: float | None = None,
    ) -> None:
        self.places, self.reader, self.classes = places, reader, tuple(classes)
        self.size, self.max_pixels, self.allowed = size, max_pixels, unreadable
        self.labels = torch.from_numpy(places.label.astype(np.int64))
        self.unreadable: dict[int, str] = {}
        self._lock = Lock()

    @property
    def names(self) -> Sequence[str]:
        """Where each picture comes from."""
        return Names(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def order(self, seed: int, epoch: int, batch_size: int = 1, lanes: int = 1) -> Tensor:
        """The order of an epoch, see `stream_order`."""
        counts = np.bincount(self.places.shard, minlength=len(self.places.files))
        return stream_order(counts[counts > 0].tolist(), seed, epoch, batch_size, lanes)

    def pictures(self, rows: Sequence[int]) -> list[Picture]:
        """The encoded pictures of some rows."""
        places = self.places
        contents = [self.reader.read(int(places.shard[r]), int(places.place[r]), int(places.size[r])) for r in rows]
        named = zip(rows, contents, strict=True)
        return [Picture(places.name(r), int(places.label[r]), content or _MISSING) for r, content in named]

    def batch(self, indices: Tensor) -> Tensor:
        """The pictures at indices (B,): uint8 (B, 3, H, W), RGB.

        Raises:
            DataError: a shard is not any more what it was.
            UnreadableImage: a picture can not be decoded, and none is to be replaced.
            TooManyUnreadableError: more can not be decoded than are allowed.
        """
        images = torch.empty(len(indices), 3, *self.size, dtype=torch.uint8)
        rows = [self._standing_in(row) for row in indices.tolist()]
        for place, image in enumerate(self.decode(rows)):
            while isinstance(image, Unreadable):
                self._note(rows[place], image)
                rows[place] = self._standing_in(rows[place])
                (image,) = self.decode([rows[place]])
            images[place] = image
        return images

    def decode(self, rows: Sequence[int], size: tuple[int, int] | None = None) -> list[Tensor | Unreadable]:
        """Every picture as uint8 (3, H, W), or what is wrong with it."""
        pictures = self.pictures(rows)
        with quiet_pillow():
            return list(read_each(pictures, size or self.size, self.max_pixels, useful_threads(pictures)))

    def _standing_in(self, row: int) -> int:
        """The picture itself, or, when it is known to be unreadable, the next of its class that is not."""
        if row not in self.unreadable:
            return row
        same = np.flatnonzero(self.places.label == self.places.label[row])
        after = np.concatenate((same[same > row], same[same < row]))
        found = next((int(other) for other in after if int(other) not in self.unreadable), None)
        if found is None:
            raise TooManyUnreadableError(f"no picture of class {self.classes[int(self.labels[row])]!r} can be read")
        return found

    def _note(self, row: int, image: Unreadable) -> None:
        if self.allowed is None:
            raise UnreadableImage(image.name, image.reason)
        with self._lock:
            if row in self.unreadable:
                return
            self.unreadable[row] = image.reason
            count, total = len(self.unreadable), len(self)
        _log.warning("%s: %s; the next of its class stands in", image.name, image.reason)
        if count > self.allowed * total:
            raise TooManyUnreadableError(
                f"{count} of {total} training pictures can not be read, more than max_unreadable = {self.allowed:.1%}; "
                f"the latest: {image.name}: {image.reason}. Repair the shards, or allow it with a larger max_unreadable"
            )
