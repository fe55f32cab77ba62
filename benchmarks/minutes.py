"""Minutes that each net of the quick tier takes on this machine alone: a share of its run, from the first epoch's size to the last.

    .venv/bin/python benchmarks/minutes.py cifar10/   # a quarter of an hour on two cores that do nothing else

Each net's own recipe of evidence.py, all its epochs, with 1,280 of the 45,000 images an epoch, twice, the nets in turn. The time of
the steps times 45,000 / 1,280, and the evaluations of the whole run at the measured speed, make the minutes. Where a net starts
from does not change its time; the distilled net's teacher is the box's. Results: docs/results/minutes.json and docs/training.md.
"""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from evidence import RUNS, STEPS, TWIN, Step, recipe_of

from sightline.cli.loading import load
from sightline.cli.progress import display
from sightline.recipes import override
from sightline.runs import environment
from sightline.train import train

ROOT = Path(__file__).resolve().parent.parent
RESULT, PAGE = ROOT / "docs" / "results" / "minutes.json", ROOT / "docs" / "training.md"
MARKED = re.compile(r"(<!-- minutes -->\n).*?(<!-- /minutes -->)", re.S)
TRAINED, HELD_BACK, TEST = 45_000, 5_000, 8_000  # images of the whole run
LIMIT, ROUNDS = 1_280, 2


def minutes(step: Step, data: str) -> dict[str, float]:
    """Of one net: minutes of the steps and of the evaluations, from a share of its run."""
    whole = recipe_of(step, RUNS, scratch=False)
    recipe = override(whole, [f"train_limit={LIMIT}", f"test_limit={LIMIT}", f"eval_every={whole.epochs}"])
    recipe = replace(recipe, teacher=f"{TWIN}:cifar10") if recipe.teacher else recipe
    with TemporaryDirectory() as folder, display() as shown:
        metrics = train(recipe, step.model, load(data, recipe), folder, progress=shown.training)
    looked_at = HELD_BACK * (-(-whole.epochs // whole.eval_every) + 1) + TEST  # while it trains, and at its end
    return {
        "training": metrics["train_seconds"] / 60 * TRAINED / LIMIT,
        "evaluation": looked_at / metrics["inference_images_per_second"] / 60,
    }


def table(content: dict[str, Any]) -> str:
    """The minutes in Markdown."""
    lines = ["| net | recipe | epochs | minutes, rounds | of them evaluation |", "|---|---|---:|---:|---:|"]
    for net in content["nets"]:
        took = sorted(one["training"] + one["evaluation"] for one in net["rounds"])
        looking = max(one["evaluation"] for one in net["rounds"])
        spread = " .. ".join(f"{some:.1f}" for some in took)
        lines.append(f"| `{net['run']}` | `{net['recipe']}` | {net['epochs']} | {spread} | {looking:.1f} |")
    whole = sum(sum(one.values()) for net in content["nets"] for one in net["rounds"]) / ROUNDS / 60
    machine = content["environment"]
    commit = (machine["commit"] or "unknown")[:12]
    note = (
        f"`make evidence` as a whole: {whole:.1f} hours. "
        f"{machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}, commit {commit}; "
        f"{content['images']:,} of {TRAINED:,} images an epoch, {ROUNDS} rounds. From [results/minutes.json](results/minutes.json)."
    )
    return "\n".join([*lines, "", note])


def main(arguments: list[str]) -> None:
    """`DATA [NETS ...]`: measure; only with all nets the results are written."""
    if not arguments:
        raise SystemExit(__doc__)
    data, *only = arguments
    chosen = [step for step in STEPS if not only or step.model in only]
    rounds: dict[str, list[dict[str, float]]] = {step.run: [] for step in chosen}
    for _ in range(ROUNDS):
        for step in chosen:
            rounds[step.run].append(minutes(step, data))
            print(f"{step.run}: {sum(rounds[step.run][-1].values()):.1f} minutes", flush=True)
    nets = [
        {
            "run": step.run,
            "model": step.model,
            "recipe": step.recipe,
            "epochs": recipe_of(step, RUNS, scratch=False).epochs,
        }
        | {"rounds": rounds[step.run]}
        for step in chosen
    ]
    content = {
        "schema": 1,
        "command": "benchmarks/minutes.py",
        "images": LIMIT,
        "environment": environment(),
        "nets": nets,
    }
    print(table(content))
    if not only:
        RESULT.write_text(json.dumps(content, indent=1) + "\n")
        PAGE.write_text(MARKED.sub(lambda match: match[1] + table(content) + "\n" + match[2], PAGE.read_text()))


if __name__ == "__main__":
    main(sys.argv[1:])
