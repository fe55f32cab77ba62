"""`sightline cost`: what a net costs, or every net beside what its paper prints."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sightline.cli.app import app
from sightline.cli.output import Format, millions, show

if TYPE_CHECKING:
    from sightline.cost import Entry, ModelCost

COUNTED = ("image", "parameters", "printed", "off", "multiply-adds", "printed FLOPs", "FLOPs off")


@app.command(
    epilog="Examples: `sightline cost sasa_resnet50` · `sightline cost vit_mini --image-size 48 32 --format json` · "
    "`sightline cost --all --markdown` · `sightline cost 'aa*' --all` · `sightline cost --all --family san --format csv`"
)
def cost(
    model: Annotated[
        str, typer.Argument(help="A model's name, see `sightline models`, timm's work too; with --all a glob pattern.")
    ] = "",
    every: Annotated[bool, typer.Option("--all", help="Every net of the catalogue beside its paper's counts.")] = False,
    family: Annotated[str | None, typer.Option(help="With --all, only this family: nonlocal, ccnet, sasa, ...")] = None,
    image_size: Annotated[
        tuple[int, int] | None, typer.Option(help="Rows and columns of the image; the net's own by default.")
    ] = None,
    num_classes: Annotated[
        int | None, typer.Option(help="Outputs of the classifier; the net's own by default.")
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="table, json, csv or markdown.")] = Format.TABLE,
    markdown: Annotated[bool, typer.Option("--markdown", help="Short for --format markdown.")] = False,
) -> None:
    """Count parameters and multiply-adds of one image, and what each attention layer stores and moves.

    A multiply-add counts once (a FLOP count is twice this). Attention counts by its closed form, the rest by torch's counter.
    """
    output = Format.MARKDOWN if markdown else output
    if every:
        _all(model or "*", family, image_size, num_classes, output)
    elif not model:
        raise typer.BadParameter("name a model, or ask for --all", param_hint="MODEL")
    elif family is not None:
        raise typer.BadParameter("it chooses among the nets of --all", param_hint="--family")
    else:
        _one(model, image_size, num_classes, output)


def _one(model: str, image_size: tuple[int, int] | None, num_classes: int | None, output: Format) -> None:
    from sightline.backbones import NETS, create_model, own_classes, own_size
    from sightline.cost import count, count_entry

    if model in NETS:
        entry = count_entry(model, image_size, num_classes)
        counted, note = entry.cost, _note(entry)
    else:
        size, classes = image_size or own_size(model), own_classes(model) if num_classes is None else num_classes
        counted, note = count(create_model(model, num_classes=classes, img_size=size), size), ""
    if output is Format.JSON:
        import json

        print(json.dumps({"model": model, **counted.as_dict()}, indent=2))
        return
    if output is Format.TABLE:
        print(_sentence(model, counted))
        if note:
            print(note)
    if counted.ops:
        people = output in (Format.TABLE, Format.MARKDOWN)
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
        show(rows, output, right=("multiply-adds", "bytes moved", "weights stored"))


def _all(
    pattern: str, family: str | None, image_size: tuple[int, int] | None, num_classes: int | None, output: Format
) -> None:
    from sightline.backbones import list_models
    from sightline.cost import count_entry

    names = list_models(pattern, family)
    if not names:
        raise ValueError(f"no model matches {pattern!r}; `sightline models` lists all")
    people = output in (Format.TABLE, Format.MARKDOWN)
    rows = [(cells if people else fields)(count_entry(name, image_size, num_classes)) for name in names]
    show(rows, output, right=COUNTED)


def fields(entry: "Entry") -> dict[str, Any]:
    """A row for programs: plain numbers, the printed ones as printed, differences as shares."""
    printed = entry.printed
    return {
        "model": entry.model,
        "rows": entry.cost.image_size[0],
        "columns": entry.cost.image_size[1],
        "num_classes": entry.num_classes,
        "parameters": entry.cost.parameters,
        "macs": entry.cost.macs,
        "printed_parameters_millions": printed.parameters or None,
        "parameters_off": entry.parameters_off,
        "printed_flops_billions": printed.flops or None,
        "flops_per_mac": printed.flops_per_mac if printed.flops else None,
        "flops_off": entry.flops_off,
        "source": printed.source or None,
        "reason": printed.reason or None,
    }


def cells(entry: "Entry") -> dict[str, str]:
    """A row for people."""
    printed, (height, width) = entry.printed, entry.cost.image_size
    per_mac = f"{printed.flops} G ({printed.flops_per_mac} a multiply-add)"
    return {
        "model": entry.model,
        "image": str(height) if height == width else f"{height} x {width}",
        "parameters": f"{entry.cost.parameters:,}",
        "printed": f"{printed.parameters} M" if printed.parameters else "",
        "off": _percent(entry.parameters_off),
        "multiply-adds": millions(entry.cost.macs),
        "printed FLOPs": per_mac if printed.flops else "",
        "FLOPs off": _percent(entry.flops_off),
        "where, and why the difference": "; ".join(filter(None, (printed.source, printed.reason))),
    }


def _sentence(model: str, counted: "ModelCost") -> str:
    rows_cols = f"{counted.image_size[0]} x {counted.image_size[1]}"
    return (
        f"{model}: {millions(counted.parameters)} parameters ({counted.parameters:,}), "
        f"{millions(counted.macs)} multiply-adds ({counted.macs:,}) for one {rows_cols} image"
    )


def _note(entry: "Entry") -> str:
    """What the paper prints, in a sentence; "" when it prints nothing."""
    row, printed = cells(entry), entry.printed
    said = []
    if printed.parameters:
        said.append(f"{row['printed']} parameters (ours {row['off']})")
    if printed.flops:
        said.append(f"{row['printed FLOPs'].replace('(', 'FLOPs, ').rstrip(')')} (ours {row['FLOPs off']})")
    if not said:
        return f"In print: {printed.source}: {printed.reason}" if printed.source else ""
    return f"In print: {printed.source}: {', '.join(said)}" + (f"; {printed.reason}" if printed.reason else "")


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:+.1%}".replace("-0.0%", "0.0%").replace("+0.0%", "0.0%")
