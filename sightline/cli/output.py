"""How verbs print: a table or Markdown for people, JSON or CSV for programs; no colour and no ruler when the output is piped."""

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

MAX_UNREADABLE = "Share of pictures that may be unreadable and left out before the run stops."


class Format(StrEnum):
    """Output formats of the listing verbs."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"


def show(rows: Sequence[Mapping[str, Any]], output: Format, right: Sequence[str] = ()) -> None:
    """Print rows of equal keys; `right` names the columns that are aligned to the right in the table."""
    if output is Format.JSON:
        print(json.dumps(rows, indent=2))
    elif output is Format.CSV:
        writer = csv.DictWriter(sys.stdout, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    elif output is Format.MARKDOWN:
        print(markdown(rows, right))
    else:
        _table(rows, right)


def markdown(rows: Sequence[Mapping[str, Any]], right: Sequence[str] = ()) -> str:
    """A Markdown table of rows of equal keys; `right` names the columns that are aligned to the right."""
    names = list(rows[0]) if rows else []
    cells = [["" if value is None else str(value).replace("|", "\\|") for value in row.values()] for row in rows]
    ruler = ["---:" if name in right else "---" for name in names]
    return "\n".join(f"| {' | '.join(line)} |" for line in [names, ruler, *cells])


def _table(rows: Sequence[Mapping[str, Any]], right: Sequence[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:  # a piped table is as wide as it needs to be
        console = Console(highlight=False, width=1000)
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    for name in rows[0] if rows else []:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if value is None else str(value)) for value in row.values()))  # no markup: "a[1].jpg"
    console.print(table)


def millions(number: float) -> str:
    """1234567 -> '1.23 M', with k, M or G as the size asks."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return f"{number:.0f}"
