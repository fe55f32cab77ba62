"""Attention distance of every head by layer, ViT's figure 7, nets side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from sightline.explain.distance import LayerDistance
from sightline.explain.draw.curves import COLOURS
from sightline.explain.draw.figure import new_figure


def draw_distances(measured: Mapping[str, Sequence[LayerDistance]], heading: str = "") -> Any:
    """One panel a net: a dot a head (or channel group), the mean over pictures, by the layer's place in the net."""
    figure = new_figure(2.6 * len(measured) + 0.8, 3.2)
    axes = figure.subplots(1, len(measured), sharey=True, squeeze=False)[0]
    for index, (axis, (name, layers)) in enumerate(zip(axes, measured.items(), strict=True)):
        for place, layer in enumerate(layers, 1):
            heads = layer.distance.mean(0).tolist()
            axis.plot(
                [place] * len(heads), heads, "o", ms=5, alpha=0.75, mec="none", color=COLOURS[index % len(COLOURS)]
            )
        axis.set_title(name, fontsize=9, parse_math=False)
        axis.set_xlabel("attention layer", fontsize=8)
        axis.set_xticks(range(1, len(layers) + 1))
        axis.tick_params(labelsize=7)
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("mean attention distance (pixels), a dot a head", fontsize=8)
    if heading:
        figure.suptitle(heading, fontsize=10)
    return figure
