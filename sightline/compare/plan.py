"""The plan of a comparison: which net with which seed, under which recipe, in which folder; and what of it exists already."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sightline.backbones import create_model
from sightline.data import Splits
from sightline.recipes import Recipe, distilled
from sightline.runs import RunFolder
from sightline.train import plan as train_plan

TWIN = "resnet_mini"
IMMATERIAL = (*train_plan.IMMATERIAL, "teacher")  # a path; which run it is follows from the plan


@dataclass(frozen=True)
class PlannedRun:
    """One net trained with one seed into one folder."""

    model: str
    seed: int
    recipe: Recipe
    folder: Path


@dataclass(frozen=True)
class Plan:
    """A comparison: its folder, its data, its runs in the order they are trained (the twin first: it may teach)."""

    folder: Path
    splits: Splits
    runs: tuple[PlannedRun, ...]
    twin: str | None

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the nets, each once, in order."""
        return tuple(dict.fromkeys(run.model for run in self.runs))

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, each once, in order."""
        return tuple(dict.fromkeys(run.seed for run in self.runs))


def make_plan(
    folder: Path, splits: Splits, models: Sequence[str], seeds: Sequence[int], recipe: Recipe, twin: str = TWIN
) -> Plan:
    """Every net with every seed under one recipe. A net named `..._distilled` learns from the twin of the same seed.

    Raises:
        ValueError: no model or no seed is given, one is given twice, nobody knows a model, or a distilled net has no twin to
            learn from.
    """
    _check(models, seeds, twin)
    ordered = sorted(models, key=lambda name: name != twin)  # stable: the twin first
    runs = []
    for seed in seeds:
        for model in ordered:
            own = replace(recipe, seed=seed)
            if model.endswith("_distilled"):
                own = replace(distilled(own), teacher=str(run_folder(folder, twin, seed)))
            runs.append(PlannedRun(model, seed, own, run_folder(folder, model, seed)))
    return Plan(folder, splits, tuple(runs), twin if twin in models else None)


def run_folder(folder: Path, model: str, seed: int) -> Path:
    """Where a comparison keeps the run of a net with a seed."""
    return folder / f"{model}-s{seed}"


def _check(models: Sequence[str], seeds: Sequence[int], twin: str) -> None:
    for what, given in (("model", models), ("seed", seeds)):
        if not given:
            raise ValueError(f"a comparison needs at least one {what}")
        twice = sorted({str(one) for one in given if list(given).count(one) > 1})
        if twice:
            raise ValueError(f"each {what} is compared once; given twice: {', '.join(twice)}")
    for model in models:
        create_model(model, num_classes=2)  # raises, with the closest names, when there is none
        if model.endswith("_distilled") and twin not in models:
            raise ValueError(f"{model} is distilled from {twin}, which is not among the models: add it")


def state(run: PlannedRun, splits: Splits) -> str:
    """What exists of a planned run: "new", "begun" (it will be continued) or "finished" (it will be reused).

    Raises:
        ValueError: a run of another recipe, net or data lies in its folder; the message names what differs.
    """
    folder = RunFolder(run.folder)
    if not folder.exists():
        return "new"
    differences = _differences(folder.read("recipe"), run, splits)
    if differences:
        raise ValueError(
            f"{run.folder} holds another run: {'; '.join(differences)}. Name another folder with --out, or train anew with --again"
        )
    return "finished" if folder.finished() else "begun"


def _differences(recorded: dict[str, Any], run: PlannedRun, splits: Splits) -> list[str]:
    pairs = [("model", recorded.get("model", {}).get("name"), run.model)]
    pairs.append(("data", recorded.get("data", {}).get("fingerprint"), splits.fingerprint))
    wanted = asdict(run.recipe)
    for field, value in wanted.items():
        if field not in IMMATERIAL:
            there = recorded.get("recipe", {}).get(field)
            pairs.append((field, tuple(there) if isinstance(there, list) else there, value))
    return [f"{name} is {there!r} there and {here!r} now" for name, there, here in pairs if there != here]
