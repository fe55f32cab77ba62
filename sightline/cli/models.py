"""`sightline models`: what nets there are."""

from typing import Annotated

import typer

from sightline.cli.app import app
from sightline.cli.output import Format, millions, show


@app.command(
    epilog="Examples: `sightline models` · `sightline models 'san*'` · `sightline models --family vit --format json`"
)
def models(
    pattern: Annotated[str, typer.Argument(help="Glob pattern of names.")] = "*",
    family: Annotated[str | None, typer.Option(help="Only this family: nonlocal, ccnet, sasa, lrnet, ...")] = None,
    image_size: Annotated[int, typer.Option(help="Side of the image that multiply-adds are counted for.")] = 32,
    output: Annotated[Format, typer.Option("--format", help="table, json or csv.")] = Format.TABLE,
) -> None:
    """List the nets: family, parameters and multiply-adds (10 classes), paper."""
    import torch

    from sightline.backbones import create_model, family_of, list_models
    from sightline.cost import count

    names = list_models(pattern, family)
    if not names:
        raise ValueError(f"no model matches {pattern!r}; `sightline models` lists all")
    people = output is Format.TABLE
    rows = []
    for name in names:
        with torch.device("meta"):  # shapes are enough
            model = create_model(name, num_classes=10, img_size=image_size)
        cost = count(model, (image_size, image_size))
        about = family_of(name)
        rows.append(
            {
                "model": name,
                "family": about.name,
                "parameters": millions(cost.parameters) if people else cost.parameters,
                "multiply-adds": millions(cost.macs) if people else cost.macs,
                "paper": f"{about.paper}, arXiv {about.arxiv}",
            }
        )
    show(rows, output, right=("parameters", "multiply-adds"))
