"""The picture of the measurements: time over the convolution's at each stage, and growth with the number of pixels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from bars import FORWARD, STAGES, case
from matplotlib import pyplot as plt

from sightline.bench.read import baseline, named, ratio, seconds

COLOURS = {
    "sightline": "#1f5fbf",
    "sightline reference": "#8fb3e3",
    "unfold": "#d9822b",
    "SDPA with a mask": "#8a5fbf",
    "FlexAttention, compiled": "#3a9a6a",
}
SIDES = (32, 64, 128, 256)


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Write the picture."""
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.8), gridspec_kw={"width_ratios": [1.15, 1.15, 1]})
    _stages(axes[0], results, "local_attention", "SASA's operator, 7 x 7")
    _stages(axes[1], results, "local_relation", "LR-Net's operator, 7 x 7")
    _growth(axes[2], results)
    for axis in axes:
        if not axis.patches and not any(line.get_marker() == "o" for line in axis.lines):
            axis.clear()
            axis.set_axis_off()
            axis.text(0.5, 0.5, "not measured", ha="center")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _stages(axis: Any, results: Mapping[str, Any], op: str, title: str) -> None:
    width = 0.8 / len(COLOURS)
    for index, (name, colour) in enumerate(COLOURS.items()):
        for place, side in enumerate(STAGES):
            found = case(results, "ops", f"{op} {side}")
            one = None if found is None else named(found, name)
            compared = None if found is None else ratio(one, baseline(found, FORWARD), FORWARD)
            if compared is None:
                continue
            left = place + (index - (len(COLOURS) - 1) / 2) * width
            axis.bar(left, compared.median, width, color=colour, label=name)
            axis.text(left, compared.median * 1.08, _short(compared.median), ha="center", fontsize=7)
    axis.axhline(1, color="black", linewidth=1)
    axis.set_yscale("log")
    axis.set_xticks(range(len(STAGES)), [f"{side} x {side}" for side in STAGES])
    axis.set_ylabel("forward time over the 3 x 3 convolution's (line)")
    axis.set_title(title, fontsize=11)
    axis.margins(y=0.12)
    if axis.has_data():
        names = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
        axis.legend(names.values(), names.keys(), fontsize=7, frameon=False)


def _growth(axis: Any, results: Mapping[str, Any]) -> None:
    for measured in results.get("scaling", {}).get("cases", []):
        ours = named(measured, "sightline")
        if ours is None or ours["refused"]:
            continue
        points = [(side, seconds(ours, str(side))) for side in SIDES]
        known = [(side, found.median) for side, found in points if found is not None]
        slope = "" if ours["slope"] is None else f", slope {ours['slope']:.2f}"
        axis.plot(
            [side * side for side, _ in known],
            [1e3 * time for _, time in known],
            marker="o",
            markersize=4,
            label=measured["name"].replace("_", " ") + slope,
        )
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks([side * side for side in SIDES], [f"{side} x {side}" for side in SIDES])
    axis.minorticks_off()
    axis.tick_params(labelsize=8)
    axis.set_xlabel("pixels")
    axis.set_ylabel("forward, ms")
    axis.set_title("growth with the number of pixels", fontsize=11)
    if axis.has_data():
        axis.set_ylim(top=20 * axis.get_ylim()[1])  # room for the names
        axis.legend(fontsize=7, frameon=False)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"
