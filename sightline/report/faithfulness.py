"""How true the nets' maps are: what each method gains over random maps when pixels are taken away or put back.

Read from maps.json, where the run was made by a version that scores its maps. A net speaks through its first run that has scores.
"""

from dataclasses import dataclass
from typing import Any

from sightline.report.families import family_of, labels
from sightline.report.load import Comparison, need

TITLES = {
    "attention": "Attention",
    "rollout": "Rollout",
    "gradient_rollout": "Gradient-weighted rollout",
    "grad_cam": "Grad-CAM",
    "gradient_input": "Gradient x input",
}


@dataclass(frozen=True)
class Row:
    """One net: for each method two cells, the gains in deletion and in insertion, and whether zero lies below the interval."""

    model: str
    family: str
    cells: list[tuple[str, bool]]


@dataclass(frozen=True)
class Faithfulness:
    """The section; empty `rows` leave it out."""

    methods: list[str]
    rows: list[Row]
    pictures: int
    steps: int


def faithfulness(comparison: Comparison) -> Faithfulness:
    """The section of all nets whose maps were scored.

    Raises:
        RunFolderError: maps.json has scores that lack what they must have.
    """
    names, found = labels(comparison.models), {}
    for model in comparison.models:
        run = next((run for run in comparison.of(model) if run.maps and run.maps.faithfulness), None)
        if run is not None and run.maps is not None:
            found[model] = (run.maps.faithfulness, run.folder / "maps" / "maps.json")
    known = [name for name in TITLES if any(name in need(scores, "methods", path) for scores, path in found.values())]
    rows = [
        Row(
            names[model], family_of(model).key, [cell for name in known for cell in _cells(scores["methods"].get(name))]
        )
        for model, (scores, _) in found.items()
    ]
    first = next(iter(found.values()), ({}, None))[0]
    return Faithfulness([TITLES[name] for name in known], rows, int(first.get("n", 0)), int(first.get("steps", 0)))


def _cells(score: dict[str, Any] | None) -> list[tuple[str, bool]]:
    if score is None:
        return [("–", False)] * 2
    return [_cell(score[f"{game}_gain"], score[f"{game}_gain_half"]) for game in ("deletion", "insertion")]


def _cell(gain: float, half: float) -> tuple[str, bool]:
    return f"{gain:+.3f} ± {half:.3f}".replace("-", "−"), abs(gain) > half
