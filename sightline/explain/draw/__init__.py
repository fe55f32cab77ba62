"""Figures of explanations: overlays, contact sheets, curves, distances. PNG, SVG or PDF by the file's ending."""

from sightline.explain.draw.curves import draw_curves
from sightline.explain.draw.distances import draw_distances
from sightline.explain.draw.figure import check_format, save_figure
from sightline.explain.draw.sheet import Panel, draw_sheet

__all__ = ["Panel", "check_format", "draw_curves", "draw_distances", "draw_sheet", "save_figure"]
