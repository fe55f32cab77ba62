"""A format of weights as data: how it is recognised, what its names are here, what its net computes differently."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from sightline.weights.rules import Rule

TRANSFORMER, SAN, RESIDUAL, ANY = "Vision Transformer", "SAN", "residual net", "net"


@dataclass(frozen=True)
class Format:
    """A format of weights.

    Args:
        name: as people call it.
        net: which kind of net it holds: TRANSFORMER, SAN, RESIDUAL or ANY.
        marks: patterns of names; a source in which each of them is found has this format.
        rules: its names and ours, most usual first; none: they are the same.
        prefixes: prefixes that a name may have or lack.
        unused: patterns of names that belong to other tasks and are dropped.
        resize: how its position embeddings go to another grid, see `sightline.layers.positions`.
        gelu: form of the GELU in its net; None: as our net has it.
        norm_eps: of its layer normalisation; None: as our net has it.
        stem: form of a hybrid's ResNet; None: as our net has it.
    """

    name: str
    net: str
    marks: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    prefixes: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    resize: str | None = None
    gelu: str | None = None
    norm_eps: float | None = None
    stem: str | None = None

    def known_by(self, names: Collection[str]) -> bool:
        """Whether a source of these names has this format."""
        return all(any(re.search(mark, name) for name in names) for mark in self.marks)

    def is_unused(self, name: str) -> bool:
        """Whether a name belongs to another task."""
        return any(re.search(pattern, name) for pattern in self.unused)

    def bare(self, name: str) -> str:
        """A name without the prefix it may have."""
        for prefix in self.prefixes:
            if name.startswith(prefix):
                return name.removeprefix(prefix)
        return name
