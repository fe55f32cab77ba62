"""Tar shards in WebDataset's layout: files of one sample share a name up to the first dot ("0017.jpg", "0017.cls").

Source: the format of WebDataset, github.com/webdataset/webdataset. Which split a shard belongs to says its name
("train-000012.tar", "imagenet1k-validation-03.tar"), else the folders it lies in; if none says anything, all are training pictures.
Ours: the label is the content of .cls, .label, .target or .index; else a field of .json named as in parquet; else the folder
      that the picture lies in within the shard. classes.txt beside the shards, a name a line, names the classes.
Ours: of several pictures of one sample ("0017.jpg", "0017.mask.png") it is the one without a second dot, else the first; where the
      folder alone tells the label and none is without ("cat/cat.1.jpg", "cat/cat.2.jpg"), each is a sample.
Ours: shards are indexed once, headers and labels only, and pictures are read where they lie. WebDataset's own reader streams
      without an index and can not resume exactly, which a training here must.
"""

import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from sightline.data.errors import DataError, LayoutError
from sightline.data.folder import EXTENSIONS
from sightline.data.shard import Entry, Shard
from sightline.data.split_names import split_of
from sightline.data.table import LABEL_COLUMNS, Label

SUFFIX = ".tar"
CLASSES = "classes.txt"
LABELS = ("cls", "label", "target", "index")
_COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2")


def shards_below(root: Path) -> list[Path]:
    """The tar shards of a folder, by name; if it has none, those of its folders called data, train, val or test."""
    here = _shards(root)
    if here:
        return here
    folders = [
        path for path in sorted(root.iterdir()) if path.is_dir() and (path.name == "data" or split_of(path.name))
    ]
    return [path for folder in folders for path in _shards(folder)]


def _shards(folder: Path) -> list[Path]:
    visible = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    packed = [path.name for path in visible if path.name.lower().endswith(_COMPRESSED)]
    if packed:
        raise LayoutError(
            f"{folder}: {packed[0]} is compressed, which leaves no place to read from; unpack it to {SUFFIX}"
        )
    return [path for path in visible if path.suffix.lower() == SUFFIX]


def split_of_shard(path: Path, root: Path) -> str | None:
    """The split that a shard's name, or one of its folders', speaks of, wherever in the name the word stands."""
    for part in reversed(path.relative_to(root).with_suffix("").parts):
        for word in re.split("[^a-z]+", part.lower()):
            if word and (split := split_of(word, exactly=True)):
                return split
    return None


def index_tar(path: Path, name: str) -> Shard:
    """Where the pictures of a shard lie and what they show.

    Args:
        path: the shard; a file of no bytes is a shard of no pictures.
        name: what to call it.

    Raises:
        DataError: it is no tar file, or cut off.
        LayoutError: a picture without a label.
    """
    if path.stat().st_size == 0:
        return Shard(path, name, [])
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            return Shard(path, name, list(_entries(tar, file, name)))
    except tarfile.TarError as error:
        raise DataError(
            f"{name}: not a tar file, or one that is cut off: {error}. Copy it anew, or remove it"
        ) from error


def _entries(tar: tarfile.TarFile, file: BinaryIO, name: str) -> Iterator[Entry]:
    key, parts, splits = "", {}, set[str]()
    for member in tar:
        tar.members = []  # type: ignore[missing-attribute] # it would keep all of them
        found = PurePosixPath(member.name)
        if not member.isfile() or any(map(_hidden, found.parts)):
            continue
        stem, _, kind = found.name.partition(".")
        if (own := str(found.parent / stem)) != key:
            yield from _sample(key, parts, name)
            key, parts = own, {}
        _check_split(splits, found, name)
        here = tar.offset
        content = _text(file, member) if kind.lower() in (*LABELS, "json") else b""
        file.seek(here)
        parts[kind.lower()] = (member.offset_data, member.size, content)
    _check_end(tar, file)
    yield from _sample(key, parts, name)


def _check_split(splits: set[str], member: PurePosixPath, name: str) -> None:
    """One split a shard: what is packed as train/cat/1.jpg and test/cat/2.jpg would be mixed in silence."""
    splits |= {split for part in member.parts[:-1] if (split := split_of(part, exactly=True))}
    if len(splits) > 1:
        raise LayoutError(
            f"{name}: holds folders of several splits, {', '.join(sorted(splits))}; make one shard of each, called train.tar, "
            "val.tar, test.tar, or unpack it"
        )


def _hidden(part: str) -> bool:
    return (part.startswith(".") and part != "..") or part == "__MACOSX"


def _check_end(tar: tarfile.TarFile, file: BinaryIO) -> None:
    """Python takes half a header for the end; it is not."""
    size = file.seek(0, 2)
    file.seek(min(tar.offset, size))
    rest = file.read(tarfile.BLOCKSIZE)
    if size < tar.offset or (rest and rest != bytes(tarfile.BLOCKSIZE)):
        raise tarfile.ReadError(f"it ends after {size} bytes, within a file")


def _text(file: BinaryIO, member: tarfile.TarInfo) -> bytes:
    file.seek(member.offset_data)
    return file.read(member.size)


def _sample(key: str, parts: dict[str, tuple[int, int, bytes]], name: str) -> Iterator[Entry]:
    pictures = [kind for kind in parts if "." + kind.rpartition(".")[2] in EXTENSIONS]
    plain = [kind for kind in pictures if "." not in kind]
    alone = plain or any(kind in parts for kind in (*LABELS, "json"))
    for kind in (plain or pictures)[: 1 if alone else None]:
        offset, size, _ = parts[kind]
        yield Entry(offset, size, _label(key, parts, name))


def _label(key: str, parts: dict[str, tuple[int, int, bytes]], name: str) -> Label:
    for kind in LABELS:
        if kind in parts:
            if not (text := parts[kind][2].decode(errors="replace").strip()):
                raise LayoutError(f"{name}: {key}.{kind} is empty; write the label into it, or remove the sample")
            return _number_or_text(text)
    if "json" in parts:
        try:
            content = json.loads(parts["json"][2])
        except ValueError as error:
            raise LayoutError(f"{name}: {key}.json is not JSON: {error}") from error
        for column in (*LABEL_COLUMNS, *LABELS):
            if isinstance(content, dict) and isinstance(content.get(column), int | str):
                return content[column]
    folder = PurePosixPath(key).parent.name
    if not folder:
        raise LayoutError(
            f"{name}: {key} has no label: want {', '.join('.' + kind for kind in LABELS)}, .json with one of "
            f"{', '.join(LABEL_COLUMNS)}, or pictures in a folder of their class"
        )
    return folder


def _number_or_text(text: str) -> Label:
    return int(text) if re.fullmatch(r"-?\d+", text) else text
