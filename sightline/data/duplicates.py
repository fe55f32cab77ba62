"""Pictures that are byte for byte the same.

Cheap first: sizes, then the first 4 KiB of those of equal size, then the whole of those that still agree. Copies, links and
hard links are found; a picture that was encoded anew is not.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path

from sightline.data.errors import OverlappingSplitsError
from sightline.data.picture import Picture

_HEAD = 4096
_SHOWN = 3


def identical(pictures: Sequence[Picture]) -> list[list[Picture]]:
    """Groups of two or more pictures with the same bytes. Empty and unreadable files belong to no group."""
    groups = [list(pictures)]
    for key in (_size, _head, _digest):
        groups = [finer for group in groups for finer in _regroup(group, key)]
    return groups


def check_disjoint(splits: Mapping[str, Sequence[Picture]]) -> None:
    """Raise OverlappingSplitsError if a picture stands in two of the splits."""
    home = {picture.name: split for split, pictures in splits.items() for picture in pictures}
    everything = [picture for pictures in splits.values() for picture in pictures]
    shared = [group for group in identical(everything) if len({home[picture.name] for picture in group}) > 1]
    if shared:
        examples = "; ".join(" = ".join(picture.name for picture in group[:_SHOWN]) for group in shared[:_SHOWN])
        raise OverlappingSplitsError(
            f"the same picture, byte for byte, stands in two splits ({len(shared)} times): {examples}. "
            "A score on them would measure memory; delete them from one split"
        )


def _regroup(pictures: Iterable[Picture], key: Callable[[Picture], Hashable | None]) -> list[list[Picture]]:
    groups: defaultdict[Hashable, list[Picture]] = defaultdict(list)
    for picture in pictures:
        try:
            value = key(picture)
        except OSError:  # it is named as unreadable when it is decoded
            continue
        if value is not None:
            groups[value].append(picture)
    return [group for group in groups.values() if len(group) > 1]


def _size(picture: Picture) -> int | None:
    source = picture.source
    return (source.stat().st_size if isinstance(source, Path) else len(source)) or None


def _head(picture: Picture) -> bytes:
    if isinstance(picture.source, bytes):
        return picture.source[:_HEAD]
    with picture.source.open("rb") as file:
        return file.read(_HEAD)


def _digest(picture: Picture) -> bytes:
    content = picture.source.read_bytes() if isinstance(picture.source, Path) else picture.source
    return hashlib.sha256(content).digest()
