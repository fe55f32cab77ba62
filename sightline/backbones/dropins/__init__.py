"""Operators as drop-ins: the convolutions of any net turned into attention, and blocks added to any net."""

from sightline.backbones.dropins.insert import BLOCKS, Insertion, insert_blocks
from sightline.backbones.dropins.operators import ALIASES, OPERATORS
from sightline.backbones.dropins.replace import Replacement, replace_convs

__all__ = ["ALIASES", "BLOCKS", "OPERATORS", "Insertion", "Replacement", "insert_blocks", "replace_convs"]
