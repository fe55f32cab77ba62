"""`sightline predict`: classes of your pictures."""

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sightline.cli.app import app
from sightline.cli.output import Format, show

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 64


@app.command(
    epilog="Examples: `sightline predict --model vit_mini_hybrid --weights cifar10 photos/` · "
    "`sightline predict --run runs/vit_mini photo.jpg` · "
    "`sightline predict --run runs/vit_mini photos/ 'more/*.png' --top 3 --format csv`"
)
def predict(
    pictures: Annotated[list[str], typer.Argument(help="Files, folders (searched through) or glob patterns.")],
    run: Annotated[
        str | None,
        typer.Option(help="Run folder of a trained net, a folder of transformers or timm, or hf-hub:ORG/NAME."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Instead of --run: a net's name, with --weights.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="Weights for --model: `cifar10`, which comes with sightline, a file, timm:NAME.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to name a picture.")] = 1,
    output: Annotated[Format, typer.Option("--format", help="table, json or csv.")] = Format.TABLE,
) -> None:
    """Classify pictures of any kind and size: the most probable classes of each.

    A file that can not be read is named and skipped; then the exit code is 1, after all others were classified.
    """
    from sightline.cli.opened import open_net
    from sightline.data import UnreadableImage, View, read_image

    files = _files(pictures)
    opened = open_net(None if run is None else Path(run), model, weights)
    net, meta = opened.model, opened.meta
    view = View(meta.crop, meta.crop_mode == "squash", meta.interpolation)
    rows: list[dict[str, Any]] = []
    unreadable = 0
    batch: list[tuple[str, Tensor]] = []
    for position, file in enumerate(files, 1):
        try:
            batch.append((str(file), read_image(file, meta.image_size, view=view)))
        except UnreadableImage as problem:
            unreadable += 1
            typer.secho(f"Skipped: {problem}", fg="yellow", err=True)
        if batch and (len(batch) == BATCH or position == len(files)):
            rows += _classify(net, meta, batch, top)
            batch = []
    if output is Format.TABLE:
        rows = [row | {"probability": f"{row['probability']:.1%}"} for row in rows]
    if rows or output is Format.JSON:  # a list even where it is empty: programs read it
        show(rows, output, right=("rank", "probability"))
    if unreadable:
        typer.secho(f"{unreadable} of {len(files)} files could not be read", fg="yellow", err=True)
        raise typer.Exit(1)


def _files(given: list[str]) -> list[Path]:
    from sightline.data.folder import pictures_below

    found: list[Path] = []
    for one in given:
        path = Path(one)
        if path.is_dir():
            inside = pictures_below(path)
            if not inside:
                raise ValueError(f"no picture lies in the folder {one}")
            found += inside
        elif path.exists() or not glob.has_magic(one):
            found.append(path)  # a missing file is named like any other that can not be read
        else:
            matched = [Path(match) for match in sorted(glob.glob(one, recursive=True)) if Path(match).is_file()]
            if not matched:
                raise ValueError(f"no file matches {one!r}")
            found += matched
    return list(dict.fromkeys(found))


def _classify(model: Any, meta: Any, batch: list[tuple[str, "Tensor"]], top: int) -> list[dict[str, Any]]:
    import torch

    from sightline.data import normalise

    images = torch.stack([image for _, image in batch])
    with torch.inference_mode():
        probability = model(normalise(images, meta.mean, meta.std)).float().softmax(1)
    values, classes = probability.topk(min(top, probability.shape[1]), dim=1)
    rows = []
    for (name, _), value, index in zip(batch, values.tolist(), classes.tolist(), strict=True):
        for rank, (share, label) in enumerate(zip(value, index, strict=True), 1):
            rows.append({"file": name, "rank": rank, "class": meta.classes[label], "probability": round(share, 4)})
    return rows
