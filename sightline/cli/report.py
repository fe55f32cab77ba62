"""`sightline report`: run folders to one HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from sightline.cli.app import app


@app.command(
    epilog="Examples: `sightline report runs/demo` · `sightline report runs/vit_mini runs/sasa_resnet_mini --out page.html`"
)
def report(
    folders: Annotated[list[Path], typer.Argument(help="One comparison folder or folder of runs, or run folders.")],
    out: Annotated[Path | None, typer.Option(help="The page; report.html in the (first) folder if not given.")] = None,
) -> None:
    """Write one self-contained HTML page: table, curves, where the nets look, confusions, examples, recipes."""
    from sightline.report import build_report, build_report_from_runs

    page = build_report(folders[0], out) if len(folders) == 1 else build_report_from_runs(folders, out)
    typer.echo(page)
