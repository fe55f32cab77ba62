"""Mixing pairs of samples: mixup, CutMix, and the soft targets that go with them.

Everything is drawn once per batch (mixed or not, which of the two, the share, the box, the partners), as the papers' code does.
Legend: B batch, K classes, H W rows and columns.
"""

from dataclasses import dataclass

import torch
from scipy.special import betaincinv
from torch import Tensor


def soft_targets(labels: Tensor, classes: int, smoothing: float = 0.0) -> Tensor:
    """Labels (B,) as distributions (B, K), float32: (1 - smoothing) on the label plus smoothing / K on every class.

    Source: Szegedy et al. 2015, "Rethinking the Inception Architecture", arXiv 1512.00567, section 7.
    """
    targets = torch.full((len(labels), classes), smoothing / classes, device=labels.device)
    targets.scatter_(1, labels[:, None], 1 - smoothing + smoothing / classes)
    return targets


def mixup(images: Tensor, targets: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Blend every sample with a partner: share * own + (1 - share) * partner's, for float images (B, C, H, W) and targets (B, K).

    Source: Zhang et al. 2017, "mixup: Beyond Empirical Risk Minimization", arXiv 1710.09412, section 2; share ~ Beta(alpha, alpha).
    """
    share = _beta(alpha, generator)
    partner = _partners(images, generator)
    return share * images + (1 - share) * images[partner], share * targets + (1 - share) * targets[partner]


def cutmix(images: Tensor, targets: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Paste a box of a partner into every sample (B, C, H, W); targets (B, K) are mixed by the area that is really covered.

    Source: Yun et al. 2019, "CutMix", arXiv 1905.04899, section 3.1: sides sqrt(1 - share) of the image's,
    share ~ Beta(alpha, alpha), centre anywhere, so that the border may cut the box.
    """
    height, width = images.shape[-2:]
    side = (1 - _beta(alpha, generator)) ** 0.5
    partner = _partners(images, generator)
    top, bottom = _cut(height, side, generator)
    left, right = _cut(width, side, generator)
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images[partner][..., top:bottom, left:right]
    share = 1 - (bottom - top) * (right - left) / (height * width)
    return mixed, share * targets + (1 - share) * targets[partner]


@dataclass(frozen=True)
class Mix:
    """Labels to soft targets, and now and then a mixed batch.

    Args:
        classes: K.
        mixup: alpha of mixup; 0: no mixup.
        cutmix: alpha of CutMix; 0: no CutMix. With both, each mixed batch takes one of them, with equal chances.
        probability: of mixing a batch at all.
        smoothing: of the labels, 0 to 1.

    Raises:
        ValueError: an argument is out of range.
    """

    classes: int
    mixup: float = 0.0
    cutmix: float = 0.0
    probability: float = 1.0
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.mixup < 0 or self.cutmix < 0:
            raise ValueError(f"mixup and cutmix are alphas, 0 or more; got {self.mixup}, {self.cutmix}")
        if not (0 <= self.probability <= 1 and 0 <= self.smoothing <= 1):
            raise ValueError(f"probability and smoothing lie in 0 to 1; got {self.probability}, {self.smoothing}")

    def __call__(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Float images (B, C, H, W) and labels (B,): images, mixed or not, and targets (B, K) float32."""
        targets = soft_targets(labels, self.classes, self.smoothing)
        ways = [(mix, alpha) for mix, alpha in ((mixup, self.mixup), (cutmix, self.cutmix)) if alpha > 0]
        if not ways or _unit(generator) >= self.probability:
            return images, targets
        mix, alpha = ways[int(_unit(generator) * len(ways))]
        return mix(images, targets, alpha, generator)


def _beta(alpha: float, generator: torch.Generator) -> float:
    """A draw from Beta(alpha, alpha), by inverting its distribution function: torch's own sampler takes no generator."""
    return float(betaincinv(alpha, alpha, _unit(generator)))


def _unit(generator: torch.Generator) -> float:
    return torch.rand((), generator=generator, device=generator.device, dtype=torch.float64).item()


def _partners(images: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randperm(len(images), generator=generator, device=generator.device).to(images.device)


def _cut(size: int, share: float, generator: torch.Generator) -> tuple[int, int]:
    """Where a run of `share` of the positions 0 .. size - 1 begins and ends, centred anywhere, cut at the borders."""
    length, centre = int(size * share), int(_unit(generator) * size)
    start = centre - length // 2
    return max(start, 0), min(start + length, size)
