"""The robustness part of `sightline evaluate`: run it with a bar, keep its JSON, show its table."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sightline.cli.output import Format, show

if TYPE_CHECKING:
    from sightline.cli.opened import OpenImages, OpenNet
    from sightline.evaluate import Settings

NORM_NAMES = {"linf": "largest change", "l2": "Euclidean"}


def radii(text: str, option: str) -> tuple[float, ...]:
    """Numbers from "1,2,4". Raises BadParameter where one is none."""
    try:
        return tuple(float(one) for one in text.split(",") if one.strip())
    except ValueError:
        raise typer.BadParameter(f"{option} is a list of numbers, as in 1,2,4; got {text!r}") from None


def run_robustness(
    net: "OpenNet",
    opened: "OpenImages",
    settings: "Settings",
    run: Path | None,
    out: Path | None,
) -> dict[str, Any]:
    """Look, write the JSON, and return it.

    Raises:
        BadParameter: the images are not the run's own, so that its folder is no place for the JSON, and no other is named.
        RunFolderError: the JSON can not be written.
    """
    from sightline.cli.progress import shares
    from sightline.evaluate import robustness
    from sightline.runs import SCHEMA, atomic_write, check_writable, environment

    file = out if out is not None else _own_file(opened, run)
    if file is not None:
        check_writable(file)
    with shares("robustness") as progress:
        found = robustness(net.model, opened.images, net.meta.mean, net.meta.std, settings, progress)
    content = {
        "schema": SCHEMA,
        "model": net.meta.name,
        "data": {
            "source": Path(opened.source).name,
            "split": opened.split,
            "images": len(opened.images),
            "classes": list(opened.images.classes),
        },
        "image_size": list(net.meta.image_size),
        **found.as_dict(),
        "environment": environment(),
    }
    if file is not None:
        atomic_write(file, json.dumps(content, allow_nan=False) + "\n")
        typer.echo(f"Wrote {file}", err=True)
    return content


def _own_file(opened: "OpenImages", run: Path | None) -> Path | None:
    """The run's robustness.json; None for a net that is no run folder."""
    from sightline.runs import ROBUSTNESS, RunFolder

    if run is None or not run.is_dir():
        return None
    if not opened.own:
        raise typer.BadParameter(
            f"{opened.source} is not what {run} was trained on, and its robustness.json is about that; name a file with --out"
        )
    return RunFolder(run).file(ROBUSTNESS)


def show_robustness(content: dict[str, Any], output: Format) -> None:
    """A table for people, all of it for programs."""
    if output is Format.JSON:
        print(json.dumps(content, indent=1))
        return
    rows = list(robustness_rows(content))
    if output is Format.TABLE:
        for row in rows:
            row["accuracy"] = "refused" if row["accuracy"] is None else f"{row['accuracy']:.1%}"
            ends = row.pop("low"), row.pop("high")
            row["95%"] = "" if ends[0] is None else f"{ends[0]:.1%} .. {ends[1]:.1%}"
            row["more"] = row.pop("more")
    show(rows, output, right=("n", "accuracy", "95%", "low", "high"))


def robustness_rows(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One row a measurement; corruptions are means over their severities."""
    more = f"calibration error {content['ece']:.3f}"
    yield _row("clean", "unchanged", content["n"], content["accuracy"], content["low"], content["high"], more)
    for one in content["shifts"]:
        if one["kind"] == "transform":
            yield _row("turned", one["name"], one["n"], one["accuracy"], one["low"], one["high"], one["refused"])
    for name in dict.fromkeys(one["name"] for one in content["shifts"] if one["kind"] == "corruption"):
        levels = [one for one in content["shifts"] if one["kind"] == "corruption" and one["name"] == name]
        each = ", ".join(f"{one['accuracy']:.1%}" for one in levels)
        mean = sum(one["accuracy"] for one in levels) / len(levels)
        yield _row("damaged", name, levels[0]["n"], mean, None, None, f"severities 1 to 5: {each}")
    for one in content["shifts"]:
        if one["kind"] == "resolution":
            words = one["refused"] or f"{one['size'][0]} x {one['size'][1]}"
            yield _row("resized", one["name"], one["n"], one["accuracy"], one["low"], one["high"], words)
    for one in content["attacks"]:
        name = (
            f"{one['attack']}{', targeted' if one['targeted'] else ''}, {NORM_NAMES[one['norm']]} {one['eps']:.3g}/255"
        )
        yield _row("attacked", name, one["n"], one["accuracy"], one["low"], one["high"], _about(one))


def _row(
    kind: str, name: str, n: int, accuracy: float | None, low: float | None, high: float | None, more: str
) -> dict[str, Any]:
    keys = ("kind", "test", "n", "accuracy", "low", "high", "more")
    rounded = [None if one is None else round(one, 4) for one in (accuracy, low, high)]
    return dict(zip(keys, (kind, name, n, *rounded, more), strict=True))


def _about(one: dict[str, Any]) -> str:
    """Of an attack: how many were attacked and fell, and how."""
    if one["attacked"] == 0:
        return "none was left to attack"
    aim = "reached the target" if one["targeted"] else "fell"
    words = f"{one['success']:.1%} of {one['attacked']} {aim}"
    if one["fell"]:
        words += f" ({', '.join(f'{name} {count}' for name, count in one['fell'].items())})"
    return f"{words}; {one['steps']} steps" if one["steps"] > 1 else words
