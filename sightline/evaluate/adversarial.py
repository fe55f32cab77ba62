"""Accuracy under attack: every attack on the images that the net answers rightly, each success checked against its ball.

Ours: an image counts as fallen within a ball when any attack of that norm, within this or a smaller ball, had it answered wrongly
(the worst case); so the ensemble attacks only those that still stand. SAN's setting (arXiv 2004.13621, table 10: targeted, radius
8, steps 4 or 2, two or four of them) leaves open which class is the target and where it starts: ours are a random wrong class, by
seed and image, and the image itself. Radii are in units of 1/255 of the pixel range. Euclidean radii are given for 32 x 32 pixels
of three channels and grow with the root of the number of values.
Legend: n images of the set that are attacked, B batch.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from sightline.data import generator_for
from sightline.evaluate.accuracy import NonFiniteLogitsError
from sightline.evaluate.attacks import LOSSES, Attacked, Threat, apgd, fgsm, pgd, square
from sightline.evaluate.attacks.losses import loss_for
from sightline.evaluate.statistics import wilson_interval

LEVELS = 255
SAN_SETTINGS = ((8, 4, 2), (8, 2, 4))
"""Radius, step, steps of SAN's table 10."""
REFERENCE_VALUES = 3 * 32 * 32


@dataclass(frozen=True)
class AttackResult:
    """A net under one attack.

    Args:
        attack: its name.
        norm: "linf" or "l2".
        eps: radius, in 1/255.
        steps: gradient steps, or queries.
        step_size: in 1/255; None where the attack finds its own.
        restarts: random starts; 0 means from the image itself.
        targeted: whether a given wrong class was wanted.
        n: images, rightly answered or not.
        attacked: those that were attacked.
        accuracy: share of all n that is right after it.
        low, high: Wilson's 95% interval.
        success: share of the attacked that fell, or reached the target.
        right: numbers, in the set, of the images that still are right.
        fell: how many each member of an ensemble brought down, one after the other.
        loss: which losses it used.
        seconds: it took.
    """

    attack: str
    norm: str
    eps: float
    steps: int
    step_size: float | None
    restarts: int
    targeted: bool
    n: int
    attacked: int
    accuracy: float
    low: float
    high: float
    success: float
    right: list[int]
    fell: dict[str, int] = field(default_factory=dict)
    loss: str = "cross-entropy"
    seconds: float = 0.0


