"""Where the page comes from: recipe and environment of every run, what all share and what sets one apart, and how to repeat it."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sightline.recipes import get
from sightline.report.families import labels
from sightline.report.load import Comparison, Run

Facts = dict[str, str]


@dataclass(frozen=True)
class Origin:
    """One run: its name on the page, its folder, what was missing in it, and the facts that not all runs share."""

    name: str
    folder: str
    missing: tuple[str, ...]
    recipe: Facts
    environment: Facts


@dataclass(frozen=True)
class Provenance:
    """All runs: the facts they share, a line a run, and the commands that repeat them."""

    recipe: Facts
    environment: Facts
    runs: list[Origin]
    card: str
    commands: list[str]


def provenance(comparison: Comparison) -> Provenance:
    """Collect recipes and environments. A fact is shared when every run that has begun states it alike."""
    begun = [run for run in comparison.runs if run.recipe]
    recipes = {id(run): _recipe(run) for run in begun}
    environments = {id(run): _flat(run.environment or {}) for run in begun if run.environment}
    recipe, environment = _shared(list(recipes.values())), _shared(list(environments.values()))
    names = labels(comparison.models)
    origins = [
        Origin(
            name=f"{names[run.model]}, seed {run.seed}",
            folder=run.folder.name,
            missing=run.missing,
            recipe=_own(recipes.get(id(run), {}), recipe),
            environment=_own(environments.get(id(run), {}), environment),
        )
        for run in comparison.runs
    ]
    card = next((str(run.recipe.get("recipe", {}).get("card", "")) for run in begun), "")
    return Provenance(recipe, environment, origins, card, commands(comparison))


def commands(comparison: Comparison) -> list[str]:
    """Shell lines that make these runs again; the first names the commit when it is known."""
    begun = [run for run in comparison.runs if run.recipe]
    if not begun:
        return []
    commits = [str((run.environment or {}).get("commit") or "") for run in begun]
    commit = next(filter(None, commits), "")
    lines = [f"git checkout {shlex.quote(commit.removesuffix('-dirty'))}"] if commit else []
    if commit.endswith("-dirty"):
        lines[0] += "  # the runs also had local changes that no commit holds"
    if not comparison.planned:
        return lines + [_train(run) for run in begun]
    recipe = begun[0].recipe.get("recipe", {})
    words = ["sightline", "compare", "--data", comparison.source, "--models", ",".join(comparison.models)]
    words += ["--seeds", str(len(comparison.seeds)), "--recipe", str(recipe.get("name", "mini"))]
    words += ["--epochs", str(begun[0].epochs)]
    if recipe.get("train_limit"):
        words += ["--train-limit", str(recipe["train_limit"])]
    return [*lines, shlex.join([*words, "--out", f"runs/{comparison.title}"])]


def _train(run: Run) -> str:
    recipe, source = run.recipe.get("recipe", {}), str(run.recipe.get("data", {}).get("source", ""))
    model = str(run.recipe.get("model", {}).get("name", run.model))
    words = ["sightline", "train", "--model", model, "--data", source, "--recipe", str(recipe.get("name", "mini"))]
    for key, value in {**_changes(recipe), "epochs": run.epochs, "seed": run.seed}.items():
        words += ["--set", f"{key}={_text(value).replace(', ', ',')}"]
    start = run.recipe.get("finetune", {}).get("source")
    return shlex.join([*words, *(["--finetune", str(start)] if start else [])])


def _changes(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that differ from the recipe of that name as this version has it; none where it has no such recipe."""
    try:
        base = asdict(get(str(recipe.get("name", "mini"))))
    except ValueError:
        return {}
    there = {key: list(value) if isinstance(value, tuple) else value for key, value in base.items()}
    return {key: value for key, value in recipe.items() if key in there and key != "card" and value != there[key]}


def _recipe(run: Run) -> Facts:
    facts = {name: value for name, value in run.recipe.get("recipe", {}).items() if name != "card"}
    data = {f"data {name}": value for name, value in run.recipe.get("data", {}).items() if name != "classes"}
    batch = {f"batch {name}": value for name, value in run.recipe.get("batch", {}).items()}
    model = {f"model {name}": value for name, value in run.recipe.get("model", {}).items() if name != "num_classes"}
    return _flat(facts) | _flat(model) | _flat(data) | _flat(batch)


def _flat(facts: Mapping[str, Any]) -> Facts:
    return {name.replace("_", " "): _text(value) for name, value in facts.items() if name != "schema"}


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_text(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(one)}" for name, one in value.items()) or "none"
    return str(value)


def _shared(all_facts: Sequence[Facts]) -> Facts:
    if not all_facts:
        return {}
    return {name: value for name, value in all_facts[0].items() if all(facts.get(name) == value for facts in all_facts)}


def _own(facts: Facts, shared: Facts) -> Facts:
    return {name: value for name, value in facts.items() if name not in shared}
