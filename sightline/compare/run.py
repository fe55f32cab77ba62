"""Run a comparison: train what is missing, reuse what is there, then write the summary and the report."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sightline.compare.extras import write_cost, write_examples, write_maps
from sightline.compare.plan import Plan, PlannedRun, state
from sightline.compare.summary import write_summary
from sightline.evaluate import load_run
from sightline.report import build_report
from sightline.runs import RunFolder
from sightline.train import TrainingProgress, train


@dataclass(frozen=True)
class Progress:
    """Where a comparison stands: which run of how many, its state, and the training's own progress.

    `state` is what was found of the run ("new", "begun", "finished"), or "measuring" once it is trained; `training` is None when
    the run begins and while it is measured.
    """

    run: PlannedRun
    position: int
    total: int
    state: str
    training: TrainingProgress | None = None


def compare(plan: Plan, again: bool = False, progress: Callable[[Progress], None] | None = None) -> Path:
    """Train every planned run that is not finished, and return the path of the report.

    A finished run of the same recipe, net and data is reused, a begun one continued; one that differs stops the comparison before
    anything is trained. Interrupted, it leaves finished runs usable, and the same call continues.

    Args:
        plan: what to compare.
        again: delete the planned runs that exist and train all anew.
        progress: called at the start of a run, after each step and at its end.

    Raises:
        ValueError: a folder of the plan holds another run.
    """
    if again:
        for run in plan.runs:
            shutil.rmtree(run.folder, ignore_errors=True)
    states = [state(run, plan.splits) for run in plan.runs]
    report = progress if progress is not None else _silent
    for position, (run, found) in enumerate(zip(plan.runs, states, strict=True)):
        report(Progress(run, position, len(plan.runs), found))
        if found != "finished":
            train(
                run.recipe,
                run.model,
                plan.splits,
                run.folder,
                resume=found == "begun",
                progress=lambda p, run=run, position=position, found=found: report(
                    Progress(run, position, len(plan.runs), found, p)
                ),
            )
        if _incomplete(run):
            report(Progress(run, position, len(plan.runs), "measuring"))
            _complete(run, plan)
    write_summary(plan)
    write_examples(plan.folder, plan.splits.test)
    return build_report(plan.folder)


def _incomplete(run: PlannedRun) -> bool:
    """Does a trained run lack its cost or its maps?"""
    return not (RunFolder(run.folder).file("cost").exists() and (run.folder / "maps" / "maps.json").exists())


def _complete(run: PlannedRun, plan: Plan) -> None:
    """Add cost and maps to a trained run."""
    model, _ = load_run(run.folder)
    write_cost(RunFolder(run.folder), model, plan.splits.image_size, run.recipe.batch_size)
    write_maps(RunFolder(run.folder), model, plan.splits)


def _silent(_progress: Progress) -> None:
    pass
