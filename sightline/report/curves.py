"""Learning curves: a line a net over the epochs, the mean of its seeds, with a band from the lowest seed to the highest."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sightline.report.axes import Scale, linear_ticks, padded, tick_text
from sightline.report.families import family_of, labels
from sightline.report.load import Comparison, Run

NARROW, WIDE = (400, 270, 12.5), (840, 300, 13.0)  # width, height, font size
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 40
RING = 2.5  # radius that marks the only epoch of a line
FIELDS = (  # field, title, short title, factor, and the drawings: the first figure spans two columns where there is room
    ("val_accuracy", "Validation accuracy, %", "val. acc.", 100.0, (WIDE, NARROW)),
    ("train_loss", "Training loss", "train. loss", 1.0, (NARROW,)),
    ("val_loss", "Validation loss", "val. loss", 1.0, (NARROW,)),
)


@dataclass(frozen=True)
class Line:
    """One net in one drawing: its number on the page, its path and its band in SVG."""

    model: int
    family: str
    second: bool  # another net of the family comes before it: drawn dashed
    twin: bool
    path: str
    band: str


@dataclass(frozen=True)
class Drawing:
    """A figure at one size. Ticks are (place, text); `reach` holds the places of the first and of the last epoch."""

    width: int
    height: int
    size: float
    frame: tuple[float, float, float, float]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    reach: tuple[float, float]
    lines: list[Line]


@dataclass(frozen=True)
class Curves:
    """One figure: its drawings, the widest first, and by number of the net its value at each epoch (None: not there)."""

    title: str
    short: str
    digits: int
    epochs: int
    drawings: list[Drawing]
    values: dict[int, list[float | None]]
    summary: str


@dataclass(frozen=True)
class Track:
    """One net in numbers: at each epoch the values of its seeds."""

    model: int
    family: str
    second: bool
    twin: bool
    seeds: int
    rows: list[list[float]]

    @property
    def means(self) -> list[float | None]:
        """The mean over the seeds, None where none has the epoch."""
        return [sum(row) / len(row) if row else None for row in self.rows]


def all_curves(comparison: Comparison) -> list[Curves]:
    """A figure a field that any run has logged."""
    return [one for field in FIELDS if (one := _curves(comparison, *field)) is not None]


def _curves(
    comparison: Comparison, field: str, title: str, short: str, factor: float, forms: Sequence[tuple[int, int, float]]
) -> Curves | None:
    tracks = _tracks(comparison, field, factor)
    values = [value for track in tracks for row in track.rows for value in row]
    if not values:
        return None
    epochs = max(len(track.rows) for track in tracks)
    low, high = padded(values, 0.05)
    if factor == 100.0:
        low, high = max(0.0, low), min(101.0, high)
    digits, names = (1 if factor == 100.0 else 3), labels(comparison.models)
    shown = {track.model: [None if mean is None else round(mean, 4) for mean in track.means] for track in tracks}
    last = [f"{names[comparison.models[model]]} {last_value(means):.{digits}f}" for model, means in shown.items()]
    return Curves(
        title=title,
        short=short,
        digits=digits,
        epochs=epochs,
        drawings=[_drawing(tracks, epochs, (low, high), form) for form in forms],
        values=shown,
        summary=f"{title} by epoch. At the end: {', '.join(last)}",
    )


def last_value(values: Sequence[float | None]) -> float:
    """The last value that is there; not a number when none is."""
    return next((value for value in reversed(values) if value is not None), math.nan)


def _drawing(tracks: Sequence[Track], epochs: int, reach: tuple[float, float], form: tuple[int, int, float]) -> Drawing:
    width, height, size = form
    frame = (LEFT, TOP, width - RIGHT, height - BOTTOM)
    x, y = Scale(1, epochs, frame[0] + 4, frame[2] - 4), Scale(*reach, frame[3], frame[1])
    x_ticks = [tick for tick in linear_ticks(1, epochs) if tick == int(tick)] if epochs > 1 else [1.0]
    y_ticks = linear_ticks(*reach)
    return Drawing(
        width=width,
        height=height,
        size=size,
        frame=frame,
        x_ticks=[(x(tick), tick_text(tick, x_ticks)) for tick in x_ticks],
        y_ticks=[(y(tick), tick_text(tick, y_ticks)) for tick in y_ticks],
        reach=(x(1), x(epochs)),
        lines=[_line(track, x, y) for track in tracks],
    )


def _tracks(comparison: Comparison, field: str, factor: float) -> list[Track]:
    tracks: list[Track] = []
    for number, model in enumerate(comparison.models):
        series = _series(comparison.of(model), field, factor)
        rows = [
            [value for one in series if i < len(one) and (value := one[i]) is not None]
            for i in range(max(map(len, series), default=0))
        ]
        if any(rows):
            family = family_of(model).key
            second = any(track.family == family for track in tracks)
            tracks.append(Track(number, family, second, model == comparison.twin, len(series), rows))
    return tracks


def _series(runs: Sequence[Run], field: str, factor: float) -> list[list[float | None]]:
    """A list a run with an entry an epoch, counted from one by their order in the log."""
    return [[_number(line.get(field), factor) for line in run.log] for run in runs if run.log]


def _number(value: Any, factor: float) -> float | None:
    return value * factor if isinstance(value, int | float) and math.isfinite(value) else None


def _line(track: Track, x: Scale, y: Scale) -> Line:
    path = _path([(x(i + 1), y(mean)) for i, mean in enumerate(track.means) if mean is not None])
    band = _band(track.rows, x, y) if track.seeds > 1 else ""
    return Line(track.model, track.family, track.second, track.twin, path, band)


def _path(places: Sequence[tuple[float, float]]) -> str:
    """A polyline; a single epoch becomes a ring."""
    if len(places) == 1:
        ((px, py),) = places
        return f"M{px - RING:g},{py:g}" + "".join(f"a{RING:g},{RING:g} 0 1,0 {side * 2 * RING:g},0" for side in (1, -1))
    return "M" + "L".join(f"{px:g},{py:g}" for px, py in places) if places else ""


def _band(spread: Sequence[Sequence[float]], x: Scale, y: Scale) -> str:
    there = [(x(i + 1), y(max(row)), y(min(row))) for i, row in enumerate(spread) if row]
    return (
        _path([(px, top) for px, top, _ in there] + [(px, bottom) for px, _, bottom in reversed(there)]) + "Z"
        if there
        else ""
    )
