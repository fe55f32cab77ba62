"""A sheet of pictures with maps over them, rows of panels: one explanation, nets side by side, the layers of a net.

The picture lies grey beneath, so that every colour is the map's; each cell of a map is drawn over the pixels it covers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sightline.explain.draw.figure import DIVERGING, MARK, SEQUENTIAL, new_figure
from sightline.explain.explanation import Explanation

COVER = 0.72  # how much of the grey picture a map hides
DARKEST, LIGHTEST = 0.15, 0.95  # of the grey picture, so that black and white leave the colours readable
SIDE = 2.3  # inches of a panel's longer side
LINE = 0.15  # inches of a line of text


@dataclass(frozen=True)
class Panel:
    """One picture, with a map over it or without.

    Args:
        picture: what the net saw, (H, W, 3) uint8, at any resolution of the same proportions.
        title: above it.
        note: below it.
        explanation: of one picture; None: the picture alone, in its colours.
        mark: row and column of the query in pixels of the explained image of `size`.
        size: rows and columns that the mark counts in.
    """

    picture: np.ndarray
    title: str = ""
    note: str = ""
    explanation: Explanation | None = None
    mark: tuple[int, int] | None = None
    size: tuple[int, int] = (1, 1)


def draw_sheet(rows: Sequence[Sequence[Panel]], heading: str = "", one_scale: bool = False) -> Any:
    """Draw rows of panels.

    Args:
        rows: need not be of equal lengths.
        heading: above the sheet.
        one_scale: one colour scale for all maps of the sheet, else each map is scaled to its own largest value.
    """
    across = max(len(row) for row in rows)
    height, width = rows[0][0].picture.shape[:2]
    unit = SIDE / max(height, width)
    bars = 0.9 if one_scale else 0.65 * across
    lines = sum(max(_lines(panel) for panel in row) for row in rows)
    figure = new_figure(
        across * (width * unit + 0.1) + bars,
        len(rows) * (height * unit + 0.2) + LINE * lines + (0.25 if heading else 0),
    )
    axes = figure.subplots(len(rows), across, squeeze=False)
    shared = _limits([panel.explanation for row in rows for panel in row if panel.explanation]) if one_scale else None
    drawn = None
    for line, row in zip(axes, rows, strict=True):
        for axis, panel in zip(line, row, strict=False):
            drawn = _draw(figure, axis, panel, shared) or drawn
        for axis in line[len(row) :]:
            axis.set_axis_off()
    if one_scale and drawn is not None:
        unit_name = next(panel.explanation.unit for row in rows for panel in row if panel.explanation)
        _label(figure.colorbar(drawn, ax=axes, shrink=0.7, pad=0.01), f"{unit_name} (one scale for all)")
    if heading:
        figure.suptitle(heading, fontsize=10)
    return figure


def _lines(panel: Panel) -> int:
    """Lines of text above and below a panel."""
    return sum(len(text.splitlines()) for text in (panel.title, panel.note))


def _draw(figure: Any, axis: Any, panel: Panel, shared: tuple[float, float, str] | None) -> Any:
    height, width = panel.size
    extent = (0, width, height, 0)
    axis.set_title(
        panel.title, fontsize=8, parse_math=False
    )  # a "$" in the name of a file or a class begins no formula
    axis.set_xlabel(panel.note, fontsize=7, labelpad=2, parse_math=False)
    axis.set_xticks([])
    axis.set_yticks([])
    drawn = None
    if panel.explanation is None:
        axis.imshow(panel.picture, extent=extent, interpolation="nearest")
    else:
        drawn = _scale(shared or _limits([panel.explanation]))
        axis.imshow(_over(panel, drawn), extent=extent, interpolation="nearest")
        if shared is None:
            _label(figure.colorbar(drawn, ax=axis, fraction=0.05, pad=0.02), panel.explanation.unit)
    if panel.mark is not None:
        _mark(axis, panel.mark)
    axis.set_xlim(0, width)
    axis.set_ylim(height, 0)
    return drawn


def _label(bar: Any, unit: str) -> None:
    bar.ax.tick_params(labelsize=6)
    bar.set_label(unit, fontsize=6)


def _mark(axis: Any, mark: tuple[int, int]) -> None:
    row, col = mark[0] + 0.5, mark[1] + 0.5
    axis.plot(col, row, marker="o", ms=8, mfc="none", mec="white", mew=3)
    axis.plot(col, row, marker="o", ms=8, mfc="none", mec=MARK, mew=1.5)


def _limits(explanations: Sequence[Explanation]) -> tuple[float, float, str]:
    """Lowest and highest value of the colours, and the colours."""
    largest = max(float(one.maps.abs().max()) for one in explanations) or 1.0
    if not all(one.maps.isfinite().all() for one in explanations):
        raise ValueError("a map holds values that are not finite; the net's weights or its answer are not")
    return (-largest, largest, DIVERGING) if any(one.signed for one in explanations) else (0.0, largest, SEQUENTIAL)


def _scale(limits: tuple[float, float, str]) -> Any:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    low, high, colours = limits
    return ScalarMappable(Normalize(low, high), colours)


def _over(panel: Panel, scale: Any) -> np.ndarray:
    """The colours of the map over the grey picture, at the finer of the two resolutions: (h, w, 3), 0 to 1."""
    cells = panel.explanation.over_image()[0].numpy()  # type: ignore[union-attr]
    rows, cols = (max(a, b) for a, b in zip(panel.picture.shape[:2], cells.shape, strict=True))
    colours = scale.to_rgba(cells)[..., :3]
    light = panel.picture @ np.array([0.299, 0.587, 0.114]) / 255
    grey = (DARKEST + (LIGHTEST - DARKEST) * light)[..., None]
    return COVER * _stretch(colours, rows, cols) + (1 - COVER) * _stretch(grey, rows, cols)


def _stretch(pixels: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """Nearest pixels at another size."""
    down = (np.arange(rows) * pixels.shape[0]) // rows
    across = (np.arange(cols) * pixels.shape[1]) // cols
    return pixels[down][:, across]
