"""`sightline demo`: the main job on data that are already here."""

from pathlib import Path
from typing import Annotated

import typer

from sightline.cli.app import app
from sightline.cli.compare import run_comparison
from sightline.cli.output import Format


@app.command(epilog="Examples: `sightline demo` · `sightline demo --smoke` · `sightline demo --out runs/mine`")
def demo(
    out: Annotated[Path | None, typer.Option(help="Folder of the runs and the report.")] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="The same path in seconds; its accuracies mean nothing.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Train anew what exists.")] = False,
) -> None:
    """Compare the convolutional twin and nine attention nets on 1,797 handwritten digits; write runs/demo/report.html.

    Interrupted, it keeps what has finished; called again, it continues.
    """
    folder = out if out is not None else Path("runs/demo-smoke" if smoke else "runs/demo")
    run_comparison("digits", "all", 1, "digits_smoke" if smoke else "digits", [], folder, again, Format.TABLE)
