"""Parquet in the Hugging Face layout: a column struct{bytes, path} of encoded pictures and a column of labels.

Which split a file belongs to says its name ("train-00000-of-00002.parquet"), else the folders it lies in ("train/0000.parquet");
if no file says anything, all of them are training pictures, of which val and test are cut off.
Class names come from the ClassLabel feature in the schema metadata, else from the training labels themselves, sorted.

Ours: a file that is named itself is the whole set, whatever lies beside it; to use train and test files, name their folder.
Ours: the encoded bytes stay in memory (some ten times smaller than the pixels), up to 8 GiB of files.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sightline.data.errors import LayoutError, NoImagesError, UnknownLabelError
from sightline.data.picture import TRAIN, Found, Picture, Unreadable
from sightline.data.split_names import split_of
from sightline.data.table import Label, Table, read_table

SUFFIX = ".parquet"
SIZE_LIMIT = 8 * 2**30
"""Bytes of parquet files that are read into memory."""


def files_below(root: Path) -> list[Path]:
    """The parquet files of a folder, by name; if it has none, those of its folders called data, train, val or test."""
    here = _files(root)
    if here:
        return here
    folders = [
        path for path in sorted(root.iterdir()) if path.is_dir() and (path.name == "data" or split_of(path.name))
    ]
    return [path for folder in folders for path in _files(folder)]


def _files(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == SUFFIX and path.is_file())
    return [path for path in paths if not path.name.startswith(".")]


def find_in_file(path: Path) -> Found:
    """The pictures of one file, all of them "train"; raises as `find_in_folder`."""
    return _gather(path.parent, {TRAIN: [path]})


def find_in_folder(root: Path, files: Sequence[Path]) -> Found:
    """The pictures of the files below root, split as their names say.

    Raises:
        LayoutError: no training file, no column of pictures or labels, class names that differ between files, too large.
        NoImagesError: the files have no rows.
        UnknownLabelError: a label that is null, or is none of the classes.
    """
    return _gather(root, splits_of(root, files))


def splits_of(root: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """The files of each split, as their names say; raises LayoutError."""
    splits: dict[str, list[Path]] = {}
    unnamed: list[Path] = []
    for path in files:
        said = (split_of(part) for part in reversed(path.relative_to(root).parts))
        split = next((split for split in said if split), None)
        (splits.setdefault(split, []) if split else unnamed).append(path)
    if not splits:
        return {TRAIN: unnamed}
    if unnamed or TRAIN not in splits:
        names = ", ".join(path.relative_to(root).as_posix() for path in files)
        raise LayoutError(f"{root}: want files called train*, val* and test*{SUFFIX}, train* at least; got {names}")
    return splits


def _gather(root: Path, splits: Mapping[str, Sequence[Path]]) -> Found:
    files = [(split, path) for split, paths in splits.items() for path in paths]
    total = sum(path.stat().st_size for _, path in files)
    if total > SIZE_LIMIT:
        raise LayoutError(
            f"{root}: {total} bytes of parquet, the limit is {SIZE_LIMIT}; unpack them into class folders"
        )
    tables = [(split, path.relative_to(root).as_posix(), read_table(path)) for split, path in files]
    if not any(table.labels for _, _, table in tables):
        raise NoImagesError(f"{root}: no rows in {', '.join(name for _, name, _ in tables)}")
    classes, index = _classes(root, tables)
    pictures: dict[str, list[Picture]] = {split: [] for split in splits}
    left_out: list[Unreadable] = []
    for split, name, table in tables:
        found, absent = _rows(name, table, index)
        pictures[split] += found
        left_out += absent
    return Found(classes, pictures, tuple(left_out))


def _classes(root: Path, tables: Sequence[tuple[str, str, Table]]) -> tuple[tuple[str, ...], dict[Label, int]]:
    """Class names, and the class of each label value."""
    named = {table.class_names for _, _, table in tables}
    if len(named) > 1:
        raise LayoutError(f"{root}: the files name their classes differently: {' | '.join(map(str, named))}")
    names = named.pop()
    if names:
        return names, {**{name: i for i, name in enumerate(names)}, **{i: i for i in range(len(names))}}
    values = {value for split, _, table in tables if split == TRAIN for value in table.labels if value is not None}
    ordered = sorted(values, key=lambda value: (isinstance(value, str), value))
    return tuple(map(str, ordered)), {value: i for i, value in enumerate(ordered)}


def _rows(name: str, table: Table, index: Mapping[Label, int]) -> tuple[list[Picture], list[Unreadable]]:
    found: list[Picture] = []
    absent: list[Unreadable] = []
    for row, (encoded, value) in enumerate(zip(table.images, table.labels, strict=True)):
        if value not in index:
            raise UnknownLabelError(
                f"{name}: row {row} has the label {value!r}, which names none of the {len(set(index.values()))} classes; "
                "correct or remove the row (-1 often marks a test set without labels)"
            )
        if encoded is None:
            absent.append(Unreadable(f"{name}#{row}", "the row holds no bytes"))
        else:
            found.append(Picture(f"{name}#{row}", index[value], encoded))
    return found, absent