Attack = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""pixels, labels, numbers, restart -> attacked pixels."""
Tick = Callable[[float], None]
"""Called with the share of the work that is done."""


class Target:
    """The images of one attack evaluation: pixels of 0..1, labels, numbers in their set, and which the net answers rightly.

    Args:
        model: the net, in evaluation mode, without gradients of its parameters.
        pixels: float (n, C, H, W) of 0..1, on the net's device.
        labels: (n,).
        numbers: (n,) of each image in its set; randomness follows from it, not from the batch.
        batch_size: images at a time.
        seed: of starts, targets and queries.

    Raises:
        NonFiniteLogitsError: NaN or infinity among the logits; here, and in every attack.
        ValueError: a net of one class, which no attack can bring to another.
    """

    def __init__(
        self, model: Attacked, pixels: Tensor, labels: Tensor, numbers: Tensor, batch_size: int, seed: int
    ) -> None:
        self.model, self.pixels, self.labels, self.numbers = model, pixels, labels, numbers
        self.batch_size, self.seed = batch_size, seed
        self.clean_logits = self._logits(pixels)
        self.classes = self.clean_logits.shape[1]
        if self.classes == 1:
            raise ValueError("a net of one class can not be attacked; leave the attacks out with attack_limit=0")
        self.right = self.clean_logits.argmax(1) == labels

    @torch.no_grad()
    def _logits(self, pixels: Tensor) -> Tensor:
        logits = torch.cat([self.model(part) for part in pixels.split(self.batch_size)])
        if broken := int((~logits.isfinite().all(1)).sum()):
            raise NonFiniteLogitsError(
                f"{broken} of {len(logits)} images, attacked or to be, got logits that are not finite"
            )
        return logits

    def answers(self, attack: Attack, threat: Threat, standing: Tensor, restarts: int, tick: Tick) -> Tensor:
        """(n,) the classes answered after an attack on the standing images; of several starts, the first that is wrong."""
        answers = self.labels.clone()
        parts = standing.nonzero().flatten().split(self.batch_size)
        for done, part in enumerate(parts):
            for restart in range(max(restarts, 1)):
                left = part[answers[part] == self.labels[part]]
                if len(left):
                    found = attack(self.pixels[left], self.labels[left], self.numbers[left], restart)
                    threat.check(found, self.pixels[left])
                    answers[left] = self._logits(found).argmax(1)
            tick((done + 1) / len(parts))
        return answers

    def starts(self, threat: Threat, pixels: Tensor, numbers: Tensor, name: str, restart: int) -> Tensor:
        """A random start an image."""
        generators = [generator_for(self.seed, "start", name, restart, number) for number in numbers.tolist()]
        return threat.start(pixels, generators)

    def targets(self) -> Tensor:
        """(n,) a random wrong class an image."""
        shifts = [
            int(torch.randint(1, self.classes, (), generator=generator_for(self.seed, "target", number)))
            for number in self.numbers.tolist()
        ]
        return (self.labels + torch.tensor(shifts, device=self.labels.device)) % self.classes

    def result(self, attacked: Tensor, standing: Tensor, reached: Tensor, **fields: object) -> AttackResult:
        """Figures from masks (n,): attacked, still right after it, and fallen or at the target."""
        n, right = len(self.labels), int(standing.sum())
        interval = wilson_interval(right, n)
        return AttackResult(
            n=n,
            attacked=int(attacked.sum()),
            accuracy=right / n,
            low=interval.low,
            high=interval.high,
            success=int(reached.sum()) / max(int(attacked.sum()), 1),
            right=self.numbers[standing].tolist(),
            **fields,  # type: ignore[arg-type]
        )


def still_right(target: Target, result: AttackResult) -> Tensor:
    """(n,) the images that an attack left rightly answered."""
    return torch.isin(target.numbers, torch.tensor(result.right, device=target.numbers.device))


def radius(norm: str, eps: float, values: int) -> float:
    """A radius in pixels of 0..1: of `eps` in 1/255, for "l2" grown with the root of an image's number of values."""
    return eps / LEVELS * (math.sqrt(values / REFERENCE_VALUES) if norm == "l2" else 1)


def run_fgsm(target: Target, eps: float, tick: Tick) -> AttackResult:
    """FGSM, largest change `eps` / 255."""
    threat, started = Threat("linf", eps / LEVELS), time.perf_counter()
    answers = target.answers(lambda x, y, _, __: fgsm(target.model, x, y, threat), threat, target.right, 0, tick)
    standing = target.right & (answers == target.labels)
    return target.result(
        target.right, standing, target.right & ~standing, attack="FGSM", norm="linf", eps=eps, steps=1, step_size=eps,
        restarts=0, targeted=False, seconds=time.perf_counter() - started,
    )  # fmt: skip


def run_pgd(target: Target, norm: str, eps: float, steps: int, restarts: int, tick: Tick) -> AttackResult:
    """PGD from random starts; a step is 2.5 radii over the number of steps (Madry et al., their code)."""
    eps_here = radius(norm, eps, target.pixels[0].numel())
    threat, step, started = Threat(norm, eps_here), 2.5 * eps_here / steps, time.perf_counter()

    def attack(x: Tensor, y: Tensor, numbers: Tensor, restart: int) -> Tensor:
        start = target.starts(threat, x, numbers, "pgd", restart)
        return pgd(target.model, x, y, threat, steps=steps, step_size=step, start=start)

    answers = target.answers(attack, threat, target.right, restarts, tick)
    standing = target.right & (answers == target.labels)
    return target.result(
        target.right, standing, target.right & ~standing, attack="PGD", norm=norm, eps=eps_here * LEVELS, steps=steps,
        step_size=step * LEVELS, restarts=restarts, targeted=False, seconds=time.perf_counter() - started,
    )  # fmt: skip


