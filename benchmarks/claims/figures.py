"""The pictures of docs/claims.md: accuracy of the trained small nets against their cost, and of others against the data's share.

From docs/results/cifar10.json and docs/results/shares.json; colours and markers are the report's.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

from benchmarks.claims.trained import nets, shares
from sightline.report.families import family_of, labels

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
COST, SHARES = IMAGES / "claims_cost.png", IMAGES / "claims_shares.png"
MARKERS = {
    "circle": "o",
    "square": "s",
    "plus": "P",
    "triangle": "^",
    "diamond": "D",
    "hexagon": "h",
    "down": "v",
    "star": "*",
    "cross": "X",
}
ARMS = {
    "convolution": ("resnet_mini", "-"),
    "transformer": ("vit_mini", "-"),
    "transformer, DeiT's recipe": ("vit_mini", "--"),
    "token, hard, from convolution": ("deit_mini_distilled", ""),
    "token, soft, from convolution": ("deit_mini_distilled", ""),
    "token, hard, from transformer": ("deit_mini_distilled", ""),
}
MISSING = dict.fromkeys(("accuracy", "low", "high"), float("nan"))  # breaks a line
FILLS = {
    "transformer, DeiT's recipe": "white",
    "token, soft, from convolution": "white",
    "token, hard, from transformer": "#d9b3b9",
}


def draw() -> None:
    """Write the pictures whose data are there."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    if nets():
        _write(COST, _cost, 11)
    if shares():
        _write(SHARES, _shares, 8)


def _write(path: Path, fill: Callable[[Any], None], width: float) -> None:
    figure = plt.figure(figsize=(width, 4.5), layout="constrained")
    fill(figure)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _cost(figure: Any) -> None:
    found = nets()
    names = labels(list(found))
    left, right = figure.subplots(1, 2, sharey=True)
    for axis, key, unit, title in (
        (left, "parameters", 1e3, "parameters, thousands"),
        (right, "macs", 1e6, "multiply-adds, millions"),
    ):
        drawn: set[str] = set()
        for model, one in found.items():
            test = one["test"]
            away = [[100 * (test["accuracy"] - test["low"])], [100 * (test["high"] - test["accuracy"])]]
            family = family_of(model)
            taller = 12 if family.marker == "star" else 8
            axis.errorbar(
                one[key] / unit,
                100 * test["accuracy"],
                away,
                fmt=MARKERS[family.marker],
                ms=taller,
                color=family.light,
                elinewidth=1,
                label=names[model],
                mfc="white" if family.marker in drawn else None,  # the second net of a family
            )
            drawn.add(family.marker)
        axis.set_xlabel(title)
        _quiet(axis)
    left.set_ylabel("test accuracy, %")
    figure.legend(*left.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=9)


def _shares(figure: Any) -> None:
    axis, found = figure.subplots(), shares()
    ticks = sorted({share for _, share in found})
    for arm, (model, dash) in ARMS.items():
        tests = [found[arm, share]["test"] if (arm, share) in found else MISSING for share in ticks]
        if all(one is MISSING for one in tests):
            continue
        family = family_of(model)
        axis.errorbar(
            ticks,
            [100 * one["accuracy"] for one in tests],
            [[100 * abs(one["accuracy"] - one[end]) for one in tests] for end in ("low", "high")],
            label=arm,
            color=family.light,
            linestyle=dash or "none",
            ms=6,
            marker=MARKERS[family.marker],
            elinewidth=1,
            mfc=FILLS.get(arm, family.light),
        )
    axis.set_xscale("log")
    axis.set_xticks(ticks, [f"{share}%" for share in ticks])
    axis.minorticks_off()
    axis.set_xlabel("share of the 45,000 training images")
    axis.set_ylabel("test accuracy, %")
    _quiet(axis)
    axis.legend(frameon=False, fontsize=9)


def _quiet(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color="#e8e8e8", linewidth=0.7)
    axis.set_axisbelow(True)
