"""From finished runs to the box: weights as halves, a model card each, and docs/results/cifar10.json; see evidence.py."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sightline.backbones import family_of
from sightline.cost import count
from sightline.data import Splits
from sightline.evaluate import evaluate, wilson_interval
from sightline.recipes import get
from sightline.runs import RunFolder
from sightline.weights import load_run, save_weights

ROOT = Path(__file__).resolve().parent.parent
BOX, RESULTS = ROOT / "sightline" / "weights" / "box", ROOT / "docs" / "results" / "cifar10.json"
PAGE = ROOT / "docs" / "weights.md"
MARKED = re.compile(r"(<!-- box -->\n).*?(<!-- /box -->)", re.S)
NAME, LIMIT = "cifar10", 2_000_000
PLACES = (
    "name",
    "card",
    "teacher",
    "workers",
    "checkpoint_every",
    "seed",
)  # fields that are told elsewhere or tell nothing


def export_all(runs: Path, models: list[str], order: list[str], stages: list[str], splits: Splits) -> None:
    """Put what is finished and not there yet into the box. Of what is there, how it was trained is told anew, as the difference
    from its recipe, which may have changed since. Entries without a run stay as they are. Stages, runs that others are compared
    with, are told of without weights."""
    BOX.mkdir(exist_ok=True)
    told = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"nets": []}
    known = {one["model"]: one for one in told["nets"]}
    beside = told.get("stages", {}) | {
        name: _training(run) for name in stages if (run := RunFolder(runs / name)).exists() and run.finished()
    }
    for model in models:
        run = RunFolder(runs / model)
        if run.exists() and run.finished():
            boxed = _is_boxed(run, known.get(model))
            known[model] = known[model] | _training(run) if boxed else export(run, splits)
            (BOX / f"{model}.{NAME}.md").write_text(card(known[model]))
            print(f"{model}: {known[model]['file_bytes']:,} bytes, test {known[model]['test']['accuracy']:.2%}")
    sizes = {name: len(getattr(splits, name)) for name in ("train", "val", "test")}
    content = {
        "schema": 1,
        "command": "make evidence",
        "data": {"sizes": sizes, "fingerprint": splits.fingerprint},
        "nets": [known[model] for model in order if model in known],
        "stages": beside,
    }
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    PAGE.write_text(MARKED.sub(lambda match: match[1] + table(content) + "\n" + match[2], PAGE.read_text()))


def _is_boxed(run: RunFolder, entry: dict[str, Any] | None) -> bool:
    """Is it this very run whose weights lie in the box?"""
    file = BOX / f"{run.read('recipe')['model']['name']}.{NAME}.safetensors"
    return entry is not None and file.exists() and entry["environment"] == run.read("env")


def table(content: dict[str, Any]) -> str:
    """The nets of the box in Markdown, for docs/weights.md."""
    lines = [
        "| net | family | test accuracy (95%) | validation | epochs | starts from | parameters | file |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in content["nets"]:
        test = one["test"]
        start = f"`{one['starts_from']['model']}`" if one["starts_from"] else "random weights"
        lines.append(
            f"| [`{one['model']}`](../sightline/weights/box/{one['model']}.{NAME}.md) | {one['family']} "
            f"| {test['accuracy']:.1%} ({test['low']:.1%} .. {test['high']:.1%}) | {one['val']['accuracy']:.1%} | {one['epochs']} "
            f"| {start} | {one['parameters']:,} | {one['file_bytes'] / 1e6:.2f} MB |"
        )
    sizes = content["data"]["sizes"]
    note = (
        f"{sizes['test']:,} test images, looked at once a net; {sizes['val']:,} images held back from training for every choice; "
        "one seed. Only nets of the same start and epochs may be compared. From [results/cifar10.json](results/cifar10.json)."
    )
    return "\n".join([*lines, "", note])


def export(run: RunFolder, splits: Splits) -> dict[str, Any]:
    """Write one net's weights; its entry of the results."""
    model, meta = load_run(run.path)
    file = BOX / f"{meta.name}.{NAME}.safetensors"
    save_weights(file, model, replace(meta, source=NAME), torch.float16)  # the set by name: a path tells of a machine
    if file.stat().st_size > LIMIT:
        raise ValueError(f"{file.name} has {file.stat().st_size:,} bytes, more than the {LIMIT:,} a net may take")
    cost = count(model, meta.image_size)
    return _training(run) | {
        "family": family_of(meta.name).name,
        "parameters": cost.parameters,
        "macs": cost.macs,
        "file_bytes": file.stat().st_size,
        "rounding": _rounding(model, file, splits),
        "environment": run.read("env"),
    }


def _training(run: RunFolder) -> dict[str, Any]:
    """What a net has been through, and how well it does."""
    recorded, metrics = run.read("recipe"), run.read("metrics")
    recipe = recorded["recipe"]
    base = get(recipe["name"])
    before = recorded.get("finetune")
    return {
        "model": recorded["model"]["name"],
        "recipe": recipe["name"],
        "changes": {
            key: recipe[key] for key in recipe if key not in PLACES and _differ(recipe[key], getattr(base, key))
        },
        "starts_from": _training(RunFolder(run.path.parent / Path(before["source"]).name)) if before else None,
        "teacher": Path(recipe["teacher"]).name if recipe["teacher"] else None,
        "epochs": metrics["epochs"],
        "small_size": recipe["small_size"],
        "small_epochs": recipe["small_epochs"],
        "seed": recipe["seed"],
        "val": _accuracy(metrics["val"]),
        "test": _accuracy(metrics["test"]),
        "train_seconds": round(metrics["train_seconds"], 1),
        "train_images_per_second": round(metrics["train_images_per_second"], 1),
    }