def run_san(target: Target, setting: tuple[float, float, int], tick: Tick) -> AttackResult:
    """SAN's targeted PGD from the image itself; `success` is the share that is answered with its target."""
    eps, step, steps = setting
    threat, started = Threat("linf", eps / LEVELS), time.perf_counter()
    wanted = target.targets()
    of = dict(zip(target.numbers.tolist(), wanted.tolist(), strict=True))

    def attack(x: Tensor, y: Tensor, numbers: Tensor, _: int) -> Tensor:
        aims = torch.tensor([of[number] for number in numbers.tolist()], device=y.device)
        return pgd(target.model, x, y, threat, steps=steps, step_size=step / LEVELS, targets=aims)

    answers = target.answers(attack, threat, target.right, 0, tick)
    return target.result(
        target.right, target.right & (answers == target.labels), target.right & (answers == wanted), attack="PGD",
        norm="linf", eps=eps, steps=steps, step_size=step, restarts=0, targeted=True, seconds=time.perf_counter() - started,
    )  # fmt: skip


def run_ensemble(
    target: Target, norm: str, eps: float, standing: Tensor, steps: int, queries: int, restarts: int, tick: Tick
) -> AttackResult:
    """APGD on the cross-entropy, APGD on the difference of logits ratio, and Square (largest change only), one after the other.

    Args:
        standing: (n,) the images that no attack of this norm has brought down yet.
    """
    eps_here = radius(norm, eps, target.pixels[0].numel())
    threat, started = Threat(norm, eps_here), time.perf_counter()
    second = loss_for("dlr", target.classes)
    members: dict[str, Attack] = {f"APGD {name}": _apgd(target, threat, name, steps) for name in ("ce", second)}
    if norm == "linf":
        members["Square"] = _square(target, threat, queries)
    attacked, fell = standing, {}
    for done, (name, attack) in enumerate(members.items()):
        answers = target.answers(
            attack, threat, standing, restarts, lambda share, done=done: tick((done + share) / len(members))
        )
        fallen = standing & (answers != target.labels)
        fell[name], standing = int(fallen.sum()), standing & ~fallen
    return target.result(
        attacked, standing, attacked & ~standing, attack="worst case", norm=norm, eps=eps_here * LEVELS, steps=steps,
        step_size=None, restarts=restarts, targeted=False, fell=fell, loss=f"cross-entropy, {second}",
        seconds=time.perf_counter() - started,
    )  # fmt: skip


def _apgd(target: Target, threat: Threat, loss: str, steps: int) -> Attack:
    def attack(x: Tensor, y: Tensor, numbers: Tensor, restart: int) -> Tensor:
        start = target.starts(threat, x, numbers, f"apgd {loss}", restart)
        return apgd(target.model, x, y, threat, LOSSES[loss], steps=steps, start=start)

    return attack


def _square(target: Target, threat: Threat, queries: int) -> Attack:
    def attack(x: Tensor, y: Tensor, _: Tensor, restart: int) -> Tensor:
        generator = generator_for(target.seed, "square", restart)
        return square(target.model, x, y, threat, queries=queries, generator=generator)

    return attack


def check_gate(target: Target, predictions: Tensor) -> None:
    """The attacked net must answer clean images as the evaluated one did: where not, two logits must be all but equal.

    Args:
        predictions: (n,) of `evaluate`, of the same images.

    Raises:
        RuntimeError: the attacked net is another one (its normalisation, its mode), and nothing it shows would count.
    """
    other = target.clean_logits.argmax(1).cpu() != predictions
    best = target.clean_logits.topk(2, dim=1).values
    wrong = other & ((best[:, 0] - best[:, 1]).cpu() > 1e-3)
    if wrong.any():
        raise RuntimeError(
            f"the attacked net answers {int(wrong.sum())} of {len(predictions)} clean images otherwise than the evaluated one"
        )


def make_target(
    model: nn.Module, pixels: Tensor, labels: Tensor, numbers: Tensor, mean: Sequence[float], std: Sequence[float],
    batch_size: int, seed: int,
) -> Target:  # fmt: skip
    """Images and a net, ready to be attacked. Raises ValueError as `Attacked`."""
    victim = Attacked(model, mean, std)
    return Target(victim, pixels, labels, numbers, batch_size, seed)
