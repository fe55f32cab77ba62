"""The table of the page: columns with their unit, cells as text with the number they are sorted by, and a whisker of accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass

from sightline.report.axes import Scale
from sightline.report.numbers import BYTES, NONE, THOUSANDS, column, p_value, percent, points
from sightline.report.standing import Standing


@dataclass(frozen=True)
class Column:
    """A column: its heading, unit, and the direction its first click sorts in."""

    key: str
    title: str
    unit: str
    numeric: bool
    first: str = "descending"


@dataclass(frozen=True)
class Cell:
    """A cell: what is shown, what it is sorted by (None: always last), and a second, quieter text."""

    text: str
    order: float | str | None
    second: str = ""


@dataclass(frozen=True)
class Whisker:
    """Accuracy on one axis for all rows, 0..100: interval, mean, the twin's mean (None: no twin)."""

    low: float
    high: float
    mean: float
    twin: float | None


@dataclass(frozen=True)
class Row:
    """A net's line."""

    standing: Standing
    cells: list[Cell]
    whisker: Whisker | None


@dataclass(frozen=True)
class Table:
    """Columns and rows, the most accurate first."""

    columns: list[Column]
    rows: list[Row]


NUMBERS = (
    ("parameters", "Parameters", THOUSANDS, "ascending"),
    ("macs", "Multiply-adds", THOUSANDS, "ascending"),
    ("train_speed", "Training", None, "descending"),
    ("inference_speed", "Inference", None, "descending"),
    ("memory", "Peak memory", BYTES, "ascending"),
    ("seconds", "Wall time", None, "ascending"),
)
UNITS = {"train_speed": "images/s", "inference_speed": "images/s", "seconds": "s"}


def table(standings: Sequence[Standing]) -> Table:
    """Lay the standings out; the columns of the twin's comparison only when there is a twin."""
    with_twin = any(one.difference is not None for one in standings)
    columns = [
        Column("model", "Net", "name, paper", False, "ascending"),
        Column("accuracy", "Test accuracy", "95% interval", True),
    ]
    if with_twin:
        columns.append(Column("difference", "Against twin", "points, p", True))
    numeric: list[list[Cell]] = []
    for key, title, steps, first in NUMBERS:
        values = [getattr(one, key) for one in standings]
        unit, texts = column(values, steps) if steps else column(values)
        columns.append(Column(key, title, UNITS.get(key, unit), True, first))
        numeric.append([Cell(text, value) for text, value in zip(texts, values, strict=True)])
    axis = _axis(standings)
    rows = []
    for i, one in enumerate(standings):
        cells = [Cell(one.label, one.label.lower(), one.model), _accuracy(one)]
        cells += [_difference(one)] if with_twin else []
        rows.append(Row(one, cells + [cells_of[i] for cells_of in numeric], _whisker(one, standings, axis)))
    return Table(columns, rows)


def _accuracy(one: Standing) -> Cell:
    if one.accuracy is None:
        return Cell(NONE, None, one.status)
    interval = f"{percent(one.low)} to {percent(one.high)}" if one.low is not None else ""
    return Cell(percent(one.accuracy), one.accuracy, interval)


def _difference(one: Standing) -> Cell:
    if one.twin:
        return Cell("twin", 0.0)
    if one.difference is None:
        return Cell(NONE, None)
    p = p_value(one.p)
    return Cell(points(one.difference), one.difference, f"p {p if p.startswith('<') else '= ' + p}")


def _axis(standings: Sequence[Standing]) -> Scale:
    ends = [v for one in standings for v in (one.low, one.high, one.accuracy) if v is not None]
    return Scale(min(ends, default=0.0), max(ends, default=1.0), 3, 97)


def _whisker(one: Standing, standings: Sequence[Standing], axis: Scale) -> Whisker | None:
    if one.accuracy is None or one.low is None or one.high is None:
        return None
    twin = next((other.accuracy for other in standings if other.twin), None)
    return Whisker(axis(one.low), axis(one.high), axis(one.accuracy), None if twin is None else axis(twin))
