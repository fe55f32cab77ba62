"""How the nets stand up: a table, and curves of accuracy against the strength of attacks and damage, and against confidence.

Drawn from robustness.json, where `sightline evaluate --robustness` has written one. A net speaks through its first run that has it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sightline.report.axes import Scale, linear_ticks, tick_text
from sightline.report.families import family_of, labels
from sightline.report.load import Comparison, Run, need
from sightline.report.numbers import percent
from sightline.runs import ROBUSTNESS

WIDTH, HEIGHT, SIZE = 420, 290, 12.5
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 42
SAN_TURNS = ("rotated 90", "rotated 180", "rotated 270", "upside-down")
LEAST = 10  # images of a bar of the reliability diagram that is drawn

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Trace:
    """One net in one figure."""

    family: str
    second: bool
    twin: bool
    path: str
    dots: Points
    words: str


@dataclass(frozen=True)
class Figure:
    """Lines of accuracy over something. Ticks are (place, text); `diagonal` is a path or ""."""

    title: str
    x_title: str
    width: int
    height: int
    size: float
    frame: tuple[float, float, float, float]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    traces: list[Trace]
    diagonal: str


@dataclass(frozen=True)
class Row:
    """One net in the table."""

    model: str
    family: str
    second: bool
    twin: bool
    cells: list[str]


@dataclass(frozen=True)
class Robustness:
    """The section; empty `rows` leave it out."""

    columns: list[str]
    rows: list[Row]
    figures: list[Figure]
    images: str
    settings: str


@dataclass(frozen=True)
class _Net:
    model: str
    family: str
    second: bool
    twin: bool
    content: dict[str, Any]


def robustness(comparison: Comparison) -> Robustness:
    """The section of all nets whose runs have been looked at.

    Raises:
        RunFolderError: a robustness.json lacks what it must have.
    """
    nets = _nets(comparison)
    names = labels(comparison.models)
    radii = sorted({one["eps"] for net in nets for one in _worst(net.content, "linf")})
    columns = ["Clean", "Turned", "Damaged", "SAN n = 2", "SAN n = 4", *(f"{eps:g}/255" for eps in radii), "ECE"]
    rows = [Row(names[net.model], net.family, net.second, net.twin, _cells(net.content, radii)) for net in nets]
    return Robustness(columns, rows, _figures(nets, names), _images(nets), _settings(nets))


def _nets(comparison: Comparison) -> list[_Net]:
    found: list[_Net] = []
    for model in comparison.models:
        run = next((run for run in comparison.of(model) if run.robustness), None)
        if run is not None:
            family = family_of(model).key
            second = any(net.family == family for net in found)
            found.append(_Net(model, family, second, model == comparison.twin, _checked(run)))
    return found


def _checked(run: Run) -> dict[str, Any]:
    content = run.robustness or {}
    for key in ("n", "accuracy", "ece", "bins", "shifts", "attacks", "settings"):
        need(content, key, run.folder / ROBUSTNESS)
    return content


def _worst(content: dict[str, Any], norm: str) -> list[dict[str, Any]]:
    return [one for one in content["attacks"] if one["attack"] == "worst case" and one["norm"] == norm]


def _cells(content: dict[str, Any], radii: Sequence[float]) -> list[str]:
    turned = [one["accuracy"] for one in content["shifts"] if one["name"] in SAN_TURNS]
    damaged = [one["accuracy"] for one in content["shifts"] if one["kind"] == "corruption"]
    san = {one["steps"]: one["accuracy"] for one in content["attacks"] if one["targeted"]}
    worst = {one["eps"]: one["accuracy"] for one in _worst(content, "linf")}
    shares = [content["accuracy"], _mean(turned), _mean(damaged), san.get(2), san.get(4), *map(worst.get, radii)]
    return [*map(percent, shares), f"{content['ece']:.3f}"]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _figures(nets: Sequence[_Net], names: dict[str, str]) -> list[Figure]:
    figures = []
    for norm, title in (("linf", "Under attack, largest change"), ("l2", "Under attack, Euclidean")):
        steps = sorted({one["eps"] for net in nets for one in _worst(net.content, norm)})
        if steps:
            ticks = ["0", *(f"{eps:.3g}" for eps in steps)]
            figures.append(_stepped(nets, names, title, "radius, in 1/255", ticks, _by_radius(norm, steps)))
    if any(_by_severity(net.content) for net in nets):
        ticks = ["0", "1", "2", "3", "4", "5"]
        figures.append(_stepped(nets, names, "Damaged, mean of all kinds", "severity", ticks, _by_severity))
    if nets:
        figures.append(_reliability(nets, names))
    return figures


def _by_radius(norm: str, steps: Sequence[float]) -> Callable[[dict[str, Any]], Points]:
    """Accuracy on the attacked images at radius 0 and each radius, numbered in their order."""

    def points(content: dict[str, Any]) -> Points:
        targeted = [one for one in content["attacks"] if one["targeted"]]
        clean = targeted[0]["attacked"] / targeted[0]["n"] if targeted else content["accuracy"]
        found = [(steps.index(one["eps"]) + 1.0, one["accuracy"]) for one in _worst(content, norm)]
        return [(0.0, clean), *sorted(found)]

    return points


def _by_severity(content: dict[str, Any]) -> Points:
    damaged = [one for one in content["shifts"] if one["kind"] == "corruption" and one["accuracy"] is not None]
    means = [(float(s), _mean([one["accuracy"] for one in damaged if one["severity"] == s])) for s in range(1, 6)]
    known = [(s, mean) for s, mean in means if mean is not None]
    return [(0.0, content["accuracy"]), *known] if known else []


def _stepped(
    nets: Sequence[_Net], names: dict[str, str], title: str, x_title: str, ticks: list[str],
    points: Callable[[dict[str, Any]], Points],
) -> Figure:  # fmt: skip
    """A figure whose horizontal axis has equal steps."""
    x = Scale(0, len(ticks) - 1, LEFT + 8, WIDTH - RIGHT - 8)
    found = {net.model: points(net.content) for net in nets}
    return _figure(nets, names, title, x_title, x, [(x(i), text) for i, text in enumerate(ticks)], found)


def _reliability(nets: Sequence[_Net], names: dict[str, str]) -> Figure:
    """Accuracy over confidence; bars of few images are left out."""
    x = Scale(0, 1, LEFT + 8, WIDTH - RIGHT - 8)
    found = {
        net.model: [(one["confidence"], one["accuracy"]) for one in net.content["bins"] if one["n"] >= LEAST]
        for net in nets
    }
    ticks = [(x(one / 5), f"{20 * one}") for one in range(6)]
    return _figure(nets, names, "Reliability", "confidence, %", x, ticks, found, diagonal=True)


def _figure(
    nets: Sequence[_Net], names: dict[str, str], title: str, x_title: str, x: Scale, x_ticks: list[tuple[float, str]],
    points: dict[str, Points], diagonal: bool = False,
) -> Figure:  # fmt: skip
    y = Scale(0, 1.02, HEIGHT - BOTTOM, TOP)
    percents = linear_ticks(0, 100)
    traces = []
    for net in nets:
        places = [(x(a), y(b)) for a, b in points[net.model]]
        words = f"{names[net.model]}: {', '.join(percent(b) for _, b in points[net.model])}"
        path = "M" + "L".join(f"{a:g},{b:g}" for a, b in places) if places else ""
        traces.append(Trace(net.family, net.second, net.twin, path, places, words))
    return Figure(
        title, x_title, WIDTH, HEIGHT, SIZE, (LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM), x_ticks,
        [(y(tick / 100), tick_text(tick, percents)) for tick in percents], traces,
        f"M{x(0):g},{y(0):g}L{x(1):g},{y(1):g}" if diagonal else "",
    )  # fmt: skip


def _images(nets: Sequence[_Net]) -> str:
    """How many images of which set, every one that occurs: nets that were shown different ones are not to be compared."""
    seen = sorted({(_set(net.content), net.content["n"], len(net.content.get("attacked", []))) for net in nets})
    return "; ".join(f"{n:,} images{of}, {attacked:,} of them attacked" for of, n, attacked in seen)


def _set(content: dict[str, Any]) -> str:
    data = content.get("data", {})
    return f" of {data['source']} ({data['split']})" if {"source", "split"} <= data.keys() else ""


def _settings(nets: Sequence[_Net]) -> str:
    """How hard was looked, in words; every way that occurs."""
    kinds = {
        f"PGD {one['steps']} steps, APGD {one['ensemble_steps']} steps each, Square {one['queries']:,} queries, "
        f"random starts {one['restarts']}, seed {one['seed']}"
        for one in (net.content["settings"] for net in nets)
    }
    return "; or ".join(sorted(kinds))
