"""`sightline cost`: what a net costs."""

from typing import Annotated

import typer

from sightline.cli.app import app
from sightline.cli.output import Format, millions, show


@app.command(
    epilog="Examples: `sightline cost sasa_resnet_mini` · `sightline cost vit_mini --image-size 48 32 --format json`"
)
def cost(
    model: Annotated[str, typer.Argument(help="A model's name; `sightline models` lists them, timm's work too.")],
    image_size: Annotated[tuple[int, int], typer.Option(help="Rows and columns of the image.")] = (32, 32),
    num_classes: Annotated[int, typer.Option(help="Outputs of the classifier.")] = 10,
    output: Annotated[Format, typer.Option("--format", help="table, json or csv.")] = Format.TABLE,
) -> None:
    """Count parameters and multiply-adds of one image, and what each attention layer stores and moves.

    A multiply-add counts once (a FLOP count is twice this). Attention counts by its closed form, the rest by torch's counter.
    """
    from sightline.backbones import create_model
    from sightline.cost import count

    counted = count(create_model(model, num_classes=num_classes, img_size=image_size), image_size)
    people = output is Format.TABLE
    rows = [
        {
            "layer": one.layer,
            "op": one.op,
            "multiply-adds": millions(one.cost.macs) if people else one.cost.macs,
            "bytes moved": millions(one.cost.bytes_moved) if people else one.cost.bytes_moved,
            "weights stored": millions(one.cost.weights_stored) if people else one.cost.weights_stored,
        }
        for one in counted.ops
    ]
    if output is Format.JSON:
        import json

        print(json.dumps({"model": model, **counted.as_dict()}, indent=2))
        return
    if people:
        rows_cols = f"{image_size[0]} x {image_size[1]}"
        print(
            f"{model}: {millions(counted.parameters)} parameters ({counted.parameters:,}), "
            f"{millions(counted.macs)} multiply-adds ({counted.macs:,}) for one {rows_cols} image"
        )
    if rows:
        show(rows, output, right=("multiply-adds", "bytes moved", "weights stored"))
