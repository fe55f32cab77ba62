"""What an experiment hands back, and the register of experiments.

An experiment is a function without arguments that measures and decides; the verdict follows from its numbers, by code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

HOLDS, FAILS, PARTLY, LATER = "holds", "does not hold", "holds in part", "not measurable at this size yet"
VERDICTS = (HOLDS, PARTLY, FAILS, LATER)
OPEN = "undecided"
Part = bool | str | None
"""Of a claim: holds, does not, OPEN (an interval spans both), or None, not measured."""


@dataclass(frozen=True)
class Number:
    """One measured number.

    Args:
        what: in words.
        value: measured, as text with its unit.
        n: of what it is a mean, an extreme or a count: "12 positions"; "" for a count that is exact.
        interval: its 95% interval or its range, as text; "" where exact.
        paper: what the paper prints for it; "" when nothing.
    """

    what: str
    value: str
    n: str = ""
    interval: str = ""
    paper: str = ""


@dataclass(frozen=True)
class Outcome:
    """What an experiment found.

    Args:
        experiment: what was done, one or two sentences.
        numbers: what came out.
        verdict: one of `VERDICTS`.
        why: from numbers to verdict, in a sentence.
        command: what a user runs when it is not the claim's own command.
    """

    experiment: str
    numbers: list[Number] = field(default_factory=list)
    verdict: str = LATER
    why: str = ""
    command: str = ""


EXPERIMENTS: dict[str, Callable[[], Outcome]] = {}


def experiment(name: str) -> Callable[[Callable[[], Outcome]], Callable[[], Outcome]]:
    """Register the experiment of a claim."""

    def register(function: Callable[[], Outcome]) -> Callable[[], Outcome]:
        EXPERIMENTS[name] = function
        return function

    return register


def above(low: float, high: float, threshold: float = 0.0) -> Part:
    """Whether an interval lies above a threshold; OPEN where it spans it."""
    return True if low > threshold else False if high < threshold else OPEN


def decide(parts: Mapping[str, Part]) -> tuple[str, str]:
    """A verdict from the parts of a claim, and in words which hold and which do not.

    All hold: holds. None holds and one does not: does not. Some hold: in part. None could be decided: not measurable.
    """
    kinds = (True, False, OPEN, None)
    held, wrong, open_, still = ([name for name, right in parts.items() if right is kind] for kind in kinds)
    if not held:
        verdict = FAILS if wrong else LATER
    else:
        verdict = PARTLY if len(held) < len(parts) else HOLDS
    words = (
        ("Holds", held),
        ("Does not hold", wrong),
        ("Undecided, the interval spans both", open_),
        ("Not measured yet", still),
    )
    return verdict, ". ".join(f"{word}: {'; '.join(names)}" for word, names in words if names)
