"""Deletion and insertion curves of several explanations, each beside random maps on its own grid."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from sightline.explain.draw.figure import new_figure
from sightline.explain.faithfulness import Faithfulness

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c6d1f")  # Okabe and Ito


def draw_curves(played: Mapping[str, Mapping[str, Faithfulness]], heading: str = "") -> Any:
    """A row a net, a colour a method: mean curves, full lines found, dotted ones random; the areas in the legend."""
    figure = new_figure(10, 2.9 * len(played) + 0.4)
    axes = figure.subplots(len(played), 2, squeeze=False)
    for row, (net, methods) in zip(axes, played.items(), strict=True):
        for index, (name, one) in enumerate(methods.items()):
            colour = COLOURS[index % len(COLOURS)]
            deletion, insertion = float(one.found.deletion_area.mean()), float(one.found.insertion_area.mean())
            _line(row[0], one.found.deletion, one.random.deletion, colour, "")
            _line(row[1], one.found.insertion, one.random.insertion, colour, f"{name}: {deletion:.3f}, {insertion:.3f}")
        row[1].plot([], [], color="grey", lw=1, ls=":", label="random, same cells")
        row[1].legend(
            fontsize=7,
            frameon=False,
            loc="center left",
            bbox_to_anchor=(1.02, 0.5),
            title="areas: deletion, insertion",
            title_fontsize=7,
        )
        # the net's name, which may be long, has a line of its own that runs on over the second panel
        _frame(row[0], f"{net}\ndeletion, lower is better", "share of pixels taken away, the map's highest first")
        _frame(row[1], "insertion, higher is better", "share of pixels shown, the map's highest first")
        row[0].set_ylabel("probability of the class", fontsize=8)
    if heading:
        figure.suptitle(heading, fontsize=10)
    return figure


def _line(axis: Any, found: Tensor, random: Tensor, colour: str, label: str) -> None:
    share = np.linspace(0, 1, found.shape[1])
    axis.plot(share, found.mean(0).numpy(), color=colour, lw=1.8, label=label)
    axis.plot(share, random.mean(0).numpy(), color=colour, lw=1, ls=":")


def _frame(axis: Any, title: str, along: str) -> None:
    axis.set_title(title, fontsize=9, loc="left", parse_math=False)
    axis.set_xlabel(along, fontsize=8)
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
