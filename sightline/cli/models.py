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
    image_size: Annotated[
        int | None, typer.Option(help="Side of the image that costs are counted for; the net's own by default.")
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="table, json, csv or markdown.")] = Format.TABLE,
) -> None:
    """List the nets: family, image size, parameters, multiply-adds, weights that come along, paper.

    What the papers print of them: `sightline cost --all`.
    """
    from sightline.backbones import family_of, list_models, own_size
    from sightline.cost import count_entry, known_counts
    from sightline.weights.box import boxed

    names = list_models(pattern, family)
    if not names:
        raise ValueError(f"no model matches {pattern!r}; `sightline models` lists all")
    people = output in (Format.TABLE, Format.MARKDOWN)
    known = known_counts() if image_size is None else {}
    rows = []
    for name in names:
        size = own_size(name) if image_size is None else (image_size, image_size)
        if name in known:
            parameters, macs = known[name]
        else:
            cost = count_entry(name, size).cost
            parameters, macs = cost.parameters, cost.macs
        about = family_of(name)
        rows.append(
            {
                "model": name,
                "family": about.name,
                "image": f"{size[0]} x {size[1]}",
                "parameters": millions(parameters) if people else parameters,
                "multiply-adds": millions(macs) if people else macs,
                "weights": ", ".join(boxed(name)),
                "paper": f"{about.paper}, arXiv {about.arxiv}",
            }
        )
    show(rows, output, right=("image", "parameters", "multiply-adds"))
