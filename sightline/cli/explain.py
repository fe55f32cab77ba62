"""`sightline explain`: where nets look in your pictures, and why they answer as they do."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sightline.cli.app import app
from sightline.cli.output import Format, show

if TYPE_CHECKING:
    from sightline.cli.explain_panels import Look

WIDEST = 8  # panels in a row


@app.command(
    epilog="Examples: `sightline explain photo.jpg --run runs/vit_mini --at 120,80 -o out.png` · "
    "`sightline explain photo.jpg --run runs/vit_mini --run runs/sasa --method rollout --compare` · "
    "`sightline explain photo.jpg --run runs/vit_mini --layers all --head all -o sheet.svg` · "
    "`sightline explain photo.jpg --run runs/vit_mini --method all --faithful`"
)
def explain(
    pictures: Annotated[list[str], typer.Argument(help="Picture files.")],
    run: Annotated[list[str] | None, typer.Option(help="Run folder of a trained net; again for more nets.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="NAME or NAME=WEIGHTS; again for more nets.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Weights for every --model that names none: `cifar10`, a file.")
    ] = None,
    untrained: Annotated[bool, typer.Option("--untrained", help="Take random weights where a net has none.")] = False,
    method: Annotated[
        str, typer.Option(help="Methods, comma between, or all: attention, rollout, gradient_rollout, grad_cam, ...")
    ] = "attention",
    at: Annotated[
        str | None,
        typer.Option(
            help="Who looks: ROW,COL of the picture file, class, distillation; else what the classifier reads."
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Class to explain, by name or number; else the predicted.")] = None,
    layers: Annotated[str | None, typer.Option("--layers", "--layer", help="Layer by name or pattern, or all.")] = None,
    head: Annotated[str | None, typer.Option(help="Head or channel group by number, or all; else their mean.")] = None,
    size: Annotated[
        str | None, typer.Option(help="Rows,columns the net is shown; else those it was trained on.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="An option of the method, such as steps=64.")
    ] = None,
    compare: Annotated[bool, typer.Option("--compare", help="One colour scale for all panels.")] = False,
    faithful: Annotated[bool, typer.Option("--faithful", help="Deletion and insertion beside random maps.")] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="The figure: .png, .svg or .pdf.")] = Path("explain.png"),
    npz: Annotated[Path | None, typer.Option(help="Also write the maps as arrays.")] = None,
    output: Annotated[Format, typer.Option("--format", help="table, json, csv or markdown.")] = Format.TABLE,
) -> None:
    """Draw where nets look: maps over your pictures, layer by layer, head by head, net beside net, by any method."""
    from sightline.cli.explain_files import draw, write_arrays
    from sightline.cli.explain_nets import load_nets
    from sightline.cli.explain_panels import Wish, looks
    from sightline.explain.draw import check_format

    check_format(out)
    methods = _methods(method)
    wish = Wish(methods, _at(at), target, layers, head, _size(size), faithful, _settings(setting or []))
    nets = load_nets(model or [], run or [], weights, untrained)
    found = [[looks(picture, net, wish) for net in nets] for picture in pictures]
    flat = [look for rows in found for row in rows for look in row]
    _refuse_if_empty(flat)
    for path in draw(found, wish, out, compare, WIDEST):
        typer.echo(f"wrote {path}", err=True)
    if npz is not None:
        typer.echo(f"wrote {write_arrays(flat, npz)}", err=True)
    show([look.row() for look in flat], output, right=("probability",))


def _methods(given: str) -> tuple[str, ...]:
    from sightline.explain import METHODS
    from sightline.explain.explain import method_of

    if given == "all":
        return tuple(METHODS)
    return tuple(method_of(name.strip()).name for name in given.split(","))


def _at(given: str | None) -> tuple[int, int] | str | None:
    if given is None:
        return None
    parts = given.split(",")
    if len(parts) == 2 and all(part.strip().isdecimal() for part in parts):
        return int(parts[0]), int(parts[1])
    if given.replace("_", "").isalnum() and not given[0].isdigit():
        return given
    raise typer.BadParameter(f"--at is ROW,COL (two whole numbers, rows first), class or distillation; got {given!r}")


def _size(given: str | None) -> tuple[int, int] | None:
    if given is None:
        return None
    parts = given.split(",")
    if len(parts) > 2 or not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"--size is one or two whole numbers, rows and columns; got {given!r}")
    return int(parts[0]), int(parts[-1])


def _settings(given: list[str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for one in given:
        name, sign, value = one.partition("=")
        try:
            settings[name] = int(value) if value.lstrip("-").isdecimal() else float(value)
        except ValueError:
            raise typer.BadParameter(f"--set takes NAME=NUMBER; got {one!r}") from None
        if not sign:
            raise typer.BadParameter(f"--set takes NAME=NUMBER; got {one!r}")
    return settings


def _refuse_if_empty(found: "list[Look]") -> None:
    from sightline.explain import METHODS, methods_for

    if any(look.explanation is not None for look in found):
        return
    look = found[0]
    others = ", ".join(one.name for one in methods_for(look.net.model))
    raise ValueError(
        f"{look.refusal} in {look.net.name} ({METHODS[look.method].title}). Methods that do apply: {others}"
    )
