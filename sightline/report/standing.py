"""Where each net stands: one typed line a model, from compare.json or, for runs nobody compared, from the runs themselves."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sightline.report.families import Family, family_of, labels
from sightline.report.load import Comparison, Run
from sightline.report.numbers import wilson

ALPHA = 0.05


@dataclass(frozen=True)
class Standing:
    """One net. Accuracies are shares 0..1, None where unknown; `beyond` says whether the difference is more than noise.

    Args:
        finished, planned: runs that ended, runs asked for.
        low, high: ends of the interval of the accuracy.
        difference, p: accuracy minus the twin's, and the paired test's p-value.
        beyond: whether p stays below ALPHA after Holm's correction for all nets of the page; None without a test.
        status: "" when all runs finished, else what is missing, in words.
    """

    model: str
    label: str
    family: Family
    twin: bool
    finished: int
    planned: int
    status: str
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    difference: float | None = None
    p: float | None = None
    beyond: bool | None = None
    parameters: int | None = None
    macs: int | None = None
    train_speed: float | None = None
    inference_speed: float | None = None
    memory: int | None = None
    seconds: float | None = None


def standings(comparison: Comparison) -> list[Standing]:
    """One standing a model, the most accurate first, those without an accuracy last."""
    summary = comparison.summary or [_line(comparison.of(model)) for model in comparison.models]
    lines = {line["model"]: line for line in summary}
    beyond = holm({model: line["paired_p"] for model, line in lines.items() if line.get("paired_p") is not None})
    short = labels(comparison.models)
    found = [
        _standing(comparison, model, short[model], lines.get(model, {}), beyond.get(model))
        for model in comparison.models
    ]
    return sorted(found, key=lambda one: -1.0 if one.accuracy is None else one.accuracy, reverse=True)


def holm(p_values: dict[str, float], alpha: float = ALPHA) -> dict[str, bool]:
    """Which p-values stay significant when all are looked at together (Holm 1979): the k-th smallest of m needs alpha / (m - k)."""
    significant, rejecting = {}, True
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        rejecting = rejecting and p <= alpha / (len(p_values) - rank)
        significant[name] = rejecting
    return significant


def _standing(comparison: Comparison, model: str, label: str, line: dict[str, Any], beyond: bool | None) -> Standing:
    runs = comparison.of(model)
    return Standing(
        model=model,
        label=label,
        family=family_of(model),
        twin=model == comparison.twin,
        finished=sum(run.metrics is not None for run in runs),
        planned=len(runs),
        status=_status(runs),
        accuracy=line.get("accuracy_mean"),
        low=line.get("accuracy_low"),
        high=line.get("accuracy_high"),
        difference=line.get("paired_difference"),
        p=line.get("paired_p"),
        beyond=beyond,
        parameters=line.get("parameters"),
        macs=line.get("macs"),
        train_speed=line.get("train_images_per_second"),
        inference_speed=line.get("inference_images_per_second"),
        memory=line.get("peak_memory_bytes"),
        seconds=line.get("train_seconds"),
    )


def _status(runs: Sequence[Run]) -> str:
    """What is unfinished, in words; "" when nothing is."""
    open_runs = [run for run in runs if run.metrics is None]
    return "; ".join(_stand(run, several=len(runs) > 1) for run in open_runs)


def _stand(run: Run, several: bool) -> str:
    where = f"seed {run.seed}: " if several else ""
    if not run.recipe:
        return f"{where}not begun"
    done = len(run.log)
    return f"{where}{'trained, not tested' if run.epochs and done >= run.epochs else f'{done} of {run.epochs} epochs trained'}"


def _line(runs: Sequence[Run]) -> dict[str, Any]:
    """A line as compare.json has them, without a paired test: Wilson's interval for one run, the extremes of several."""
    finished = [run for run in runs if run.metrics is not None]
    line: dict[str, Any] = {"model": runs[0].model}
    if not finished:
        return line
    metrics = [run.metrics for run in finished if run.metrics is not None]
    tests = [one["test"] for one in metrics]
    accuracies = [one["accuracy"] for one in tests]
    low, high = min(accuracies), max(accuracies)
    if len(tests) == 1 and tests[0].get("n"):
        low, high = wilson(round(tests[0]["accuracy"] * tests[0]["n"]), tests[0]["n"])
    cost = finished[0].cost or {}
    line |= {"accuracy_mean": statistics.fmean(accuracies), "accuracy_low": low, "accuracy_high": high}
    line |= {"parameters": cost.get("parameters"), "macs": cost.get("macs")}
    for name in ("train_images_per_second", "inference_images_per_second", "peak_memory_bytes", "train_seconds"):
        measured = [cost.get("measured", {}).get(name, one.get(name)) for one in metrics]
        known = [value for value in measured if value is not None]
        line[name] = statistics.median(known) if known else None
    return line
