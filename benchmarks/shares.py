"""Convolution and attention on shares of CIFAR-10, DeiT's recipe, and distillation: the trainings behind claims T3, T4, D4 and D5.

    .venv/bin/python benchmarks/shares.py cifar10/            # what is not finished; five hours of one core
    .venv/bin/python benchmarks/shares.py cifar10/ vit_mini   # of one net

Every net sees about as many images as the others, four times the 45,000 of the full set (in whole epochs, so 2% fewer on 30%), at
16 pixels a side, under recipe cifar10, the transformers at half its rate and in float32, which suits them: a share of 1% is gone
through 400 times. So the amount of data differs and the budget does not. Runs lie in runs/shares, results in
docs/results/shares.json.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.cli.loading import load
from sightline.cli.progress import display
from sightline.evaluate import wilson_interval
from sightline.recipes import Recipe, get, override
from sightline.runs import RunFolder, environment
from sightline.train import train

ROOT = Path(__file__).resolve().parent.parent
RUNS, RESULT = Path("runs/shares"), ROOT / "docs" / "results" / "shares.json"
SHARES, IMAGES, PASSES = (1, 3, 10, 30, 100), 45_000, 4
SMALL = ("image_size=16", "small_size=none", "small_epochs=0")
# Transformers: half of recipe cifar10's rate, in float32, as in evidence.py.
ATTENTION = ("lr=1e-2", "precision=no")
# DeiT's augmentation and regularisation (arXiv 2012.12877, table 9) but for repeated augmentation.
DEIT = (
    *ATTENTION,
    "mixup=0.8",
    "cutmix=1.0",
    "randaugment_ops=2",
    "randaugment_std=0.5",
    "erasing=0.25",
    "drop_path=0.1",
    "label_smoothing=0.1",
)


@dataclass(frozen=True)
class Arm:
    """A way of training, on some shares of the data.

    Args:
        name: in files and tables.
        model: of the catalogue.
        shares: per cent of the training images.
        changes: to the recipe.
        teacher: the arm whose net on the full set teaches.
    """

    name: str
    model: str
    shares: tuple[int, ...] = SHARES
    changes: tuple[str, ...] = ()
    teacher: str | None = None


ARMS = (
    Arm("convolution", "resnet_mini"),
    Arm("transformer", "vit_mini", changes=ATTENTION),
    Arm("transformer, DeiT's recipe", "vit_mini", changes=DEIT),
    Arm("token, hard, from convolution", "deit_mini_distilled", (100,), ATTENTION, "convolution"),
    Arm(
        "token, soft, from convolution", "deit_mini_distilled", (100,), (*ATTENTION, "distillation=soft"), "convolution"
    ),
    Arm("token, hard, from transformer", "deit_mini_distilled", (100,), ATTENTION, "transformer"),
)


def folder(arm: Arm, share: int) -> Path:
    """Where a run lies."""
    return RUNS / f"{arm.name.replace(', ', '-').replace(' ', '-')}-{share}".replace("'", "")


def recipe_of(arm: Arm, share: int) -> Recipe:
    """The recipe of an arm on a share: the same number of images seen, looked at once, at the end."""
    epochs = PASSES * 100 // share
    changes = [f"epochs={epochs}", f"eval_every={epochs}", f"checkpoint_every={max(epochs // PASSES, 1)}", *SMALL]
    changes += [f"train_limit={IMAGES * share // 100}", f"warmup_epochs={epochs / 8}", *arm.changes]
    if arm.teacher is None:
        return override(get("cifar10"), changes)
    teacher = next(one for one in ARMS if one.name == arm.teacher)
    return override(get("kd_cifar10"), [*changes, f"teacher={folder(teacher, 100)}"])


def entry(arm: Arm, share: int) -> dict[str, Any]:
    """What a finished run of an arm says."""
    about = {"arm": arm.name, "model": arm.model, "share": share, "images": IMAGES * share // 100}
    return about | entry_of(folder(arm, share))


def entry_of(path: Path) -> dict[str, Any]:
    """What a finished run says."""
    run = RunFolder(path)
    metrics = run.read("metrics")
    test = metrics["test"]
    interval = wilson_interval(round(test["accuracy"] * test["n"]), test["n"])
    return {
        "epochs": metrics["epochs"],
        "seed": run.read("recipe")["recipe"]["seed"],
        "val_accuracy": metrics["val"]["accuracy"],
        "test": {"n": test["n"], "accuracy": test["accuracy"], "low": interval.low, "high": interval.high},
        "train_seconds": round(metrics["train_seconds"], 1),
        "commit": run.read("env")["commit"],
    }


def main(arguments: list[str]) -> None:
    """`DATA [NETS ...]`."""
    if not arguments:
        raise SystemExit(__doc__)
    data, *only = arguments
    for arm in ARMS:
        for share in arm.shares if not only or arm.model in only else ():
            if not RunFolder(folder(arm, share)).finished():
                recipe = recipe_of(arm, share)
                with display() as shown:
                    train(
                        recipe,
                        arm.model,
                        load(data, recipe),
                        folder(arm, share),
                        resume=True,
                        progress=shown.training,
                    )
            print(f"{arm.name}, {share}%: test {entry(arm, share)['test']['accuracy']:.2%}", flush=True)
    write()


def write() -> None:
    """docs/results/shares.json, of all that is finished."""
    runs = [(arm, share) for arm in ARMS for share in arm.shares]
    done = [one for one in runs if RunFolder(folder(*one)).finished()]
    content = {
        "schema": 1,
        "command": "benchmarks/shares.py",
        "image_size": 16,
        "images_seen": PASSES * IMAGES,
        "environment": environment(),
        "runs": [entry(*one) for one in done],
    }
    RESULT.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
