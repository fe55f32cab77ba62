"""Pictures that have been found but not decoded, and what a source of them hands over."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TRAIN, VAL, TEST = "train", "val", "test"


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture.

    Attributes:
        name: its place in the source ("train/cat/1.jpg", "train.parquet#17"), the same wherever the source lies.
        label: index of its class.
        source: its file, or its encoded bytes.
    """

    name: str
    label: int
    source: Path | bytes


@dataclass(frozen=True)
class Unreadable:
    """A picture that was left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Found:
    """What a source holds.

    Attributes:
        classes: names, in the order of the labels.
        splits: pictures by split name; "train" is always there. What is missing is cut off the training pictures.
        left_out: pictures that could not be used.
    """

    classes: tuple[str, ...]
    splits: Mapping[str, list[Picture]]
    left_out: tuple[Unreadable, ...] = ()
