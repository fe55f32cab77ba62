"""A batch normalisation as the mappings take it."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Norm:
    """A batch normalisation: gain and offset (C,), moments (2, C) mean and biased variance; batch: they are the batch's own."""

    gain: Tensor
    offset: Tensor
    moments: Tensor
    eps: float
    batch: bool
