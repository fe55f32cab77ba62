"""How a net stands up: turned, damaged and resized pictures, calibration, and attacks.

Ours: what is measured and how hard, see `Settings`; docs/robustness.md defines every figure.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sightline.data import ImageSet, MemorySet, generator_for
from sightline.evaluate.accuracy import device_of, evaluate
from sightline.evaluate.adversarial import (
    SAN_SETTINGS,
    AttackResult,
    Target,
    Tick,
    check_gate,
    make_target,
    run_ensemble,
    run_fgsm,
    run_pgd,
    run_san,
    still_right,
)
from sightline.evaluate.attacks import check_precision, under_attack
from sightline.evaluate.calibration import Bin, reliability
from sightline.evaluate.shifts import Shift, all_shifts, measure
from sightline.evaluate.statistics import wilson_interval

Progress = Callable[[float, str], None]
"""Called with the share of all work that is done, 0..1, and the name of what is being measured."""


@dataclass(frozen=True)
class Settings:
    """How hard to look.

    Args:
        limit: images of all but the attacks, chosen by seed; None: all.
        attack_limit: images that are attacked, chosen by seed; 0: no attacks.
        eps: radii of the largest change, in 1/255.
        eps_l2: Euclidean radii in 1/255, of images of 32 x 32 pixels and three channels.
        steps: of PGD.
        ensemble_steps: of each APGD.
        queries: of Square.
        restarts: random starts of PGD and of the ensemble.
        seed: of the choice of images, noise, starts, targets and queries.
        batch_size: images at a time; changes speed only.

    Raises:
        ValueError: a number is out of range.
    """

    limit: int | None = None
    attack_limit: int = 500
    eps: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0)
    eps_l2: tuple[float, ...] = (32.0, 64.0, 128.0)
    steps: int = 20
    ensemble_steps: int = 100
    queries: int = 1000
    restarts: int = 1
    seed: int = 0
    batch_size: int = 256

    def __post_init__(self) -> None:
        for name in ("steps", "ensemble_steps", "queries", "restarts", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more; got {getattr(self, name)}")
        if self.attack_limit < 0 or (self.limit is not None and self.limit < 1):
            raise ValueError(f"limits count images; got limit {self.limit}, attack_limit {self.attack_limit}")
        if wrong := [eps for eps in (*self.eps, *self.eps_l2) if not 0 < eps < math.inf]:
            raise ValueError(f"radii, in 1/255, must be positive and finite; got {wrong[0]}")
        if not self.eps:
            raise ValueError("give one radius or more")


@dataclass(frozen=True)
class Robustness:
    """What came out.

    Args:
        n: images of all but the attacks.
        accuracy: on unchanged images, with the ends of Wilson's 95% interval.
        ece: expected calibration error.
        bins: the bars of the reliability diagram.
        shifts: transforms, corruptions, sizes.
        attacks: FGSM, PGD, SAN's setting, worst case.
        attacked: numbers, in the set, of the images that were attacked or wrong before.
        settings: how hard it looked.
    """

    n: int
    accuracy: float
    low: float
    high: float
    ece: float
    bins: list[Bin]
    shifts: list[Shift]
    attacks: list[AttackResult]
    attacked: list[int] = field(default_factory=list)
    settings: Settings = field(default_factory=Settings)

    def as_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


def robustness(
    model: nn.Module,
    images: ImageSet,
    mean: Sequence[float],
    std: Sequence[float],
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Robustness:
    """Look at a net from all sides, on the device it is on, in evaluation mode (its modes are restored after).

    Args:
        model: (B, 3, H, W) floats to logits (B, K), K >= 2.
        images: with labels 0..K-1.
        mean: subtracted from pixels in 0..1, per channel.
        std: divided by.
        settings: how hard to look.
        progress: told what is done.

    Raises:
        NonFiniteLogitsError: NaN or infinity among the logits.
        ValueError: the set is empty, a label is not among the classes, or a net that is to be attacked has one class or is in half
            precision.
    """
    settings, tell = settings or Settings(), progress or (lambda share, name: None)
    if settings.attack_limit:
        check_precision(model)
    order = torch.randperm(len(images), generator=generator_for(settings.seed, "robustness images"))
    looked_at = _part(images, order[: settings.limit].sort().values)
    with under_attack(model):
        clean = evaluate(model, looked_at, mean, std, settings.batch_size)
        whole = 0.35 if settings.attack_limit else 1.0  # a guess of how the time divides
        shifts = []
        for done, plan in enumerate(plans := all_shifts(settings.seed)):
            tell(whole * done / len(plans), plan.label)
            shifts.append(measure(model, looked_at, plan, mean, std, settings.batch_size))
        chosen = order[: settings.attack_limit].sort().values
        attacks = _attack(
            model, images, chosen, mean, std, settings, lambda share, name: tell(whole + (1 - whole) * share, name)
        )
    tell(1.0, "")
    interval = wilson_interval(int((clean.predictions == clean.labels).sum()), len(clean))
    return Robustness(
        n=len(clean),
        accuracy=clean.accuracy,
        low=interval.low,
        high=interval.high,
        ece=clean.ece,
        bins=reliability(clean.probabilities, clean.labels),
        shifts=shifts,
        attacks=attacks,
        attacked=chosen.tolist(),
        settings=settings,
    )


def _part(images: ImageSet, numbers: Tensor) -> ImageSet:
    """Some images of a set; the set itself when they are all."""
    if len(numbers) == len(images):
        return images
    names = [images.names[number] for number in numbers.tolist()]
    return MemorySet(images.batch(numbers).cpu(), images.labels[numbers], images.classes, names)


def _attack(
    model: nn.Module, images: ImageSet, chosen: Tensor, mean: Sequence[float], std: Sequence[float],
    settings: Settings, tell: Progress,
) -> list[AttackResult]:  # fmt: skip
    """Every attack on the chosen images, weakest first."""
    if not len(chosen):
        return []
    part = _part(images, chosen)
    every = torch.arange(len(part))
    device = device_of(model)
    pixels = part.batch(every).to(device).float() / 255
    target = make_target(
        model, pixels, part.labels.to(device), chosen.to(device), mean, std, settings.batch_size, settings.seed
    )
    check_gate(target, evaluate(model, part, mean, std, settings.batch_size).predictions)
    return _all_attacks(target, settings, tell)


def _all_attacks(target: Target, settings: Settings, tell: Progress) -> list[AttackResult]:
    found: list[AttackResult] = []
    jobs = len(SAN_SETTINGS) + 3 * len(settings.eps) + 2 * len(settings.eps_l2)

    def tick(name: str) -> Tick:
        tell(len(found) / jobs, name)
        return lambda share: tell((len(found) + share) / jobs, name)

    for setting in SAN_SETTINGS:
        found.append(run_san(target, setting, tick(f"targeted PGD, {setting[2]} steps")))
    targeted = list(found)
    for norm, radii in (("linf", settings.eps), ("l2", settings.eps_l2)):
        standing = target.right
        for eps in sorted(radii):
            plain = [run_fgsm(target, eps, tick(f"FGSM {eps:g}"))] if norm == "linf" else []
            found += plain
            plain.append(run_pgd(target, norm, eps, settings.steps, settings.restarts, tick(f"PGD {norm} {eps:g}")))
            found.append(plain[-1])
            for one in (*plain, *(one for one in targeted if norm == "linf" and one.eps <= eps)):
                standing = standing & still_right(target, one)
            found.append(
                run_ensemble(
                    target, norm, eps, standing, settings.ensemble_steps, settings.queries, settings.restarts,
                    tick(f"worst case {norm} {eps:g}"),
                )
            )  # fmt: skip
            standing = still_right(target, found[-1])
    return found
