"""`sightline evaluate`: a trained net on images, and how robust it is."""

from pathlib import Path
from typing import Annotated

import typer

from sightline.cli.app import app
from sightline.cli.output import MAX_UNREADABLE, Format, show


@app.command(
    epilog="Examples: `sightline evaluate runs/vit_mini` · "
    "`sightline evaluate runs/vit_mini --data other/ --split test --format json` · "
    "`sightline evaluate runs/vit_mini --robustness --attack-limit 200` · "
    "`sightline evaluate --model vit_mini --weights vit.safetensors --data other/ --robustness --out vit.json`"
)
def evaluate(
    run: Annotated[Path | None, typer.Argument(help="Run folder of a trained net.")] = None,
    run_option: Annotated[Path | None, typer.Option("--run", help="The same, as an option.")] = None,
    model: Annotated[str | None, typer.Option(help="Instead of a run: a net's name, with --weights.")] = None,
    weights: Annotated[str | None, typer.Option(help="A file, a folder, or weights known by name.")] = None,
    data: Annotated[str | None, typer.Option(help="Images; the run's own if not given.")] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help="train, val, test or all; if not given test, or all of data that have none and are new to the net."
        ),
    ] = None,
    max_unreadable: Annotated[float, typer.Option(min=0, max=1, help=MAX_UNREADABLE)] = 0.01,
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once; changes speed only.")] = 256,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="Turned, damaged and resized images, calibration, and attacks.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="With --robustness: images, chosen by seed.")] = None,
    attack_limit: Annotated[int, typer.Option(min=0, help="Images that are attacked; 0 for no attacks.")] = 500,
    attack_eps: Annotated[str, typer.Option(help="Radii of the largest change of a pixel, in 1/255.")] = "0.5,1,2,4,8",
    attack_eps_l2: Annotated[
        str, typer.Option(help="Euclidean radii, in 1/255, of 32 x 32 pixels; larger images get larger ones.")
    ] = "32,64,128",
    attack_steps: Annotated[int, typer.Option(min=1, help="Steps of PGD.")] = 20,
    ensemble_steps: Annotated[int, typer.Option(min=1, help="Steps of each APGD.")] = 100,
    queries: Annotated[int, typer.Option(min=1, help="Queries of Square.")] = 1000,
    restarts: Annotated[int, typer.Option(min=1, help="Random starts of PGD and of the ensemble.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the images chosen, noise, starts, targets and queries.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="JSON of the robustness; robustness.json in the run folder if not given.")
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="table, json, csv or markdown.")] = Format.TABLE,
) -> None:
    """Accuracy with its 95% interval, top-5 accuracy, loss and calibration error of a net; with --robustness, how it stands up."""
    from sightline.cli.opened import open_images, open_net
    from sightline.cli.robustness import radii, run_robustness, show_robustness
    from sightline.evaluate import Settings
    from sightline.evaluate import evaluate as score
    from sightline.evaluate.statistics import wilson_interval

    settings = Settings(
        limit=limit, attack_limit=attack_limit, eps=radii(attack_eps, "--attack-eps"),
        eps_l2=radii(attack_eps_l2, "--attack-eps-l2"), steps=attack_steps, ensemble_steps=ensemble_steps,
        queries=queries, restarts=restarts, seed=seed, batch_size=batch_size,
    )  # fmt: skip
    if not robustness and (limit is not None or out is not None):
        raise typer.BadParameter("--limit and --out go with --robustness")
    if run is not None and run_option is not None:
        raise typer.BadParameter(f"one run, please; got {run} and --run {run_option}")
    net = open_net(run or run_option, model, weights)
    opened = open_images(net, data, split, max_unreadable)
    images = opened.images
    if robustness:
        show_robustness(run_robustness(net, opened, settings, run or run_option, out), output)
        return
    result = score(net.model, images, net.meta.mean, net.meta.std, batch_size=batch_size)
    interval = wilson_interval(round(result.accuracy * len(images)), len(images))
    row = {
        "run": net.label,
        "split": opened.split,
        "n": len(images),
        "accuracy": round(result.accuracy, 4),
        "low": round(interval.low, 4),
        "high": round(interval.high, 4),
        "top5": round(result.top5, 4),
        "loss": round(result.loss, 4),
        "calibration error": round(result.ece, 4),
    }
    show([row], output, right=tuple(row)[2:])
