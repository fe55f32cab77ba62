"""Splits and subsets of pictures: stratified, and the same on every machine.

Which picture goes where follows from the seed and its name alone (a hash orders the pictures of a class), so neither the order
of the file system nor the place of the set matters, and a picture that is added moves few others. Pictures that are byte for
byte the same stay together.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from sightline.data.duplicates import identical
from sightline.data.errors import TooFewImagesError
from sightline.data.picture import TRAIN, Picture


def split_pictures(
    pictures: Sequence[Picture], classes: Sequence[str], shares: Mapping[str, float], seed: int
) -> dict[str, list[Picture]]:
    """Cut off, for each split in shares, that share of every class (at least one picture); the rest is "train".

    Raises:
        ValueError: a share is not between 0 and 1, or together they leave nothing to train on.
        TooFewImagesError: a class has too few pictures to have one in each split.
    """
    if any(not 0 < share < 1 for share in shares.values()) or sum(shares.values()) >= 1:
        listed = ", ".join(f"{split} {share}" for split, share in shares.items())
        raise ValueError(f"shares must lie between 0 and 1 and leave some for training; got {listed}")
    chosen: dict[str, str] = {}
    for label, groups in _groups_by_class(pictures).items():
        chosen |= _allot(groups, shares, seed, classes[label])
    return {split: [p for p in pictures if chosen[p.name] == split] for split in (TRAIN, *shares)}


def take(pictures: Sequence[Picture], limit: int | None, seed: int, classes: Sequence[str]) -> list[Picture]:
    """At most `limit` pictures with the classes' proportions kept; a smaller limit takes a subset of what a larger one takes.

    Raises:
        ValueError: the limit is below the number of classes.
    """
    if limit is None or limit >= len(pictures):
        return list(pictures)
    if limit < len(classes):
        raise ValueError(
            f"a limit must allow one picture for each of the {len(classes)} classes; got {limit}. Set train_limit and test_limit "
            f"to {len(classes)} or more, or to none"
        )
    by_class: defaultdict[int, list[Picture]] = defaultdict(list)
    for picture in pictures:
        by_class[picture.label].append(picture)
    # The i-th of n pictures of a class comes at i / n: first one of every class, then all classes at even pace.
    turn = {
        picture.name: (place / len(members), _order(picture.name, seed))
        for members in by_class.values()
        for place, picture in enumerate(sorted(members, key=lambda p: _order(p.name, seed)))
    }
    kept = set(sorted(turn, key=turn.__getitem__)[:limit])
    return [picture for picture in pictures if picture.name in kept]


def _order(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()


def _groups_by_class(pictures: Sequence[Picture]) -> dict[int, list[list[Picture]]]:
    """Groups of identical pictures, most of them of one, under the label of their first by name."""
    groups = [sorted(group, key=lambda p: p.name) for group in identical(pictures)]
    grouped = {picture.name for group in groups for picture in group}
    groups += [[picture] for picture in pictures if picture.name not in grouped]
    by_class: defaultdict[int, list[list[Picture]]] = defaultdict(list)
    for group in groups:
        by_class[group[0].label].append(group)
    return by_class


def _allot(groups: list[list[Picture]], shares: Mapping[str, float], seed: int, name: str) -> dict[str, str]:
    """Split of each picture of one class, by picture name."""
    total = sum(len(group) for group in groups)
    waiting = sorted(groups, key=lambda group: _order(group[0].name, seed), reverse=True)
    chosen: dict[str, str] = {}
    for split, share in shares.items():
        wanted, filled = max(1, round(share * total)), 0
        while waiting and filled < wanted:
            group = waiting.pop()
            filled += len(group)
            chosen |= {picture.name: split for picture in group}
    if not waiting:
        raise TooFewImagesError(
            f"class {name!r} has {total} pictures, {len(groups)} of them different: too few to have some in "
            f"{', '.join((TRAIN, *shares))}; add pictures, or make the split yourself with folders"
        )
    return chosen | {picture.name: TRAIN for group in waiting for picture in group}
