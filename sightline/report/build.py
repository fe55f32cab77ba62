"""Build the page: read the folders, lay out every section, fill the template, write one file.

The page carries its style, its script and its data; a content security policy allows these by their hashes and nothing else, so a
hostile class name can neither run nor load anything even if it slipped through the escaping.
"""

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2

from sightline.report import colours
from sightline.report.attention import Attention, attention
from sightline.report.confusion import Confusion, confusions
from sightline.report.curves import Curves, Line, all_curves, last_value
from sightline.report.examples import Examples, all_examples
from sightline.report.faithfulness import faithfulness
from sightline.report.families import FAMILIES, OTHER, labels
from sightline.report.load import COMPARISON, Comparison, find_runs, read_comparison, read_runs
from sightline.report.numbers import percent
from sightline.report.pictures import Picture, embed
from sightline.report.provenance import provenance
from sightline.report.robustness import LEAST, robustness
from sightline.report.scatter import scatters
from sightline.report.standing import standings
from sightline.report.summary import summarise
from sightline.report.table import table
from sightline.runs import RunFolderError, atomic_write

HERE = Path(__file__).parent
PAGE = "report.html"
SCRIPTS = ("page.js", "table.js", "curves.js", "attention.js", "confusion.js")
COSTS = (("macs", "multiply-adds per picture"), ("parameters", "parameters"))
MARKERS = {  # outlines around the origin, radius about 5
    "circle": "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0Z",
    "square": "M-4.5,-4.5h9v9h-9Z",
    "triangle": "M0,-5.6L5.4,4.2H-5.4Z",
    "down": "M0,5.6L5.4,-4.2H-5.4Z",
    "diamond": "M0,-6L6,0L0,6L-6,0Z",
    "hexagon": "M-5.5,0L-2.8,-4.8H2.8L5.5,0L2.8,4.8H-2.8Z",
    "plus": "M-1.8,-5.5h3.6v3.7h3.7v3.6h-3.7v3.7h-3.6v-3.7h-3.7v-3.6h3.7Z",
    "cross": "M-5.2,-2.6L-2.6,-5.2L0,-2.6L2.6,-5.2L5.2,-2.6L2.6,0L5.2,2.6L2.6,5.2L0,2.6L-2.6,5.2L-5.2,2.6L-2.6,0Z",
    "star": "M0,-6.4L1.7,-2L6.1,-2L2.6,0.9L3.9,5.3L0,2.6L-3.9,5.3L-2.6,0.9L-6.1,-2L-1.7,-2Z",
}


def build_report(folder: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Write the page of a comparison folder, or of the run folder or folders in it, and return its path.

    Args:
        folder: holds compare.json; or is a run folder; or holds run folders.
        out: the page; report.html in the folder when not given.

    Raises:
        RunFolderError: the folder holds no run, a file in it is damaged or too new, or the page can not be written.
        ValueError: run folders without compare.json were tested on different images.
    """
    folder = Path(folder)
    page = Path(out) if out is not None else folder / PAGE
    if (folder / COMPARISON).is_file():
        return _write(read_comparison(folder), page)
    runs = find_runs(folder)
    if not runs:
        raise RunFolderError(
            f"{folder} holds neither {COMPARISON} nor a run folder; `sightline compare` and `train` write them"
        )
    return _write(read_runs(runs), page)


def build_report_from_runs(
    folders: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str] | None = None
) -> Path:
    """Write the page of run folders side by side, without twin and paired test, and return its path.

    Args:
        folders: run folders, tested on the same images.
        out: the page; report.html in the first folder when not given.

    Raises:
        RunFolderError: a folder holds no run, a file in it is damaged or too new, or the page can not be written.
        ValueError: no folder is given, or the runs were tested on different images.
    """
    comparison = read_runs([Path(folder) for folder in folders])
    return _write(comparison, Path(out) if out is not None else comparison.folder / PAGE)


def _write(comparison: Comparison, page: Path) -> Path:
    atomic_write(page, render(comparison))
    return page


def render(comparison: Comparison) -> str:
    """The page as text."""
    nets = standings(comparison)
    maps, curves, matrices = attention(comparison), all_curves(comparison), confusions(comparison)
    examples = all_examples(comparison, set(comparison.pictures))
    style, script = _style(), _script()
    return _environment().get_template("page.html").render(
        comparison=comparison,
        heading=_heading(comparison),
        date=next((str(run.environment.get("date", ""))[:10] for run in comparison.runs if run.environment), ""),
        summary=summarise(comparison, nets),
        standings=nets,
        labels=labels(comparison.models),
        families={one.model: one.family for one in nets},
        table=table(nets),
        scatters=[drawn for cost, name in COSTS if (drawn := scatters(nets, cost, name))],
        curves=curves,
        tracks=_tracks(curves),
        attention=maps,
        robustness=robustness(comparison),
        faithfulness=faithfulness(comparison),
        least=LEAST,
        confusions=matrices,
        examples=examples,
        pictures=_embedded(comparison, maps, examples),
        provenance=provenance(comparison),
        colours={"weights": colours.WEIGHTS, "signed": colours.SIGNED},
        markers=MARKERS,
        style=style,
        script=script,
        policy=_policy(style, script),
        data=_data(comparison, maps, curves, matrices),
    )  # fmt: skip


def _heading(comparison: Comparison) -> str:
    count = len(comparison.models)
    return f"{f'{count} nets' if count > 1 else comparison.models[0]} on {comparison.data_name}"


def _embedded(comparison: Comparison, maps: Attention, examples: Examples) -> list[Picture]:
    shown = sorted(examples.indices | (set(maps.described) if maps.any_maps else set()))
    return [embed(index, comparison.pictures[index]) for index in shown]


def _tracks(curves: Sequence[Curves]) -> list[Line]:
    """Every net that any figure has, once, by its number."""
    lines = {line.model: line for one in curves for line in one.drawings[0].lines}
    return [lines[number] for number in sorted(lines)]


def _data(
    comparison: Comparison, maps: Attention, curves: Sequence[Curves], matrices: Sequence[Confusion]
) -> dict[str, Any]:
    """What the script needs beyond what it finds in the page."""
    return {
        "classes": comparison.classes,
        "attention": {
            "grid": maps.grid,
            "nets": [asdict(net) for net in maps.nets],
            "described": maps.described,
            "colours": {"weights": colours.WEIGHTS, "signed": colours.SIGNED},
        },
        "curves": [{"epochs": one.epochs, "digits": one.digits, "values": one.values} for one in curves],
        "confusions": [one.counts for one in matrices],
    }


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "last_value": last_value}
    return environment


def _style() -> str:
    """The style sheet, with the families' colours in front."""
    families = (*FAMILIES, OTHER)
    variables = "".join(f"--{one.key}:light-dark({one.light},{one.dark});" for one in families)
    classes = "".join(f".family-{one.key}{{--family:var(--{one.key})}}" for one in families)
    return f":root{{{variables}}}{classes}\n{_source('page.css')}"


def _script() -> str:
    """All scripts in one strict function of their own."""
    return '(() => {\n"use strict";\n' + "\n".join(_source(name) for name in SCRIPTS) + "})();\n"


def _source(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Only our own style and script, pictures from the page itself, and nothing from anywhere else."""
    rules = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": _hash(style),
        "script-src": _hash(script),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
