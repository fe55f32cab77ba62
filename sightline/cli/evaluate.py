"""`sightline evaluate`: a trained run on images."""

from pathlib import Path
from typing import Annotated

import typer

from sightline.cli.app import app
from sightline.cli.output import Format, show


@app.command(
    epilog="Examples: `sightline evaluate runs/vit_mini` · "
    "`sightline evaluate runs/vit_mini --data other/ --split test --format json`"
)
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder of a trained net.")],
    data: Annotated[str | None, typer.Option(help="Images; the run's own if not given.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    batch_size: Annotated[int, typer.Option(min=1, help="Images at once; changes speed only.")] = 256,
    output: Annotated[Format, typer.Option("--format", help="table, json or csv.")] = Format.TABLE,
) -> None:
    """Accuracy with its 95% interval, top-5 accuracy, loss and calibration error of a run on one split."""
    from sightline.data import load_splits
    from sightline.evaluate import evaluate as score
    from sightline.evaluate import load_run
    from sightline.evaluate.statistics import wilson_interval
    from sightline.runs import RunFolder

    if split not in ("train", "val", "test"):
        raise typer.BadParameter(f"--split is train, val or test; got {split!r}")
    model, meta = load_run(run)
    source = data or RunFolder(run).read("recipe")["data"]["source"]
    splits = load_splits(source, image_size=meta.image_size)
    if splits.classes != meta.classes:
        raise ValueError(
            f"the run knows the classes {', '.join(meta.classes)}; the images have {', '.join(splits.classes)}. "
            "Evaluate on images of the same classes, or train on these"
        )
    images = getattr(splits, split)
    result = score(model, images, meta.mean, meta.std, batch_size=batch_size)
    interval = wilson_interval(round(result.accuracy * len(images)), len(images))
    row = {
        "run": str(run),
        "split": split,
        "n": len(images),
        "accuracy": round(result.accuracy, 4),
        "low": round(interval.low, 4),
        "high": round(interval.high, 4),
        "top5": round(result.top5, 4),
        "loss": round(result.loss, 4),
        "calibration error": round(result.ece, 4),
    }
    show([row], output, right=tuple(row)[2:])
