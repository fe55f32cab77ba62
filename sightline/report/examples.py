"""Which test pictures to show: those that divide the nets, each net's most confident errors, and its narrow and its sure hits.

Legend: N test images. A net speaks through its first finished run.
"""

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from sightline.report.arrays import Predictions
from sightline.report.load import Comparison
from sightline.report.numbers import NONE

ERRORS, NARROW, SURE, DIVIDING = 6, 3, 3, 8


@dataclass(frozen=True)
class Example:
    """One net's answer to one picture: position in the test set, truth and answer by name, the probability of the answer."""

    index: int
    truth: str
    answer: str
    probability: float
    right: bool

    @property
    def sureness(self) -> str:
        """The probability in words; a dash where a net that diverged gave none."""
        return f"{self.probability:.2f}" if math.isfinite(self.probability) else NONE


@dataclass(frozen=True)
class NetExamples:
    """The examples of a net, each list in the order of the page; `errors_in_all` counts all errors, shown or not."""

    model: str
    errors_in_all: int
    tested: int
    errors: list[Example]
    narrow: list[Example]
    sure: list[Example]


@dataclass(frozen=True)
class Divided:
    """A picture on which nets disagree: answers of the nets that err, names of those that do not."""

    index: int
    truth: str
    wrong: list[tuple[str, Example]]
    right: list[str]


@dataclass(frozen=True)
class Examples:
    """All examples of the page; `limited` when better ones exist, whose pictures are not at hand."""

    nets: list[NetExamples]
    divided: list[Divided]
    limited: bool = False

    @property
    def indices(self) -> set[int]:
        """Positions of every picture shown."""
        shown = {one.index for net in self.nets for group in (net.errors, net.narrow, net.sure) for one in group}
        return shown | {one.index for one in self.divided}


def all_examples(comparison: Comparison, available: Set[int] | None) -> Examples:
    """Choose the examples; only among the test positions `available` when given."""
    chosen = _choose(comparison, available)
    if available is None or _choose(comparison, None).indices <= available:
        return chosen
    return replace(chosen, limited=True)


def _choose(comparison: Comparison, available: Set[int] | None) -> Examples:
    spoken = {}
    for model in comparison.models:
        run = next((run for run in comparison.of(model) if run.predictions is not None), None)
        if run is not None and run.predictions is not None:
            spoken[model] = run.predictions
    classes = comparison.classes
    nets = [_of_net(model, said, classes, available) for model, said in spoken.items()]
    return Examples(nets, _divided(spoken, classes, available) if len(spoken) > 1 else [])


def _of_net(model: str, said: Predictions, classes: Sequence[str], available: Set[int] | None) -> NetExamples:
    right = said.label == said.predicted
    shown = np.array([available is None or int(index) in available for index in said.index], dtype=bool)
    sureness = _sureness(said)
    by_sureness = np.argsort(-sureness, kind="stable")
    errors = [i for i in by_sureness if shown[i] and not right[i]][:ERRORS]
    hits = [i for i in by_sureness if shown[i] and right[i]]
    sure = hits[:SURE]
    narrow = [i for i in reversed(hits) if i not in sure][:NARROW]
    groups = [[_example(said, int(i), classes) for i in group] for group in (errors, narrow, sure)]
    return NetExamples(model, int((~right).sum()), len(right), *groups)


def _sureness(said: Predictions) -> np.ndarray:
    return np.take_along_axis(said.probability, said.predicted[:, None], axis=1)[:, 0]  # N


def _example(said: Predictions, i: int, classes: Sequence[str]) -> Example:
    truth, answer = int(said.label[i]), int(said.predicted[i])
    return Example(
        index=int(said.index[i]),
        truth=class_name(classes, truth),
        answer=class_name(classes, answer),
        probability=float(said.probability[i, answer]),
        right=truth == answer,
    )


def class_name(classes: Sequence[str], label: int) -> str:
    """The name of a class, its number when it has none."""
    return classes[label] if 0 <= label < len(classes) else f"class {label}"


def _divided(spoken: dict[str, Predictions], classes: Sequence[str], available: Set[int] | None) -> list[Divided]:
    """Pictures that some net gets wrong and some net right, the most even splits first."""
    places = {model: {int(index): i for i, index in enumerate(said.index)} for model, said in spoken.items()}
    common = set.intersection(*(set(one) for one in places.values()))
    split = []
    for index in sorted(common if available is None else common & available):
        answers = [(model, _example(said, places[model][index], classes)) for model, said in spoken.items()]
        wrong = [(model, one) for model, one in answers if not one.right]
        if wrong and len(wrong) < len(answers):
            right = [model for model, one in answers if one.right]
            split.append(Divided(index, answers[0][1].truth, wrong, right))
    return sorted(split, key=lambda one: abs(len(one.wrong) - len(one.right)))[:DIVIDING]
