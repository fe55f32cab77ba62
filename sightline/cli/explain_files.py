"""Files of `sightline explain`: the sheet, the curves beside it, the arrays."""

import io
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from sightline.cli.explain_panels import Look, Wish
from sightline.explain import METHODS, Faithfulness
from sightline.explain.draw import Panel, draw_curves, draw_sheet, save_figure
from sightline.explain.readout import reads
from sightline.runs import atomic_write


def draw(found: Sequence[Sequence[list[Look]]], wish: Wish, out: Path, one_scale: bool, widest: int) -> list[Path]:
    """Write the sheet, and with scores the curves, `out` with `.curves` before its ending; returns the files."""
    rows = [row for nets in found for row in _rows(nets, wish, widest)]
    flat = [look for nets in found for row in nets for look in row]
    written = [save_figure(draw_sheet(rows, _heading(flat, wish), one_scale), out)]
    scored: dict[str, dict[str, Faithfulness]] = {}
    for number, nets in enumerate(found, 1):
        for look in (look for row in nets for look in row):
            if look.scores is not None:
                picture = (
                    f", {number}: {_short(Path(look.seen.file).name)}" if len(found) > 1 else ""
                )  # names may be equal
                scored.setdefault(look.net.name + picture, {})[look.method + _of(look)] = look.scores
    if scored:
        curves = out.with_name(f"{out.stem}.curves{out.suffix}")
        heading = "How true the maps are: the class's probability while pixels go or come"
        written.append(save_figure(draw_curves(scored, heading), curves))
    return written


def _rows(nets: Sequence[list[Look]], wish: Wish, widest: int) -> list[list[Panel]]:
    """One row for a picture where every net has one panel, else a row a net, or a row a layer of several heads; long ones are
    folded."""
    one_each = all(len(row) == 1 for row in nets)
    lines = [[row[0] for row in nets]] if one_each else [line for row in nets for line in _by_layer(row)]
    rows = []
    for line in lines:
        first = next(
            (one for one in line if one.explanation is not None), line[0]
        )  # the mark counts in what this net sees
        mark = first.explanation.at if first.explanation is not None else None
        size = first.seen.input.shape[2:]
        name = Path(first.seen.file).name
        original = Panel(
            first.seen.shown, _short(name), "", None, mark if isinstance(mark, tuple) else None, (size[0], size[1])
        )
        panels = [one.panel(wish) for one in line]
        width = max(widest, 1)
        rows.append([original, *panels[:width]])
        rows += [panels[start : start + width + 1] for start in range(width, len(panels), width + 1)]
    return rows


def _by_layer(row: list[Look]) -> list[list[Look]]:
    """Heads of a layer beside each other, layers below each other; all in one row where no layer has several."""
    layers = [list(heads) for _, heads in groupby(row, key=_layer)]
    return layers if any(len(heads) > 1 for heads in layers) and _layer(row[0])[1] else [row]


def _layer(look: Look) -> tuple[str, str]:
    return look.method, look.explanation.layer if look.explanation and look.explanation.head is not None else ""


def _heading(looks: Sequence[Look], wish: Wish) -> str:
    asked = [look for look in looks if look.explanation is not None]
    queries = [look for look in asked if look.method in ("attention", "rollout", "receptive_field")]
    if not queries:
        return ""
    if isinstance(wish.at, tuple):
        return f"From pixel (row {wish.at[0]}, column {wish.at[1]}), marked"
    places = {reads(look.net.model, wish.at) for look in queries}
    return "From the " + " / ".join(sorted(places))


def _of(look: Look) -> str:
    found = look.explanation
    if found is None or METHODS[look.method].needs_attention is False:
        return ""
    return f", {found.layer}" + ("" if found.head is None else f", head {found.head}")


def _short(name: str) -> str:
    return name if len(name) <= 28 else name[:25] + "..."


def write_arrays(looks: Sequence[Look], path: Path) -> Path:
    """Maps by number as `map0`, `map1`, ... (h, w) float32, what each is in `about` (JSON lines), grids in `geometry`."""
    import json

    kept = [look for look in looks if look.explanation is not None]
    arrays = {f"map{index}": look.explanation.map.numpy() for index, look in enumerate(kept) if look.explanation}
    about = [
        {
            "map": f"map{index}",
            **{key: value for key, value in look.row().items() if key != "cells"},
            "unit": look.explanation.unit,
            "signed": look.explanation.signed,
            "at": look.explanation.at,
            "target": list(look.explanation.target),
            "stride": list(look.explanation.geometry.stride),
            "input_size": list(look.explanation.geometry.size),
            "seen_box": list(look.seen.box),
        }
        for index, look in enumerate(kept)
        if look.explanation
    ]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, about=np.array([json.dumps(one) for one in about]), **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, buffer.getvalue())
    return path
