"""Is a net as sure as it is right? The bars of a reliability diagram.

Source: Guo et al. 2017, arXiv 1706.04599, section 2. The expected calibration error of these bins is `calibration_error`.
"""

from dataclasses import dataclass

from torch import Tensor

from sightline.evaluate.accuracy import BINS


@dataclass(frozen=True)
class Bin:
    """The images whose confidence, the largest probability, lies above `low` and at most at `high`.

    Args:
        low, high: its ends.
        n: its images.
        confidence: their mean confidence; None without images.
        accuracy: the share of them that is right; None without images.
    """

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


def reliability(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> list[Bin]:
    """Bars of equal width over 0..1.

    Args:
        probabilities: (N, K), rows sum to 1.
        labels: (N,) int64.
        bins: how many; a confidence on an edge belongs to the bin below it, as in `calibration_error`.
    """
    confidence, predictions = probabilities.double().max(dim=1)
    right = (predictions == labels).double()
    bin_of = (confidence * bins).ceil().long().clamp(1, bins) - 1
    found = []
    for number in range(bins):
        inside = bin_of == number
        n = int(inside.sum())
        means = (confidence[inside].mean().item(), right[inside].mean().item()) if n else (None, None)
        found.append(Bin(number / bins, (number + 1) / bins, n, *means))
    return found
