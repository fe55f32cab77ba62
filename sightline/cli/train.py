"""`sightline train`: one net on your images."""

from pathlib import Path
from typing import Annotated

import typer

from sightline.cli.app import app
from sightline.cli.output import MAX_UNREADABLE


@app.command(
    epilog="Examples: `sightline train --model sasa_resnet_mini --data photos/` · "
    "`sightline train --model vit_mini --data cifar10/ --recipe cifar10 --set epochs=30 --out runs/vit` · "
    "`sightline train --out runs/vit --resume`"
)
def train(
    model: Annotated[str | None, typer.Option(help="A model's name; `sightline models` lists them.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Class-per-folder directory, parquet files, tar shards, or `digits`.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Recipe to start from; mini, or that of the run to resume, if not given.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Change a field of the recipe: key=value.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/MODEL if not given.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out from its last checkpoint.")
    ] = False,
    max_unreadable: Annotated[float, typer.Option(min=0, max=1, help=MAX_UNREADABLE)] = 0.01,
    finetune: Annotated[Path | None, typer.Option(help="Start from these weights; the head may differ.")] = None,
) -> None:
    """Train a net and evaluate it once on the test images; the run folder holds everything.

    An interrupted run continues with --resume and ends with the weights it would have had.
    """
    from sightline import recipes
    from sightline.backbones import own_size
    from sightline.cli.launched import is_main, show_notes
    from sightline.cli.loading import load
    from sightline.cli.progress import display
    from sightline.runs import RunFolder
    from sightline.train import pretrain
    from sightline.train import train as run
    from sightline.train.begin import recorded

    if out is None and model is None:
        raise typer.BadParameter("name a net with --model, or the run to resume with --out")
    folder = out if out is not None else Path("runs") / str(model)
    begun = recorded(RunFolder(folder), resume)
    options = None
    if begun is not None:
        model, data = model or begun["model"]["name"], data or begun["data"]["source"]
        options = begun["model"]["options"] if model == begun["model"]["name"] else None
    if resume and begun is None and (model is None or data is None):
        raise typer.BadParameter(f"{folder} holds no run to resume; name its folder with --out")
    if model is None or data is None:
        raise typer.BadParameter("name a net with --model and images with --data")
    base = recipes.restore(begun["recipe"]) if begun is not None and recipe is None else recipes.get(recipe or "mini")
    chosen = recipes.override(base, set_ or [])
    own_size(model)  # raises, before anything is decoded, where there is no such net
    show_notes()
    splits = load(data, chosen, max_unreadable)
    if chosen.task == "masked_patches":
        if finetune is not None:
            raise typer.BadParameter("pre-training starts from random weights; leave --finetune to what follows it")
        with display(folder=folder) as shown:
            metrics = pretrain(
                chosen, model, splits, folder, model_options=options, resume=resume, progress=shown.training
            )
        val = metrics["val"]
        if is_main():
            typer.echo(
                f"{model}: {val['colour_accuracy']:.2%} of the colours of {val['n']} validation images; run folder {folder}"
            )
        return
    with display(folder=folder) as shown:
        metrics = run(
            chosen,
            model,
            splits,
            folder,
            model_options=options,
            resume=resume,
            finetune=finetune,
            progress=shown.training,
        )
    test = metrics["test"]
    if is_main():
        typer.echo(f"{model}: test accuracy {test['accuracy']:.2%} on {test['n']} images; run folder {folder}")
