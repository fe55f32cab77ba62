"""`sightline compare`: nets side by side, one budget, one report."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sightline.cli.app import app
from sightline.cli.output import MAX_UNREADABLE, Format, millions, show


@app.command(
    epilog="Examples: `sightline compare --data photos/ --models resnet_mini,sasa_resnet_mini` · "
    "`sightline compare --data cifar10/ --models resnet_mini,vit_mini --seeds 3 --epochs 20 --out runs/cifar`"
)
def compare(
    data: Annotated[str, typer.Option(help="Class-per-folder directory, parquet file or folder, or `digits`.")],
    models: Annotated[str, typer.Option(help="Names, separated by commas; `all` for the twin and the nine.")] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="Runs a net, with seeds 0, 1, ...")] = 1,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs a run; the recipe's if not given.")] = None,
    recipe: Annotated[str, typer.Option(help="Recipe of all runs.")] = "mini",
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change a field of the recipe: key=value.")] = None,
    train_limit: Annotated[int | None, typer.Option(min=1, help="Use only this many training images.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the runs and the report.")] = Path("runs/compare"),
    again: Annotated[bool, typer.Option("--again", help="Train anew what exists.")] = False,
    max_unreadable: Annotated[float, typer.Option(min=0, max=1, help=MAX_UNREADABLE)] = 0.01,
    output: Annotated[Format, typer.Option("--format", help="Format of the printed table.")] = Format.TABLE,
) -> None:
    """Train nets under one recipe, data order and budget; print a table and write one HTML report.

    Finished runs of the same recipe are reused, begun ones continued. The test images are used once a run, at its end.
    """
    changes = list(set_ or [])
    changes += [f"epochs={epochs}"] if epochs is not None else []
    changes += [f"train_limit={train_limit}"] if train_limit is not None else []
    run_comparison(data, models, seeds, recipe, changes, out, again, output, max_unreadable)


def run_comparison(
    data: str,
    models: str,
    seeds: int,
    recipe: str,
    changes: list[str],
    out: Path,
    again: bool,
    output: Format,
    max_unreadable: float = 0.01,
) -> None:
    """Load the data, compare, print the table; the home of `compare` and `demo`."""
    from sightline import recipes
    from sightline.backbones import list_models, own_size
    from sightline.cli.loading import load
    from sightline.cli.progress import display
    from sightline.compare import compare as run
    from sightline.compare import make_plan
    from sightline.runs import RunFolder

    chosen = recipes.override(recipes.get(recipe), changes)
    names = list_models("*mini*") if models == "all" else [name.strip() for name in models.split(",") if name.strip()]
    for name in names:
        own_size(name)  # raises, before anything is decoded, where there is no such net
    plan = make_plan(out, load(data, chosen, max_unreadable), names, range(seeds), chosen)
    with display(len(plan.runs)) as shown:
        page = run(plan, again, shown.comparison)
    show([_row(line, output) for line in RunFolder(out).read("compare")["summary"]], output, _NUMBERS)
    typer.echo(f"Report: {page}", err=True)


_NUMBERS = (
    "test accuracy",
    "95%",
    "vs twin",
    "p",
    "parameters",
    "multiply-adds",
    "train img/s",
    "infer img/s",
    "memory",
    "seconds",
)


def _row(line: dict[str, Any], output: Format) -> dict[str, Any]:
    if output is not Format.TABLE:
        return line
    difference, p = line["paired_difference"], line["paired_p"]
    return {
        "model": line["model"],
        "test accuracy": f"{line['accuracy_mean']:.1%}",
        "95%": f"{line['accuracy_low']:.1%} .. {line['accuracy_high']:.1%}",
        "vs twin": "" if difference is None else f"{100 * difference:+.1f}",
        "p": "" if p is None else f"{p:.2g}",
        "parameters": millions(line["parameters"]),
        "multiply-adds": millions(line["macs"]),
        "train img/s": f"{line['train_images_per_second']:.0f}",
        "infer img/s": f"{line['inference_images_per_second']:.0f}",
        "memory": f"{line['peak_memory_bytes'] / 2**20:.0f} MiB",
        "seconds": f"{line['train_seconds']:.0f}",
    }
