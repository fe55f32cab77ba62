"""From the name of a source to three sets of pictures: find, check, split, limit, decode, describe.

Splits that the source gives are used as they are; a missing val or test is cut off the training pictures, stratified, by seed
and picture name. A picture that stands in two given splits, byte for byte, is an error; where the split is made here, identical
pictures stay together.
Ours: `max_unreadable` counts over all splits together, after the limits.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sightline.data import digits, folder, parquet
from sightline.data.decode import MAX_PIXELS
from sightline.data.describe import fingerprint, mean_and_std
from sightline.data.duplicates import check_disjoint
from sightline.data.errors import (
    ClassMismatchError,
    EmptyClassError,
    LayoutError,
    NoImagesError,
    SingleClassError,
    SourceNotFoundError,
    TooManyUnreadableError,
)
from sightline.data.fit import DEFAULT_SIZE, as_size, common_size
from sightline.data.imageset import ImageSet, Tick, load_into_memory, load_on_demand
from sightline.data.picture import TEST, TRAIN, VAL, Found, Picture, Unreadable
from sightline.data.split import split_pictures, take
from sightline.data.stream import StreamSet
from sightline.data.stream_load import Indexed, limit, readable, reader_of, size_of, split_places
from sightline.data.stream_source import as_pictures, index_parquet, index_tars, parquet_files, tar_files

MEMORY_LIMIT = 2 * 2**30
"""Bytes of decoded pictures, all splits together, up to which they are kept in memory."""
Progress = Callable[[int, int], None]
"""Called with the number of pictures read so far and in total."""
_SHOWN = 5
_PROGRESS_STEP = 50


@dataclass(frozen=True)
class Splits:
    """Three sets of pictures, ready for training.

    Attributes:
        train, val, test: the sets.
        classes: class names, by label.
        source: what they were loaded from, as it was given.
        image_size: rows and columns.
        mean, std: of the training pictures, per channel, in 0 .. 1, rounded to 4 digits.
        unreadable: pictures that were left out, and why.
        fingerprint: SHA-256 over names, labels and split: equal for the same data in the same split.
        given: the splits that the source itself has; the others were cut off its pictures here.
    """

    train: ImageSet
    val: ImageSet
    test: ImageSet
    classes: tuple[str, ...]
    source: str
    image_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    unreadable: tuple[Unreadable, ...]
    fingerprint: str
    given: tuple[str, ...] = ()


def load_splits(
    source: str | Path,
    *,
    image_size: int | tuple[int, int] | None = None,
    seed: int = 0,
    val_fraction: float = 0.1,
    test_fraction: float = 0.2,
    train_limit: int | None = None,
    test_limit: int | None = None,
    max_unreadable: float = 0.01,
    max_pixels: int = MAX_PIXELS,
    memory_limit: int = MEMORY_LIMIT,
    progress: Progress | None = None,
) -> Splits:
    """Load training, validation and test pictures.

    Args:
        source: "digits"; a folder with one folder a class, below train, val and test folders or not; a .parquet file or .tar shard;
            or a folder of them. A folder called "digits" is reached as "./digits".
        image_size: one side, or rows and columns; None: the pictures' own size if they share one of at most 64, else 64 x 64.
        seed: of the split that is made here and of the limits; "digits" has a fixed split.
        val_fraction: share of each class that becomes val where the source has none: of the pictures that are split, so of all
            where test is cut off too.
        test_fraction: share of each class that becomes test where the source has none.
        train_limit: at most so many training pictures, with the classes' proportions kept; chosen before anything is decoded.
        test_limit: likewise for test, and for val.
        max_unreadable: share of pictures that may be unreadable before loading stops; 1.0: never.
        max_pixels: a picture of more pixels is refused (a decompression bomb) and counts as unreadable.
        memory_limit: decoded bytes up to which pictures are decoded once; beyond, anew for every batch. Shards and parquet files
            of more bytes than this are streamed from the disk.
        progress: called with (pictures read, pictures in total), every 50 pictures and after the last.

    Raises:
        SourceNotFoundError, LayoutError, NoImagesError, SingleClassError, EmptyClassError, ClassMismatchError,
        UnknownLabelError, TooFewImagesError, OverlappingSplitsError, TooManyUnreadableError: all of them `DataError`.
        ValueError: an argument is out of range.
    """
    _check_share(max_unreadable)
    size = None if image_size is None else as_size(image_size)
    indexed = _index(source, memory_limit)
    if indexed is not None and indexed.bytes > memory_limit:
        shares, limits = (
            {VAL: val_fraction, TEST: test_fraction},
            {TRAIN: train_limit, VAL: test_limit, TEST: test_limit},
        )
        return _stream(str(source), indexed, size, shares, limits, seed, max_unreadable, max_pixels, progress)
    found = as_pictures(indexed) if indexed is not None else _find(source)
    _check_classes(source, found)
    splits = _complete(found, {VAL: val_fraction, TEST: test_fraction}, seed)
    limits = {TRAIN: train_limit, VAL: test_limit, TEST: test_limit}
    splits = {split: take(splits[split], limits[split], seed, found.classes) for split in limits}
    size = size or common_size(splits[TRAIN])
    sets, undecodable = _decode(splits, found.classes, size, max_pixels, memory_limit, progress)
    unreadable = (*found.left_out, *undecodable)
    _check_unreadable(unreadable, len(found.left_out) + sum(map(len, splits.values())), max_unreadable)
    _check_sets(sets, found.classes)
    mean, std = mean_and_std(sets[TRAIN])
    return Splits(
        **sets,
        classes=found.classes,
        source=str(source),
        image_size=size,
        mean=mean,
        std=std,
        unreadable=unreadable,
        fingerprint=fingerprint(found.classes, sets),
        given=tuple(found.splits),
    )


def load_whole(
    source: str | Path,
    classes: Sequence[str],
    *,
    image_size: int | tuple[int, int] | None = None,
    max_unreadable: float = 0.01,
    max_pixels: int = MAX_PIXELS,
    memory_limit: int = MEMORY_LIMIT,
    left_out: Callable[[tuple[Unreadable, ...]], None] | None = None,
) -> ImageSet:
    """All pictures of a source as one set, to evaluate a net on: as few as one, of all classes or of some.

    Args:
        source: as for `load_splits`; what is beyond memory is decoded anew for every batch.
        classes: those of the net, in its order; the source's are found among them by name.
        image_size, max_unreadable, max_pixels, memory_limit: as for `load_splits`.
        left_out: called once with the pictures that are not in the set, and why; maybe with none.

    Raises:
        SourceNotFoundError, LayoutError, NoImagesError, UnknownLabelError, ClassMismatchError, TooManyUnreadableError: all of
            them `DataError`.
        ValueError: an argument is out of range.
    """
    _check_share(max_unreadable)
    indexed = _index(source, memory_limit)
    found = as_pictures(indexed) if indexed is not None else _find(source)
    if strange := [name for name in found.classes if name not in classes]:
        raise ClassMismatchError(
            f"{source}: the net knows no {', '.join(map(repr, strange[:_SHOWN]))}; it knows {', '.join(classes)}. Rename what is "
            "meant, or remove it"
        )
    places = {label: list(classes).index(name) for label, name in enumerate(found.classes)}
    pictures = [replace(one, label=places[one.label]) for split in found.splits.values() for one in split]
    if not pictures:
        raise NoImagesError(f"{source}: no pictures")
    size = common_size(pictures) if image_size is None else as_size(image_size)
    sets, undecodable = _decode({TEST: pictures}, classes, size, max_pixels, memory_limit, None)
    unreadable = (*found.left_out, *undecodable)
    _check_unreadable(unreadable, len(found.left_out) + len(pictures), max_unreadable)
    if not len(sets[TEST]):
        raise NoImagesError(f"{source}: none of the pictures can be read")
    if left_out is not None:
        left_out(unreadable)
    return sets[TEST]


def _check_share(max_unreadable: float) -> None:
    if not 0 <= max_unreadable <= 1:
        raise ValueError(f"max_unreadable is a share, 0 to 1; got {max_unreadable}")


def _index(source: str | Path, memory_limit: int) -> Indexed | None:
    """The index of tar shards, and of parquet files beyond the limit; None for every other source."""
    if source == "":  # pathlib takes it for the current folder
        raise SourceNotFoundError(
            "no source is named: '' is neither a file nor a folder; give '.' for the current folder"
        )
    path = Path(source).expanduser()
    try:
        return None if source == digits.NAME or not path.exists() else _index_below(path, memory_limit)
    except PermissionError as error:
        raise _denied(source, error) from error


def _index_below(path: Path, memory_limit: int) -> Indexed | None:
    tars = tar_files(path)
    if tars:
        return index_tars(path, tars)
    tables = parquet_files(path)
    large = sum(file.stat().st_size for file in tables) > memory_limit
    return index_parquet(path, tables) if large else None


def _stream(
    source: str,
    indexed: Indexed,
    size: tuple[int, int] | None,
    shares: Mapping[str, float],
    limits: Mapping[str, int | None],
    seed: int,
    max_unreadable: float,
    max_pixels: int,
    progress: Progress | None,
) -> Splits:
    """Splits whose pictures stay on the disk."""
    streamed = {}
    for split, (every, shards) in split_places(indexed, shares, seed).items():
        places = limit(every, limits[split], seed)
        reader = reader_of(shards, places)
        streamed[split] = StreamSet(places, reader, indexed.classes, size or DEFAULT_SIZE, max_pixels)
    train = streamed[TRAIN]
    _check_present(set(train.labels.tolist()), indexed.classes, "add some, or remove the class")
    if len(indexed.classes) == 1:
        raise SingleClassError(f"{source}: all pictures are of one class, {indexed.classes[0]!r}; want two or more")
    size = size or size_of(train)
    for images in streamed.values():
        images.size = size
    train.allowed = max_unreadable
    total, unreadable = len(streamed[VAL]) + len(streamed[TEST]), []
    tick = _ticking(total, progress)
    sets: dict[str, ImageSet] = {TRAIN: train}
    for split in (VAL, TEST):
        sets[split], left_out = readable(streamed[split], tick)
        unreadable += left_out
    _check_unreadable(unreadable, total, max_unreadable)
    mean, std = mean_and_std(sets[TRAIN])
    digest = fingerprint(indexed.classes, sets)
    return Splits(
        **sets,
        classes=indexed.classes,
        source=source,
        image_size=size,
        mean=mean,
        std=std,
        unreadable=tuple(unreadable),
        fingerprint=digest,
        given=tuple(indexed.splits),
    )


def _find(source: str | Path) -> Found:
    if source == digits.NAME:
        return digits.find()
    path = Path(source).expanduser()
    try:
        return _find_below(source, path)
    except PermissionError as error:
        raise _denied(source, error) from error


def _denied(source: str | Path, error: PermissionError) -> SourceNotFoundError:
    return SourceNotFoundError(f"{source}: permission denied for {error.filename}; make it readable for you")


def _find_below(source: str | Path, path: Path) -> Found:
    if not path.exists():
        raise SourceNotFoundError(
            f"no such file or folder: {source}; give a folder with one folder a class, a .parquet file or .tar shard, "
            f"a folder of them, or {digits.NAME!r}"
        )
    if path.is_file():
        if path.suffix.lower() != parquet.SUFFIX:
            raise LayoutError(
                f"{source}: a set of pictures is a folder, a {parquet.SUFFIX} file or a .tar shard; this file is none of them. "
                "Unpack an archive (.zip, .tar.gz) and give its folder"
            )
        return parquet.find_in_file(path)
    files = parquet.files_below(path)
    return parquet.find_in_folder(path, files) if files else folder.find(path)


def _check_classes(source: str | Path, found: Found) -> None:
    for split, pictures in found.splits.items():
        if not pictures:
            raise NoImagesError(
                f"{source}: no pictures in {split}; add some, or remove it and have it cut off the rest"
            )
    if len(found.classes) == 1:
        raise SingleClassError(
            f"{source}: all pictures are of one class, {found.classes[0]!r}; a classifier needs two or more"
        )
    present = {picture.label for picture in found.splits[TRAIN]}
    _check_present(present, found.classes, "add some, or remove the class")


def _check_present(present: set[int], classes: Sequence[str], remedy: str) -> None:
    empty = [name for label, name in enumerate(classes) if label not in present]
    if empty:
        shown = ", ".join(map(repr, empty[:_SHOWN])) + (" ..." if len(empty) > _SHOWN else "")
        raise EmptyClassError(f"{len(empty)} of {len(classes)} classes have no training pictures: {shown}; {remedy}")


def _complete(found: Found, shares: Mapping[str, float], seed: int) -> dict[str, list[Picture]]:
    """All three splits: those given, and the missing ones cut off the training pictures."""
    check_disjoint({split: found.splits[split] for split in (TRAIN, *shares) if split in found.splits})
    missing = {split: share for split, share in shares.items() if split not in found.splits}
    if not missing:
        return dict(found.splits)
    return {**found.splits, **split_pictures(found.splits[TRAIN], found.classes, missing, seed)}


def _decode(
    splits: Mapping[str, Sequence[Picture]],
    classes: Sequence[str],
    size: tuple[int, int],
    max_pixels: int,
    memory_limit: int,
    progress: Progress | None,
) -> tuple[dict[str, ImageSet], list[Unreadable]]:
    total = sum(map(len, splits.values()))
    load = load_into_memory if total * 3 * math.prod(size) <= memory_limit else load_on_demand
    tick = _ticking(total, progress)
    sets: dict[str, ImageSet] = {}
    unreadable: list[Unreadable] = []
    for split, pictures in splits.items():
        sets[split], left_out = load(pictures, classes, size, max_pixels, tick)
        unreadable += left_out
    return sets, unreadable


def _ticking(total: int, progress: Progress | None) -> Tick:
    """What is called for every picture, and tells of every fiftieth and the last."""
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None and (done % _PROGRESS_STEP == 0 or done == total):
            progress(done, total)

    return tick


def _check_unreadable(unreadable: Sequence[Unreadable], total: int, allowed: float) -> None:
    share = len(unreadable) / total
    if share > allowed:
        shown = "; ".join(f"{picture.name}: {picture.reason}" for picture in unreadable[:_SHOWN])
        raise TooManyUnreadableError(
            f"{len(unreadable)} of {total} pictures ({share:.1%}) can not be used, more than max_unreadable = {allowed:.1%}: "
            f"{shown}{' ...' if len(unreadable) > _SHOWN else ''}. "
            f"Repair or delete them, or allow it with max_unreadable = {math.ceil(share * 100) / 100}"
        )


def _check_sets(sets: Mapping[str, ImageSet], classes: Sequence[str]) -> None:
    for split, images in sets.items():
        if not len(images):
            raise NoImagesError(f"none of the pictures of {split} can be read")
    _check_present(set(sets[TRAIN].labels.tolist()), classes, "none of theirs can be read")
