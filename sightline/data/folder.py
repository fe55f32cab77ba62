"""A folder with one folder a class, below train, val and test folders or directly.

Ours: the root has splits when it has a train folder and, beside it, a val or test folder or nothing else with pictures in it
      (so a set with the classes "train", "bus" and "car" is read as classes).
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

EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".dib", ".webp", ".tif", ".tiff")
    + (".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif")
)
"""Files that count as pictures, whatever the case of letters. HEIC can not be read, but is named rather than overlooked."""


def find(root: Path) -> Found:
    """Find the pictures below root.

    Raises:
        NoImagesError: there is none.
        LayoutError: pictures without class folders, or folders that are neither split nor class.
        ClassMismatchError: a split has other classes than the training pictures.
    """
    folders = _split_folders(root) or {TRAIN: root}
    classes = {split: _class_folders(folder) for split, folder in folders.items()}
    _check_classes(root, classes)
    names = tuple(classes[TRAIN])
    splits = {split: _pictures(root, [classes[split][name] for name in names]) for split in folders}
    stray = [path for folder in {root, *folders.values()} for path in _files(folder) if _is_picture(path)]
    return Found(
        names, splits, tuple(Unreadable(_name(path, root), "lies outside the class folders") for path in stray)
    )


def _split_folders(root: Path) -> dict[str, Path] | None:
    named = [(split_of(folder.name, exactly=True), folder) for folder in _folders(root)]
    splits = {split: folder for split, folder in named if split}
    others = [folder for split, folder in named if not split and _has_picture(folder)]
    if TRAIN not in splits or (others and len(splits) == 1):
        return None
    if others or len(splits) < sum(split is not None for split, _ in named):
        folders = ", ".join(folder.name for _, folder in named)
        raise LayoutError(
            f"{root}: want one folder each of train, val and test, and no other with pictures; got {folders}"
        )
    return splits


def _class_folders(folder: Path) -> dict[str, Path]:
    return {child.name: child for child in _folders(folder)}


def _check_classes(root: Path, classes: dict[str, dict[str, Path]]) -> None:
    if not classes[TRAIN]:
        raise _nothing_found(root)
    for split, folders in classes.items():
        extra, missing = sorted(folders.keys() - classes[TRAIN]), sorted(classes[TRAIN].keys() - folders)
        if extra or missing:
            raise ClassMismatchError(
                f"{root}: {split} must have the class folders of {TRAIN}; "
                f"only in {split}: {', '.join(extra) or 'none'}; only in {TRAIN}: {', '.join(missing) or 'none'}. "
                "Rename or move the folders so that they agree"
            )


def _nothing_found(root: Path) -> Exception:
    files = list(_walk(root))
    pictures = sum(_is_picture(path) for path in files)
    if pictures:
        return LayoutError(
            f"{root}: {pictures} pictures but no class folders; put those of each class into a folder of its name"
        )
    kinds = ", ".join(
        f"{count} {kind or 'without extension'}" for kind, count in Counter(p.suffix for p in files).most_common(5)
    )
    return NoImagesError(
        f"{root}: no pictures; files found: {kinds or 'none'}. Known extensions: {' '.join(sorted(EXTENSIONS))}"
    )


def _pictures(root: Path, folders: list[Path]) -> list[Picture]:
    return [
        Picture(_name(path, root), label, path)
        for label, folder in enumerate(folders)
        for path in sorted(_walk(folder))
        if _is_picture(path)
    ]


def _walk(folder: Path, seen: set[tuple[int, int]] | None = None) -> Iterator[Path]:
    """Every visible file below folder; a folder that was seen before (a link) is not entered again."""
    seen = set() if seen is None else seen
    state = folder.stat()
    if (state.st_dev, state.st_ino) in seen:
        return
    seen.add((state.st_dev, state.st_ino))
    yield from _files(folder)
    for child in _folders(folder):
        yield from _walk(child, seen)


def _has_picture(folder: Path) -> bool:
    return any(_is_picture(path) for path in _walk(folder))


def _folders(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_dir()]


def _files(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if not path.is_dir()]


def _visible(folder: Path) -> list[Path]:
    """Entries by name, so that nothing depends on the order the file system gives."""
    names = sorted(name for name in os.listdir(folder) if not name.startswith(".") and name != "__MACOSX")
    return [folder / name for name in names]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
