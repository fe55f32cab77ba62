"""`sightline convert`: weights from one library to another."""

from pathlib import Path
from typing import Annotated

import typer

from sightline.cli.app import app
from sightline.cli.output import Format, show


@app.command(
    epilog="Examples: `sightline convert ViT-B_16.npz vit_b16.safetensors` · "
    "`sightline convert runs/vit vit-hf/ --to huggingface` · `sightline convert hf-hub:facebook/deit-small-patch16-224 deit/`"
)
def convert(
    source: Annotated[str, typer.Argument(help="File, folder, timm:NAME or hf-hub:ORG/NAME.")],
    file: Annotated[Path, typer.Argument(help="A .safetensors file, or a folder that gets config.json too.")],
    to: Annotated[str, typer.Option(help="sightline, timm or huggingface.")] = "sightline",
    model: Annotated[str | None, typer.Option(help="The net, when the source does not tell.")] = None,
    image_size: Annotated[
        tuple[int, int] | None, typer.Option(help="Rows and columns to resize positions for.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="List the tensors that simply matched, too.")] = False,
    output: Annotated[Format, typer.Option("--format", help="table, json or csv.")] = Format.TABLE,
) -> None:
    """Convert weights, and list what became of every tensor: matched, resized, dropped, missing.

    Formats are recognised: timm, transformers, torchvision, Google's .npz, the DeiT and SAN authors' files, ResNets.
    Nothing in a file is executed; what does not fit is an error that names the tensors.
    """
    from sightline.weights.convert import TARGETS
    from sightline.weights.convert import convert as run

    if to not in TARGETS:
        raise typer.BadParameter(f"--to is one of {', '.join(TARGETS)}; got {to!r}")
    report = run(source, file, to, model, image_size)
    if output is Format.JSON:
        import json

        print(json.dumps(report.as_dict(), indent=2))
        return
    rows = report.rows(everything or output is Format.CSV)
    if output is Format.TABLE:
        print(report.summary)
        for note in report.notes:
            print(f"  {note}")
    if rows or output is Format.CSV:
        show(rows, output)
    typer.echo(f"written: {file}", err=True)
