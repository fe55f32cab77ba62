"""Read what a report is drawn from: a comparison folder or run folders, their JSON through `RunFolder`.

A file that is damaged stops the report and is named; a file that is not there leaves its part of the page out and is listed in
`Run.missing`, so that the page can say so.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sightline.report.arrays import MAPS, Maps, Predictions, need, read_maps, read_pictures, read_predictions
from sightline.runs import COST, ENVIRONMENT, LOG, METRICS, PREDICTIONS, RECIPE, ROBUSTNESS, RunFolder, RunFolderError

COMPARISON = "compare.json"
PICTURES = "pictures.npz"
FILES = (RECIPE, ENVIRONMENT, COST, LOG, METRICS, PREDICTIONS, MAPS)


@dataclass(frozen=True)
class Run:
    """One run folder; what was not in it is None or empty, and named in `missing`."""

    model: str
    seed: int
    folder: Path
    recipe: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] | None = None
    log: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] | None = None
    cost: dict[str, Any] | None = None
    predictions: Predictions | None = None
    maps: Maps | None = None
    robustness: dict[str, Any] | None = None  # nobody need have asked for it: never named in `missing`
    missing: tuple[str, ...] = ()

    @property
    def classes(self) -> list[str]:
        """Names of the classes, as text; a class without one is called by its number."""
        names = self.recipe.get("data", {}).get("classes", [])
        return [str(name).strip() or f"class {label}" for label, name in enumerate(names)]

    @property
    def epochs(self) -> int:
        """Epochs the recipe asks for; 0 when unknown."""
        return int(self.recipe.get("recipe", {}).get("epochs", 0))


@dataclass(frozen=True)
class Comparison:
    """All that the page shows. `summary` holds one line a model that finished, as compare.json does."""

    folder: Path
    title: str
    source: str
    models: list[str]
    seeds: list[int]
    twin: str | None
    summary: list[dict[str, Any]]
    runs: list[Run]
    pictures: dict[int, np.ndarray]  # position in the test set: (H, W, 3) uint8
    planned: bool  # made by `sightline compare`, one budget for all

    def of(self, model: str) -> list[Run]:
        """The runs of a model, by seed."""
        return sorted((run for run in self.runs if run.model == model), key=lambda run: run.seed)

    @property
    def data_name(self) -> str:
        """The data as the page names them: the last part of a path."""
        return Path(self.source).name or self.source or "unnamed data"

    @property
    def classes(self) -> list[str]:
        """Names of the classes of the first run that knows them."""
        return next((run.classes for run in self.runs if run.classes), [])


def read_comparison(folder: Path) -> Comparison:
    """Read a comparison folder.

    Raises:
        RunFolderError: compare.json or a file of a run is damaged or of a newer schema, or lacks what it must have.
    """
    content = RunFolder(folder).read(COMPARISON)
    path = folder / COMPARISON
    models, seeds = [str(model) for model in need(content, "models", path)], list(need(content, "seeds", path))
    listed = {
        (str(need(one, "model", path)), int(need(one, "seed", path))): folder / need(one, "folder", path)
        for one in content.get("runs", [])
    }
    for model in models:
        for seed in seeds:
            listed.setdefault((model, seed), folder / f"{model}-s{seed}")
    runs = [read_run(where, model, seed) for (model, seed), where in listed.items()]
    return Comparison(
        folder=folder,
        title=folder.resolve().name,
        source=str(content.get("source", "")),
        models=models,
        seeds=seeds,
        twin=content.get("twin"),
        summary=[one for one in need(content, "summary", path) if need(one, "model", path)],
        runs=runs,
        pictures=_pictures([folder / PICTURES, *(run.folder / PICTURES for run in runs)], runs),
        planned=True,
    )


def read_runs(folders: Sequence[Path]) -> Comparison:
    """Read run folders that no comparison has planned; there is no twin, and `summary` is empty.

    Raises:
        ValueError: no folder is given, or the runs were tested on different images.
        RunFolderError: a folder holds no run, or a file in it is damaged.
    """
    if not folders:
        raise ValueError("a report needs at least one run folder")
    for folder in folders:
        if not RunFolder(folder).exists():
            raise RunFolderError(
                f"{folder} holds no run: {RECIPE} is missing. Give folders that `sightline train` wrote"
            )
    runs = _told_apart([read_run(folder) for folder in folders])
    _same_test_images(runs)
    return Comparison(
        folder=folders[0],
        title=folders[0].resolve().name if len(folders) == 1 else f"{len(folders)} runs",
        source=" and ".join(dict.fromkeys(str(run.recipe.get("data", {}).get("source", "?")) for run in runs)),
        models=list(dict.fromkeys(run.model for run in runs)),
        seeds=sorted({run.seed for run in runs}),
        twin=None,
        summary=[],
        runs=runs,
        pictures=_pictures([run.folder / PICTURES for run in runs], runs),
        planned=False,
    )


def _told_apart(runs: Sequence[Run]) -> list[Run]:
    """Runs of one net under several recipes become nets of their own, named after their folders too."""
    recipes: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        recipes.setdefault(run.model, []).append(run.recipe.get("recipe", {}) | {"seed": None, "teacher": None})
    seeds = Counter((run.model, run.seed) for run in runs)
    folders = Counter(run.folder.name for run in runs)
    told = []
    for run in runs:
        alike = all(one == recipes[run.model][0] for one in recipes[run.model]) and seeds[run.model, run.seed] == 1
        folder = run.folder.name if folders[run.folder.name] == 1 else str(run.folder)
        told.append(run if alike else replace(run, model=f"{run.model} ({folder})"))
    return told


def _same_test_images(runs: Sequence[Run]) -> None:
    by_data = {run.recipe.get("data", {}).get("fingerprint"): run for run in runs}
    if len(by_data) > 1:
        first, second = list(by_data.values())[:2]
        raise ValueError(
            f"a report shows nets on the same test images; {first.folder} and {second.folder} have other data or another split. "
            "Write one report for each"
        )


def find_runs(folder: Path) -> list[Path]:
    """The run folders at or directly inside a folder, by name."""
    if RunFolder(folder).exists():
        return [folder]
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    return [one for one in inside if one.is_dir() and RunFolder(one).exists()]


def read_run(folder: Path, model: str | None = None, seed: int | None = None) -> Run:
    """Read one run folder; model and seed are the recipe's when not given."""
    files = RunFolder(folder)
    there = [name for name in FILES if files.file(name).is_file()]
    content = {name: files.read(name) for name in (RECIPE, METRICS, ENVIRONMENT, COST) if name in there}
    recipe = content.get(RECIPE, {})
    return Run(
        model=model or str(need(need(recipe, "model", folder / RECIPE), "name", folder / RECIPE)),
        seed=seed if seed is not None else int(recipe.get("recipe", {}).get("seed", 0)),
        folder=folder,
        recipe=recipe,
        environment=content.get(ENVIRONMENT),
        log=files.log(),
        metrics=_finished(content.get(METRICS), folder / METRICS),
        cost=content.get(COST),
        predictions=read_predictions(folder / PREDICTIONS) if PREDICTIONS in there else None,
        maps=read_maps(folder) if MAPS in there else None,
        robustness=files.read(ROBUSTNESS) if files.file(ROBUSTNESS).is_file() else None,
        missing=tuple(name for name in FILES if name not in there),
    )


def _finished(metrics: dict[str, Any] | None, path: Path) -> dict[str, Any] | None:
    """The metrics of a run that reached its end, else None."""
    if metrics is None or metrics.get("finished") is not True:
        return None
    need(need(metrics, "test", path), "accuracy", path)
    return metrics


def _pictures(paths: Sequence[Path], runs: Sequence[Run]) -> dict[int, np.ndarray]:
    """Test pictures by position: those kept with the maps, and those of every pictures.npz."""
    found: dict[int, np.ndarray] = {}
    for run in runs:
        if run.maps:
            found |= {
                int(one["index"]): pixels for one, pixels in zip(run.maps.described, run.maps.pixels, strict=True)
            }
    for path in paths:
        if path.is_file():
            found |= read_pictures(path)
    return found
