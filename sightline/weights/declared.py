"""A source may say how its net is built; what it says must be of the size of what it holds."""

from collections.abc import Callable

import torch
from torch import nn

from sightline.weights.errors import WeightsError
from sightline.weights.source import Source

RATIO, FREE = 8, 2**26  # times the numbers it holds; numbers below which nobody is harmed


def check_declared(source: Source, build: Callable[[], nn.Module]) -> None:
    """Refuse a source whose stated options make a net far larger than its tensors, before any of it is allocated.

    Raises:
        WeightsError: it states sizes that can not be its own.
    """
    held = sum(tensor.numel() for tensor in source.tensors.values())
    try:
        with torch.device("meta"):
            declared = sum(tensor.numel() for tensor in build().state_dict().values())
    except (RuntimeError, OverflowError, MemoryError, TypeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise WeightsError(f"{source.label} states options that its net does not allow: {first}") from error
    if declared > max(FREE, RATIO * held):
        raise WeightsError(
            f"{source.label} is refused: it states options that make a net of {declared:,} numbers, and holds {held:,}"
        )
