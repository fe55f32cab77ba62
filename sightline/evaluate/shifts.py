"""Accuracy on changed pictures: turned, damaged, of another size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from sightline.data import ImageSet
from sightline.evaluate.accuracy import evaluate
from sightline.evaluate.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from sightline.evaluate.resolution import SCALES, refusal, resized
from sightline.evaluate.statistics import wilson_interval
from sightline.evaluate.transforms import TRANSFORMS

Change = Callable[[Tensor, Tensor], Tensor]
"""uint8 images (B, 3, H, W) and their numbers (B,) -> uint8 images of one size."""


@dataclass(frozen=True)
class Shift:
    """A net on pictures changed in one way.

    Args:
        kind: "transform", "corruption" or "resolution".
        name: of the change.
        severity: 1..5 of a corruption, else None.
        size: rows and columns of the changed pictures.
        n: pictures.
        accuracy: share that is right; None where the net refuses the size.
        low, high: Wilson's 95% interval.
        ece: expected calibration error.
        refused: the net's words where it refuses the size.
    """

    kind: str
    name: str
    severity: int | None
    size: tuple[int, int]
    n: int
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    ece: float | None = None
    refused: str = ""


@dataclass(frozen=True)
class Plan:
    """A shift that is to be measured."""

    kind: str
    name: str
    severity: int | None
    change: Change

    @property
    def label(self) -> str:
        """For people."""
        return self.name if self.severity is None else f"{self.name} {self.severity}"


class ChangedSet:
    """A set whose pictures are changed as they are read; labels and names stay."""

    def __init__(self, images: ImageSet, change: Change) -> None:
        self.source, self.change = images, change

    @property
    def labels(self) -> Tensor:
        return self.source.labels

    @property
    def classes(self) -> tuple[str, ...]:
        return self.source.classes

    @property
    def names(self) -> Sequence[str]:
        return self.source.names

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Tensor) -> Tensor:
        """The changed pictures at indices (B,)."""
        return self.change(self.source.batch(indices).cpu(), indices)


def all_shifts(seed: int) -> list[Plan]:
    """Every transform, every corruption at every severity, every size."""
    plans = [Plan("transform", name, None, _turn(turn)) for name, turn in TRANSFORMS.items()]
    plans += [Plan("corruption", name, s, _damage(name, s, seed)) for name in CORRUPTIONS for s in SEVERITIES]
    return plans + [Plan("resolution", f"{scale:g} x", None, _resize(scale)) for scale in SCALES]


def measure(
    model: nn.Module, images: ImageSet, plan: Plan, mean: Sequence[float], std: Sequence[float], batch_size: int
) -> Shift:
    """A net in evaluation mode on the changed pictures; a refused size is a result, too.

    Raises:
        NonFiniteLogitsError: as `evaluate`.
    """
    changed = ChangedSet(images, plan.change)
    height, width = changed.batch(images.labels.new_zeros(1)).shape[-2:]
    found = Shift(plan.kind, plan.name, plan.severity, (height, width), len(images))
    if plan.kind != "corruption" and (words := refusal(model, (height, width), len(mean))):
        return replace(found, refused=words)
    result = evaluate(model, changed, mean, std, batch_size)
    interval = wilson_interval(int((result.predictions == result.labels).sum()), len(images))
    return replace(found, accuracy=result.accuracy, low=interval.low, high=interval.high, ece=result.ece)


def _turn(turn: Callable[[Tensor], Tensor]) -> Change:
    return lambda images, _: turn(images)


def _damage(name: str, severity: int, seed: int) -> Change:
    return lambda images, numbers: corrupt(images, name, severity, numbers, seed)


def _resize(scale: float) -> Change:
    return lambda images, _: resized(images, scale)
