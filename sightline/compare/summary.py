"""compare.json: one line a net, over its seeds: accuracy with interval, paired test against the twin, cost, speed."""

import statistics
from typing import Any

import numpy as np

from sightline.compare.plan import Plan, PlannedRun
from sightline.evaluate.statistics import accuracy_interval, paired_test
from sightline.runs import RunFolder


def write_summary(plan: Plan) -> dict[str, Any]:
    """Write and return compare.json for the runs that are finished."""
    finished = [run for run in plan.runs if RunFolder(run.folder).finished()]
    by_model: dict[str, list[PlannedRun]] = {}
    for run in finished:
        by_model.setdefault(run.model, []).append(run)
    twin_hits = _hits(by_model[plan.twin]) if plan.twin in by_model else {}
    content = {
        "source": plan.splits.source,
        "models": list(plan.models),
        "seeds": list(plan.seeds),
        "twin": plan.twin,
        "runs": [{"model": run.model, "seed": run.seed, "folder": run.folder.name} for run in finished],
        "summary": [_line(model, runs, twin_hits if model != plan.twin else {}) for model, runs in by_model.items()],
    }
    RunFolder(plan.folder).write("compare", content)
    return content


def _line(model: str, runs: list[PlannedRun], twin: dict[int, np.ndarray]) -> dict[str, Any]:
    hits = _hits(runs)
    interval = accuracy_interval(np.stack(list(hits.values())))
    costs = [RunFolder(run.folder).read("cost") for run in runs]
    measured = [cost["measured"] for cost in costs]
    line = {
        "model": model,
        "runs": len(runs),
        "accuracy_mean": interval.mean,
        "accuracy_low": interval.low,
        "accuracy_high": interval.high,
        "paired_difference": None,
        "paired_p": None,
        "paired_test": None,
        "parameters": costs[0]["parameters"],
        "macs": costs[0]["macs"],
        "train_seconds": statistics.fmean(RunFolder(run.folder).read("metrics")["train_seconds"] for run in runs),
    }
    for name in ("train_images_per_second", "inference_images_per_second", "peak_memory_bytes"):
        line[name] = statistics.median(one[name] for one in measured)
    shared = [seed for seed in hits if seed in twin]
    if shared:
        paired = paired_test(np.stack([hits[s] for s in shared]), np.stack([twin[s] for s in shared]))
        line |= {"paired_difference": paired.difference, "paired_p": paired.p, "paired_test": paired.test}
    return line


def _hits(runs: list[PlannedRun]) -> dict[int, np.ndarray]:
    """By seed: which test images the net got right, in the order of the test set."""
    hits = {}
    for run in runs:
        with np.load(run.folder / "predictions.npz") as stored:
            order = np.argsort(stored["index"])
            hits[run.seed] = (stored["label"] == stored["predicted"])[order]
    return hits
