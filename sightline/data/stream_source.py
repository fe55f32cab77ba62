"""Tar shards and parquet files as a source: which there are, their splits and their index, and small ones as pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sightline.data import parquet
from sightline.data.errors import LayoutError, NoImagesError
from sightline.data.picture import TEST, TRAIN, VAL, Found, Picture
from sightline.data.shard import Entry, Shard, TarReader
from sightline.data.stream_load import Indexed, places_of
from sightline.data.table import Label, read_index
from sightline.data.tar import CLASSES, SUFFIX, index_tar, shards_below, split_of_shard


def tar_files(path: Path) -> list[Path]:
    """The tar shards that a source names: itself, or those of a folder; none for another kind of source."""
    if path.is_dir():
        return shards_below(path)
    return [path] if path.suffix.lower() == SUFFIX else []


def parquet_files(path: Path) -> list[Path]:
    """Likewise for parquet files."""
    if path.is_dir():
        return parquet.files_below(path)
    return [path] if path.suffix.lower() == parquet.SUFFIX else []


def index_tars(source: Path, files: Sequence[Path]) -> Indexed:
    """Index tar shards.

    Raises:
        NoImagesError: there is no picture in any.
        LayoutError: shards that name no split beside some that do, or none for training.
        DataError: a shard is damaged.
    """
    root = source if source.is_dir() else source.parent
    splits = _by_split(root, files, named=source.is_dir())
    shards = {
        split: [index_tar(path, path.relative_to(root).as_posix()) for path in paths] for split, paths in splits.items()
    }
    listed = root / CLASSES
    names = tuple(listed.read_text(encoding="utf-8").split("\n")) if listed.is_file() else ()
    return _indexed(root, shards, tuple(name.strip() for name in names if name.strip()))


def index_parquet(source: Path, files: Sequence[Path]) -> Indexed:
    """Index the row groups of parquet files; raises as `index_tars`."""
    root = source if source.is_dir() else source.parent
    splits = parquet.splits_of(root, files) if source.is_dir() else {TRAIN: list(files)}
    shards: dict[str, list[Shard]] = {}
    named: set[tuple[str, ...]] = set()
    for split, path in ((split, path) for split, paths in splits.items() for path in paths):
        groups, names = read_index(path)
        named.add(names or ())
        first = 0
        for group, labels in enumerate(groups):
            entries = [Entry(row, 0, label) for row, label in enumerate(labels)]
            shards.setdefault(split, []).append(
                Shard(path, path.relative_to(root).as_posix(), entries, group=group, first=first)
            )
            first += len(labels)
    if len(named) > 1:
        raise LayoutError(f"{root}: the files name their classes differently: {' | '.join(map(str, named))}")
    return _indexed(root, shards, named.pop())


def as_pictures(indexed: Indexed) -> Found:
    """Tar shards that fit into memory, read into it."""
    splits = {}
    for split, shards in indexed.splits.items():
        places, reader = places_of(indexed, split), TarReader([shard.path for shard in shards])
        fields = zip(
            places.shard.tolist(), places.place.tolist(), places.size.tolist(), places.label.tolist(), strict=True
        )
        splits[split] = [
            Picture(places.name(row), label, reader.read(shard, place, size))
            for row, (shard, place, size, label) in enumerate(fields)
        ]
    return Found(indexed.classes, splits)


def _by_split(root: Path, files: Sequence[Path], named: bool) -> dict[str, list[Path]]:
    splits: dict[str, list[Path]] = {}
    unnamed: list[Path] = []
    for path in files:
        split = split_of_shard(path, root) if named else None
        (splits.setdefault(split, []) if split else unnamed).append(path)
    if not splits:
        return {TRAIN: unnamed}
    if unnamed or TRAIN not in splits:
        listed = ", ".join(path.relative_to(root).as_posix() for path in files[:8])
        raise LayoutError(f"{root}: want train, val and test in the names of the shards, train at least; got {listed}")
    return {split: splits[split] for split in (TRAIN, VAL, TEST) if split in splits}


def _indexed(root: Path, shards: Mapping[str, list[Shard]], names: tuple[str, ...]) -> Indexed:
    for split, some in shards.items():
        if not any(shard.entries for shard in some):
            raise NoImagesError(f"{root}: no pictures in the {len(some)} shards of {split}")
    if names:
        index: dict[Label, int] = {name: label for label, name in enumerate(names)}
        return Indexed(shards, names, index | {label: label for label in range(len(names))})
    values = {entry.label for shard in shards[TRAIN] for entry in shard.entries if entry.label is not None}
    ordered = sorted(values, key=lambda value: (isinstance(value, str), value))
    return Indexed(shards, tuple(map(str, ordered)), {value: i for i, value in enumerate(ordered)})
