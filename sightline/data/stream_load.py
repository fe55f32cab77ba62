"""From shards too large for memory to three sets: index, split, limit, look at a sample. Pictures stay on the disk.

Names, classes, splits and fingerprint are those of the same shards in memory; what needs all bytes at once is not done: identical
pictures are not looked for.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from sightline.data.errors import NoImagesError, TooFewImagesError, UnknownLabelError
from sightline.data.fit import common_size
from sightline.data.imageset import CHECK_SIZE, Tick
from sightline.data.picture import TRAIN, Unreadable
from sightline.data.shard import Reader, RowGroupReader, Shard, TarReader
from sightline.data.stream import Places, StreamSet
from sightline.data.stream_order import BUFFER
from sightline.data.table import Label

_CHUNK = 256
_SAMPLED_SHARDS, _SAMPLED_PICTURES = 32, 64


@dataclass(frozen=True)
class Indexed:
    """Shards that have been indexed.

    Attributes:
        splits: the shards of every split; "train" is always there.
        classes: names, in the order of the labels.
        index: class of each label as stored.
    """

    splits: Mapping[str, list[Shard]]
    classes: tuple[str, ...]
    index: Mapping[Label, int]

    @property
    def bytes(self) -> int:
        """Size of their files."""
        return sum(path.stat().st_size for path in {shard.path for shards in self.splits.values() for shard in shards})


def places_of(indexed: Indexed, split: str) -> Places:
    """Where the pictures of a split lie.

    Raises:
        UnknownLabelError: a label names none of the classes.
    """
    shards = indexed.splits[split]
    entries = [
        (number, place, entry) for number, shard in enumerate(shards) for place, entry in enumerate(shard.entries)
    ]
    for number, place, entry in entries:
        if entry.label not in indexed.index:
            shard = shards[number]
            raise UnknownLabelError(
                f"{shard.name}: picture {shard.first + place} has the label {entry.label!r}, which names none of the "
                f"{len(indexed.classes)} classes; correct or remove it"
            )
    return Places(
        np.array([number for number, _, _ in entries], np.int32),
        np.array([shards[number].first + place for number, place, _ in entries], np.int64),
        np.array([entry.place for _, _, entry in entries], np.int64),
        np.array([entry.size for _, _, entry in entries], np.int64),
        np.array([indexed.index[entry.label] for _, _, entry in entries if entry.label is not None], np.int32),
        tuple(shard.name for shard in shards),
    )


def split_places(indexed: Indexed, shares: Mapping[str, float], seed: int) -> dict[str, tuple[Places, Sequence[Shard]]]:
    """All three splits, those given and those cut off the training pictures, and the shards that they lie in."""
    given: dict[str, tuple[Places, Sequence[Shard]]] = {
        split: (places_of(indexed, split), shards) for split, shards in indexed.splits.items()
    }
    missing = {split: share for split, share in shares.items() if split not in given}
    if not missing:
        return given
    places, shards = given[TRAIN]
    return given | {
        split: (places.take(rows), shards) for split, rows in cut(places, missing, seed, indexed.classes).items()
    }


def reader_of(shards: Sequence[Shard], places: Places) -> Reader:
    """What fetches pictures at these places. Of row groups it keeps as many as an epoch is shuffled over."""
    if all(shard.group is None for shard in shards):
        return TarReader([shard.path for shard in shards])
    ends = np.searchsorted(places.shard, np.arange(1, len(shards)))
    wanted = np.split(places.place, ends)
    filled = sum(len(rows) > 0 for rows in wanted)
    kept = 2 + -(-BUFFER * filled // max(1, len(places)))
    return RowGroupReader([(shard.path, shard.group or 0) for shard in shards], wanted, kept)


def cut(places: Places, shares: Mapping[str, float], seed: int, classes: Sequence[str]) -> dict[str, np.ndarray]:
    """Rows of each split in shares, cut off every class by seed and name, and of "train", the rest.

    Raises:
        TooFewImagesError: a class has too few pictures to have one in each split.
    """
    keys = _keys(places, seed)
    chosen: dict[str, list[np.ndarray]] = {split: [] for split in (TRAIN, *shares)}
    for label in np.unique(places.label):
        rows = np.flatnonzero(places.label == label)
        rows, start = rows[np.argsort(keys[rows], kind="stable")], 0
        for split, share in shares.items():
            count = max(1, round(share * len(rows)))
            if start + count >= len(rows):
                raise TooFewImagesError(
                    f"class {classes[label]!r} has {len(rows)} pictures, too few to have some in {', '.join(chosen)}; add "
                    "pictures, or make the split yourself with shards called train*, val* and test*"
                )
            chosen[split].append(rows[start : start + count])
            start += count
        chosen[TRAIN].append(rows[start:])
    return {split: np.sort(np.concatenate(parts)) for split, parts in chosen.items()}


def limit(places: Places, count: int | None, seed: int) -> Places:
    """At most `count` pictures with the classes' proportions kept; a smaller limit takes a subset of a larger one's."""
    if count is None or count >= len(places):
        return places
    keys, turn = _keys(places, seed), np.empty(len(places))
    for label in np.unique(places.label):
        rows = np.flatnonzero(places.label == label)
        turn[rows[np.argsort(keys[rows], kind="stable")]] = np.arange(len(rows)) / len(rows)
    return places.take(np.sort(np.lexsort((keys, turn))[:count]))


def _keys(places: Places, seed: int) -> np.ndarray:
    """A number for every picture that orders those of a class, from seed and name alone."""
    digests = (hashlib.sha256(f"{seed}/{places.name(row)}".encode()).digest() for row in range(len(places)))
    return np.array([digest[:16] for digest in digests], "S16") if len(places) else np.array([], "S16")


def sample(images: StreamSet) -> list[int]:
    """Rows to look at: runs from shards spaced evenly, so that few shards are read."""
    present = np.unique(images.places.shard)
    step = max(1, len(present) // _SAMPLED_SHARDS)
    runs = (np.flatnonzero(images.places.shard == shard)[:_SAMPLED_PICTURES] for shard in present[::step])
    return np.concatenate(list(runs)).tolist()


def size_of(images: StreamSet) -> tuple[int, int]:
    """The size to use when none is asked for, see `common_size`."""
    return common_size(images.pictures(sample(images)))


def readable(images: StreamSet, tick: Tick) -> tuple[StreamSet, list[Unreadable]]:
    """Try every picture of a set that is evaluated; leave out and return those that can not be read."""
    kept: list[int] = []
    left_out: list[Unreadable] = []
    for rows in torch.arange(len(images)).split(_CHUNK):
        for row, image in zip(rows.tolist(), images.decode(rows.tolist(), CHECK_SIZE), strict=True):
            tick()
            if isinstance(image, Unreadable):
                left_out.append(image)
            else:
                kept.append(row)
    if not kept:
        first = left_out[0]
        raise NoImagesError(f"none of {len(images)} pictures can be read; the first: {first.name}: {first.reason}")
    places = images.places.take(np.array(kept))
    return StreamSet(places, images.reader, images.classes, images.size, images.max_pixels), left_out
