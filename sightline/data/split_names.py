"""Which split a file or folder name speaks of."""

import re

from sightline.data.picture import TEST, TRAIN, VAL

_PREFIXES = {TRAIN: "train|training", VAL: "val|valid|validation|dev", TEST: "test|testing"}


def split_of(name: str, exactly: bool = False) -> str | None:
    """Split named by a file or folder: "train", "val", "test", or None.

    The word may be train or training; val, valid, validation or dev; test or testing; in any case of letters. `exactly`: the
    name is that word; else it may go on after a character that is no letter ("train-00000-of-00002", but not "trainer").
    """
    end = "$" if exactly else "(?![a-z])"
    for split, words in _PREFIXES.items():
        if re.match(f"(?:{words}){end}", name.lower()):
            return split
    return None
