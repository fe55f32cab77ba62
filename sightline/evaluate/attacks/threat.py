"""What an attacker may do: move an image inside a ball around it, and never out of 0..1.

Legend: B images, any further axes; a norm is over all axes of one image.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

NORMS = ("linf", "l2")
_TINY = 1e-12
SLACK = 1e-5
"""Rounding that a distance may show, as a share of the radius."""
ROUNDING = 1e-7
"""And of each value, near one in float32."""


@dataclass(frozen=True)
class Threat:
    """A ball.

    Args:
        norm: "linf", the largest change of a value, or "l2", the root of the sum of squared changes.
        eps: its radius, in pixels of 0..1.

    Raises:
        ValueError: another norm, or a radius that is not positive and finite.
    """

    norm: str
    eps: float

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}; got {self.norm!r}")
        if not 0 < self.eps < math.inf:
            raise ValueError(f"eps, the radius in pixels of 0 to 1, must be positive; got {self.eps}")

    def project(self, images: Tensor, origin: Tensor) -> Tensor:
        """The images, brought back into the ball around `origin` and into 0..1."""
        if self.norm == "linf":
            return torch.clamp(images, origin - self.eps, origin + self.eps).clamp(0, 1)
        change = images - origin
        scale = (self.eps / _length(change).clamp_min(_TINY)).clamp_max(1)
        return (origin + change * scale).clamp(0, 1)  # towards origin, which is in 0..1: the clamp only shortens

    def uphill(self, gradient: Tensor) -> Tensor:
        """The direction in which a step of length one gains most: signs, or the gradient at length one."""
        if self.norm == "linf":
            return gradient.sign()
        return gradient / _length(gradient).clamp_min(_TINY)

    def start(self, origin: Tensor, generators: list[torch.Generator]) -> Tensor:
        """A random image in the ball: uniform in the cube, or uniform direction and uniform length; one generator an image."""
        shape = origin.shape[1:]
        if self.norm == "linf":
            noise = torch.stack([2 * torch.rand(shape, generator=one) - 1 for one in generators])
        else:
            noise = torch.stack([torch.randn(shape, generator=one) for one in generators])
            lengths = torch.stack([torch.rand((), generator=one) for one in generators])
            noise = self.uphill(noise) * lengths.reshape(-1, *(1,) * len(shape))
        return self.project(origin + self.eps * noise.to(origin), origin)

    def distance(self, images: Tensor, origin: Tensor) -> Tensor:
        """(B,) how far each image is from where it came."""
        change = (images - origin).flatten(1)
        return change.abs().amax(1) if self.norm == "linf" else change.norm(dim=1)

    def admit(self, images: Tensor, start: Tensor | None = None) -> Tensor:
        """Where an attack begins: `start`, or the images themselves.

        Raises:
            ValueError: images outside 0..1, or a start outside the ball around them.
        """
        if images.numel() and not (images.min() >= 0 and images.max() <= 1):
            raise ValueError(
                f"attacks take pixels of 0 to 1; got {images.min().item():g} to {images.max().item():g}. Divide bytes by 255"
            )
        if start is not None and start.numel():
            farthest = self.distance(start, images).max().item()
            if not farthest <= self._allowed(images) or not (start.min() >= 0 and start.max() <= 1):
                raise ValueError(f"start must lie in 0..1 and at most {self.eps:g} from the images; got {farthest:g}")
        return images if start is None else start

    def _allowed(self, images: Tensor) -> float:
        """The radius and what rounding may add: of each value, so for "l2" with the root of their number."""
        values = images[0].numel() if len(images) else 1
        return self.eps * (1 + SLACK) + ROUNDING * (math.sqrt(values) if self.norm == "l2" else 1)

    def check(self, images: Tensor, origin: Tensor) -> None:
        """Raise RuntimeError for an image outside the ball or outside 0..1: such a success would not count."""
        farthest = self.distance(images, origin).max().item()
        low, high = images.min().item(), images.max().item()
        if not farthest <= self._allowed(origin) or low < 0 or high > 1:
            raise RuntimeError(
                f"an attack left its bounds: distance {farthest:.6g} of {self.eps:.6g} allowed, pixels {low:.6g} to {high:.6g}"
            )


def _length(change: Tensor) -> Tensor:
    """(B, 1, ...) the Euclidean length of each image's change."""
    return change.flatten(1).norm(dim=1).reshape(-1, *(1,) * (change.ndim - 1))
