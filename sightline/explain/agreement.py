"""Do two explanations agree? The rank correlation of their maps, pixel by pixel.

Source: Spearman 1904; used for explanations by Adebayo et al. 2018, arXiv 1810.03292, section 3.
"""

import numpy as np
import torch
from torch import Tensor

from sightline.explain.explanation import Explanation


def agreement(first: Explanation, second: Explanation) -> Tensor:
    """Spearman's rank correlation (B,) of two explanations of the same pictures, at the pictures' resolution.

    1: the same order of pixels; 0: none; -1: reversed. Not a number where a map is the same everywhere.

    Raises:
        ValueError: they are of different numbers or sizes of pictures.
    """
    if len(first) != len(second) or first.geometry.size != second.geometry.size:
        raise ValueError(
            f"two explanations agree on the same pictures; got {len(first)} of {first.geometry.size} "
            f"and {len(second)} of {second.geometry.size}"
        )
    ranked = [_ranked(one.over_image()) for one in (first, second)]
    return torch.tensor([_correlation(a, b) for a, b in zip(*ranked, strict=True)])


def _ranked(maps: Tensor) -> list[np.ndarray]:
    from scipy.stats import rankdata

    return [rankdata(one.flatten().numpy()) for one in maps]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / norm if norm > 0 else float("nan")
