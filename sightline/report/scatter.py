"""Accuracy against cost: a point a net with its interval, as places in an SVG; drawn twice, for wide and for narrow screens."""

from collections.abc import Sequence
from dataclasses import dataclass

from sightline.report.axes import Scale, linear_ticks, log_ticks, padded, tick_text
from sightline.report.numbers import THOUSANDS, percent, significant, unit
from sightline.report.placement import Box, Label, place, text_width
from sightline.report.standing import Standing

WIDE, NARROW = (620, 400, 13.0), (350, 380, 12.0)  # width, height, font size
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 14, 42
Y_TITLE = "test accuracy, %"  # at the top of the axis, inside the frame
LOG_FROM = 3.0  # largest over smallest from which an axis is logarithmic


@dataclass(frozen=True)
class Point:
    """A net in the figure: its place, the ends of its interval, its label, and the words that say it all."""

    family: str
    marker: str
    twin: bool
    x: float
    y: float
    top: float
    bottom: float
    label: Label
    words: str


@dataclass(frozen=True)
class Scatter:
    """All that the template draws. Ticks are (place, text)."""

    width: int
    height: int
    size: float
    frame: Box
    x_title: str
    y_title: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    points: list[Point]
    summary: str


def scatters(standings: Sequence[Standing], cost: str, name: str) -> list[Scatter]:
    """The wide and the narrow drawing of accuracy against the field `cost` ("macs" or "parameters"); [] without two numbers."""
    known = [one for one in standings if one.accuracy is not None and getattr(one, cost)]
    return [_scatter(known, cost, name, *form) for form in (WIDE, NARROW)] if known else []


def _scatter(known: Sequence[Standing], cost: str, name: str, width: int, height: int, size: float) -> Scatter:
    factor, unit_name = unit([getattr(one, cost) for one in known], THOUSANDS)
    costs = [getattr(one, cost) / factor for one in known]
    frame = (LEFT, TOP, width - RIGHT, height - BOTTOM)
    x, x_ticks = _cost_axis(costs, frame)
    low, high = padded([v for one in known for v in (one.low, one.high, one.accuracy) if v is not None])
    y = Scale(max(0.0, low), min(1.005, high), frame[3], frame[1])
    percents = linear_ticks(100 * y.low, min(100.0, 100 * y.high))
    places = [(x(value), y(one.accuracy or 0.0)) for value, one in zip(costs, known, strict=True)]
    bars = [
        (px - 2, y(one.high or one.accuracy or 0), px + 2, y(one.low or one.accuracy or 0))
        for (px, _), one in zip(places, known, strict=True)
    ]
    title = (frame[0], frame[1] - size, frame[0] + text_width(Y_TITLE, size) + 10, frame[1] + size)
    placed = place(places, [one.label for one in known], frame, size, [*bars, title])
    x_title = f"{name}, {unit_name}" if unit_name else name
    points = [
        Point(
            one.family.key, one.family.marker, one.twin, *where, bar[1], bar[3], label,
            f"{one.label}: {percent(one.accuracy)} at {significant(value)} {unit_name} {name}",
        )
        for one, where, bar, label, value in zip(known, places, bars, placed, costs, strict=True)
    ]  # fmt: skip
    return Scatter(
        width, height, size, frame, x_title + (" (log scale)" if x.log else ""), Y_TITLE, x_ticks,
        [(y(tick / 100), tick_text(tick, percents)) for tick in percents], points, "; ".join(point.words for point in points),
    )  # fmt: skip


def _cost_axis(costs: Sequence[float], frame: Box) -> tuple[Scale, list[tuple[float, str]]]:
    if max(costs) / min(costs) >= LOG_FROM:
        scale = Scale(min(costs) / 1.25, max(costs) * 1.25, frame[0], frame[2], log=True)
        ticks = log_ticks(scale.low, scale.high)
        return scale, [(scale(tick), f"{tick:,g}") for tick in ticks]
    low, high = padded(costs, 0.12)
    scale = Scale(max(0.0, low), high, frame[0], frame[2])
    ticks = linear_ticks(scale.low, scale.high, 5)
    return scale, [(scale(tick), tick_text(tick, ticks)) for tick in ticks]
