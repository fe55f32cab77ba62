"""A folder with one folder a class, below train, val and test folders or directly.

Ours: a folder called train is a split if it has folders with pictures in it; one that has only pictures, with other such folders
      beside it, is a class of that name. Beside a split there may be no folder with pictures that is none.
Ours: classes are sorted by name as text, as torchvision does; everything below a class folder belongs to it, each real folder
      once, so links that run in circles do no harm.
Ours: hidden files and folders and __MACOSX are skipped; files without a picture's extension too.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from sightline.data.errors import ClassMismatchError, LayoutError, NoImagesError
from sightline.data.picture import TRAIN, Found, Picture, Unreadable
from sightline.data.split_names import split_of

_KINDS = "jpg jpeg jpe jfif png gif bmp dib webp tif tiff ppm pgm pbm pnm avif heic heif"
EXTENSIONS = frozenset(f".{kind}" for kind in _KINDS.split())
"""Files that count as pictures, whatever the case of letters. HEIC can not be read, but is named rather than overlooked."""
_SHOWN = 5


def find(root: Path) -> Found:
    """Find the pictures below root.

    Raises:
        NoImagesError: there is none.
        LayoutError: pictures without class folders, or folders that are neither split nor class.
        ClassMismatchError: a split has other classes than the training pictures.
    """
    folders = _split_folders(root) or {TRAIN: root}
    classes = {split: {child.name: child for child in _folders(folder)} for split, folder in folders.items()}
    _check_agreement(root, folders, classes)
    names = tuple(classes[TRAIN])
    splits = {split: _pictures(root, [classes[split][name] for name in names]) for split in folders}
    if not any(splits.values()):
        raise _nothing_found(root)
    stray = [
        path for folder in dict.fromkeys((root, *folders.values())) for path in _files(folder) if _is_picture(path)
    ]
    left_out = tuple(Unreadable(_name(path, root), "lies outside the class folders") for path in stray)
    return Found(names, splits, left_out)


def pictures_below(folder: Path) -> list[Path]:
    """The pictures below a folder, by name; what is hidden is skipped."""
    return sorted(path for path in _walk(folder) if _is_picture(path))


def _split_folders(root: Path) -> dict[str, Path] | None:
    """The folders of the splits; None when those of the root are classes."""
    named = [(split_of(folder.name, exactly=True), folder) for folder in _folders(root)]
    splits = {split: folder for split, folder in named if split}
    if not splits:
        return None
    others = [folder for split, folder in named if not split and _has_picture(folder)]
    if others and not (TRAIN in splits and any(map(_has_picture, _folders(splits[TRAIN])))):
        return None
    if others or TRAIN not in splits or len(splits) < sum(split is not None for split, _ in named):
        listed = ", ".join(folder.name for _, folder in named)
        raise LayoutError(
            f"{root}: want a train folder, at most one val and one test folder, and no other with pictures; got {listed}"
        )
    return splits


def _check_agreement(root: Path, where: dict[str, Path], classes: dict[str, dict[str, Path]]) -> None:
    for split, folders in classes.items():
        if split != TRAIN and not folders and any(map(_is_picture, _files(where[split]))):
            raise ClassMismatchError(
                f"{root}: the pictures in {where[split].name} lie in no class folders, so nobody knows their classes; sort them "
                f"into those of {TRAIN}, or move the folder away and have a {split} set cut off {TRAIN}"
            )
        extra, missing = sorted(folders.keys() - classes[TRAIN]), sorted(classes[TRAIN].keys() - folders)
        if extra or missing:
            raise ClassMismatchError(
                f"{root}: {split} must have the class folders of {TRAIN}; "
                f"only in {split}: {', '.join(extra) or 'none'}; only in {TRAIN}: {', '.join(missing) or 'none'}. "
                "Rename or move the folders so that they agree"
            )


def _nothing_found(root: Path) -> Exception:
    kinds = Counter(path.suffix.lower() or "without extension" for path in _walk(root))
    pictures = sum(count for kind, count in kinds.items() if kind in EXTENSIONS)
    if pictures:
        return LayoutError(
            f"{root}: pictures ({pictures}) but no class folders; put those of each class into a folder of its name"
        )
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(_SHOWN)) or "none"
    return NoImagesError(f"{root}: no pictures ({', '.join(sorted(EXTENSIONS))}); other files: {listed}")


def _pictures(root: Path, folders: list[Path]) -> list[Picture]:
    return [
        Picture(_name(path, root), label, path)
        for label, folder in enumerate(folders)
        for path in pictures_below(folder)
    ]


def _walk(folder: Path, seen: set[tuple[int, int]] | None = None) -> Iterator[Path]:
    """Every visible file below folder; a folder that was seen before (a link) is not entered again."""
    seen = set() if seen is None else seen
    state = folder.stat()
    if (state.st_dev, state.st_ino) in seen:
        return
    seen.add((state.st_dev, state.st_ino))
    files, folders = _entries(folder)
    yield from files
    for child in folders:
        yield from _walk(child, seen)


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Visible files and folders, by name, so that nothing depends on the order the file system gives."""
    files: list[Path] = []
    folders: list[Path] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.name != "__MACOSX":
                # os.path.isdir where it may be a link: it answers for a link to itself, entry.is_dir() raises.
                inside = os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()
                (folders if inside else files).append(folder / entry.name)
    return sorted(files), sorted(folders)


def _files(folder: Path) -> list[Path]:
    return _entries(folder)[0]


def _folders(folder: Path) -> list[Path]:
    return _entries(folder)[1]


def _has_picture(folder: Path) -> bool:
    return any(map(_is_picture, _walk(folder)))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
