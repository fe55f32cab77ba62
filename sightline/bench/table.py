"""Measured cases as rows of a table, for the terminal and for the documentation."""

from typing import Any

from sightline.bench.read import Record, baseline, gflops, limit, ratio, seconds
from sightline.cost.timing import Spread

COLUMNS = (
    "case",
    "contender",
    "forward ms",
    "of baseline",
    "forward + backward ms",
    "of baseline ",
    "memory MB",
    "memory fb MB",
    "GFLOP/s",
    "error",
    "note",
)
DIRECTIONS = ("forward", "forward + backward")


def section_rows(measured: Record) -> list[dict[str, str]]:
    """All rows of a section, in the columns that it has."""
    make = {"nets": _net_rows, "gpu_nets": _net_rows, "scaling": _growth_rows, "gpu": _gpu_rows}.get(
        measured["section"], rows
    )
    return [row for case in measured["cases"] for row in make(case)]


def headline(measured: Record) -> str:
    """The machine and its peaks in one line."""
    environment, machine = measured["environment"], measured["cases"][-1]["machine"]
    where = environment["cpu"] if environment["device"] == "cpu" else environment["device"]
    return (
        f"{measured['section']}: {where}, {environment['threads']} threads, torch {environment['torch']}; "
        f"peaks {machine['matmul_gflops']:.0f} GFLOP/s, {machine['copy_gbytes']:.0f} GB/s"
    )


def _net_rows(case: Record) -> list[dict[str, str]]:
    direction = "training" if "training" in case["name"] else "inference"
    key = DIRECTIONS[direction == "training"]
    base, found = baseline(case, key), []
    for one in case["contenders"]:
        time, against = seconds(one, key), ratio(base, one, key)
        found.append(
            {
                "case": case["name"],
                "net": one["name"],
                "images/s": "" if time is None else f"{case['batch'] / time.median:.1f}",
                "of baseline": times(against),
                "multiply-adds M": f"{one['macs'] / 1e6:,.0f}",
                "time per multiply-add, of baseline": times(per_mac(one, base, key)),
                "memory MB": megabytes(one["memory"].get(key)),
                "error": _error(one["error"]),
                "note": one["refused"] or one["note"],
            }
        )
    return found


def per_mac(one: Record, base: Record | None, direction: str) -> float | None:
    """Time for a multiply-add over that of the baseline."""
    found = ratio(one, base, direction)
    return None if found is None or base is None else found.median * base["macs"] / one["macs"]


def _growth_rows(case: Record) -> list[dict[str, str]]:
    found = []
    for one in case["contenders"]:
        row = {"case": case["name"], "contender": one["name"]}
        for side in (32, 64, 128, 256):
            row[f"{side} px, ms"] = milliseconds(seconds(one, str(side)))
        shown = ["" if one[key] is None else f"{one[key]:.2f}" for key in ("slope", "last_slope")]
        found.append(row | {"slope": shown[0], "last doubling": shown[1], "note": one["refused"] or one["note"]})
    return found


def rows(case: Record) -> list[dict[str, str]]:
    """One row a contender; a refused one shows its reason in place of times."""
    return [_row(case, one) for one in case["contenders"]]


def _gpu_rows(case: Record) -> list[dict[str, str]]:
    """The same, with the share of the card's limit that a forward pass reaches."""
    least = limit(case)
    return [{**_row(case, one), "of limit": _of_limit(one, least)} for one in case["contenders"]]


def _of_limit(one: Record, least: float | None) -> str:
    time = seconds(one, DIRECTIONS[0])
    compared = one["kind"] in ("ours", "reference", "rival")
    return f"{least / time.median:.0%}" if time is not None and least is not None and compared else ""


def _row(case: Record, one: Record) -> dict[str, str]:
    forward, both = (seconds(one, direction) for direction in DIRECTIONS)
    against = [ratio(one, baseline(case, direction), direction) for direction in DIRECTIONS]
    flops = gflops(case, one)
    same = one["kind"] != "baseline"
    return dict(
        zip(
            COLUMNS,
            (
                case["name"],
                one["name"],
                milliseconds(forward),
                times(against[0]),
                milliseconds(both),
                times(against[1]),
                megabytes(one["memory"].get(DIRECTIONS[0])),
                megabytes(one["memory"].get(DIRECTIONS[1])),
                f"{flops:.3g}" if flops is not None and same else "",
                _error(one["error"]),
                one["refused"] or one["note"],
            ),
            strict=True,
        )
    )


def milliseconds(found: Spread | None) -> str:
    """Median and quartiles."""
    if found is None:
        return ""
    median, low, high = (1e3 * value for value in (found.median, found.low, found.high))
    digits = 2 if median < 10 else 1 if median < 100 else 0
    return f"{median:.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def times(found: Spread | float | None) -> str:
    """A ratio with two or three digits that matter."""
    if found is None:
        return ""
    value = found.median if isinstance(found, Spread) else found
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def megabytes(size: int | None) -> str:
    """Bytes as millions."""
    return "" if size is None else f"{size / 1e6:.1f}" if size < 1e8 else f"{size / 1e6:,.0f}"


def _error(error: dict[str, Any]) -> str:
    found = [one for one in error.values() if one is not None]
    return f"{max(found):.0e}" if found else ""
