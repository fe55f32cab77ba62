"""What an experiment hands back, and the register of experiments.

An experiment is a function without arguments that measures and decides; the verdict follows from its numbers, by code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

HOLDS, FAILS, PARTLY, LATER = "holds", "does not hold", "holds in part", "not measurable at this size yet"
VERDICTS = (HOLDS, PARTLY, FAILS, LATER)


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


def decide(parts: Mapping[str, bool | None]) -> tuple[str, str]:
    """A verdict from the parts of a claim, and in words which hold and which do not; None is a part that could not be measured.

    All hold: holds. None holds: does not. Some, or all that could be measured: in part. Nothing measured: not measurable.
    """
    held, wrong, still = ([name for name, right in parts.items() if right is kind] for kind in (True, False, None))
    if len(still) == len(parts):
        verdict = LATER
    elif not held:
        verdict = FAILS
    else:
        verdict = PARTLY if wrong or still else HOLDS
    words = (("Holds", held), ("Does not hold", wrong), ("Not measured yet", still))
    return verdict, ". ".join(f"{word}: {'; '.join(names)}" for word, names in words if names)