def _differ(here: Any, there: Any) -> bool:
    return (tuple(here) if isinstance(here, list) else here) != there


def _accuracy(result: dict[str, Any]) -> dict[str, Any]:
    interval = wilson_interval(round(result["accuracy"] * result["n"]), result["n"])
    return {
        "n": result["n"],
        "accuracy": result["accuracy"],
        "low": round(interval.low, 5),
        "high": round(interval.high, 5),
        "loss": round(result["loss"], 4),
        "ece": round(result["ece"], 4),
    }


def _rounding(model: torch.nn.Module, file: Path, splits: Splits) -> dict[str, Any]:
    """What rounding to halves does to the answers on validation images."""
    rounded, meta = load_run(file)
    whole, half = (evaluate(net, splits.val, meta.mean, meta.std) for net in (model, rounded))
    return {
        "n": len(splits.val),
        "val_accuracy_float32": whole.accuracy,
        "val_accuracy_float16": half.accuracy,
        "answers_changed": int((whole.predictions != half.predictions).sum()),
    }


def write_cards() -> None:
    """The cards again, from the committed JSON: after `sightline evaluate --robustness` has looked at the nets."""
    for entry in json.loads(RESULTS.read_text())["nets"]:
        (BOX / f"{entry['model']}.{NAME}.md").write_text(card(entry))


def _robustness(model: str) -> dict[str, str]:
    """Lines of a card, where docs/results/robustness has the net."""
    file = RESULTS.parent / "robustness" / f"{model}.json"
    if not file.exists():
        return {}
    found = json.loads(file.read_text())
    turned = [one["accuracy"] for one in found["shifts"] if one["name"] in ("rotated 90", "rotated 180", "rotated 270")]
    damaged = [one["accuracy"] for one in found["shifts"] if one["kind"] == "corruption"]
    worst = [one for one in found["attacks"] if one["attack"] == "worst case" and one["norm"] == "linf"]
    under = ", ".join(f"{one['accuracy']:.1%} within {one['eps']:g}/255" for one in worst)
    turns = (
        f"{sum(turned) / len(turned):.1%} turned by 90, 180 or 270 degrees" if None not in turned else "turns refused"
    )
    return {
        "changed pictures": f"{turns}, {sum(damaged) / len(damaged):.1%} damaged (8 kinds, 5 severities), n = {found['n']:,}",
        "under attack": f"{under} (worst case, n = {len(found['attacked']):,}); not trained against attacks: do not rely on it "
        "where somebody may want it to be wrong",
    }


def card(entry: dict[str, Any]) -> str:
    """The model card, in Markdown."""
    rows = "\n".join(f"| {key} | {value} |" for key, value in _facts(entry).items())
    return f"""# {entry["model"]}, weights `{NAME}`

```python
import sightline

model = sightline.create_model("{entry["model"]}", weights="{NAME}").eval()
```

| | |
|---|---|
{rows}

For trying out and for demonstrations: ten classes of objects on pictures of 32 x 32 pixels. A picture of anything else gets one of
the ten names all the same. Not for decisions about people or safety. Written by `make evidence`.
"""


def _origin(start: dict[str, Any] | None) -> str:
    if start is None:
        return "from random weights"
    grown = (
        f", images growing from {start['small_size']} pixels over {start['small_epochs']}"
        if start["small_size"]
        else ""
    )
    return (
        f"from the weights of a `{start['model']}` of {start['val']['accuracy']:.1%} on validation images (`{start['recipe']}`, "
        f"{start['epochs']} epochs{grown}; {_origin(start['starts_from'])})"
    )


def _facts(entry: dict[str, Any]) -> dict[str, str]:
    test, val, env, rounding = entry["test"], entry["val"], entry["environment"], entry["rounding"]
    changed = ", ".join(f"`{key}={value}`" for key, value in entry["changes"].items())
    origin = _origin(entry["starts_from"])
    teacher = f", taught by `{entry['teacher']}`" if entry["teacher"] else ""
    return {
        "net": f"`{entry['model']}` ({entry['family']}), {entry['parameters']:,} parameters, "
        f"{entry['macs'] / 1e6:.1f} M multiply-adds an image of 32 x 32",
        "data": f"CIFAR-10 (Krizhevsky 2009); {val['n']:,} of its training images held back for every choice",
        "recipe": f"`{entry['recipe']}`{' with ' + changed if changed else ''}, {entry['epochs']} epochs, {origin}{teacher}, "
        f"seed {entry['seed']}",
        "test accuracy": f"**{test['accuracy']:.2%}** ({test['low']:.2%} .. {test['high']:.2%}, 95%, n = {test['n']:,}), "
        f"looked at once; calibration error {test['ece']:.3f}",
        **_robustness(entry["model"]),
        "validation accuracy": f"{val['accuracy']:.2%} (n = {val['n']:,})",
        "file": f"{entry['file_bytes']:,} bytes, float16; rounding changes {rounding['answers_changed']} of {rounding['n']:,} "
        "answers on validation images",
        "training": f"{entry['train_seconds'] / 60:.0f} minutes on {env['threads']} thread(s) of a machine shared with other work "
        f"({env['cpu']}, torch {env['torch']}, commit {(env['commit'] or 'unknown')[:12]})",
    }
