"""Renew what the documentation shows of the demonstration: the committed JSON, the README's table, the pictures.

    .venv/bin/python docs/make.py runs/demo     # copy the numbers of a finished demonstration into docs/results/digits.json, draw
    .venv/bin/python docs/make.py               # write the README's table anew from docs/results/digits.json alone

The table and the pictures are never edited by hand; a test compares the README with the JSON.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results" / "digits.json"
IMAGES = ROOT / "docs" / "images"
TITLES = {
    "nonlocal_resnet_mini": "Non-local",
    "ccnet_resnet_mini": "CCNet (2 passes)",
    "sasa_resnet_mini": "SASA",
    "lrnet_mini": "LR-Net",
    "aa_resnet_mini": "AA",
    "san_mini_pairwise": "SAN pairwise",
    "san_mini_patchwise": "SAN patchwise",
    "vit_mini": "ViT",
    "deit_mini_distilled": "DeiT distilled",
}
PAGES = {
    "nonlocal": ("nonlocal_resnet_mini",),
    "ccnet": ("ccnet_resnet_mini",),
    "sasa": ("sasa_resnet_mini",),
    "lrnet": ("lrnet_mini",),
    "aaconv": ("aa_resnet_mini",),
    "san": ("san_mini_pairwise", "san_mini_patchwise"),
    "vit": ("vit_mini",),
    "deit": ("deit_mini_distilled",),
}


def collect(folder: Path) -> dict[str, Any]:
    """The numbers of a finished comparison with the recipe and the environment they come from."""
    compared = json.loads((folder / "compare.json").read_text())
    run = folder / compared["runs"][0]["folder"]
    recipe, environment = (json.loads((run / f"{name}.json").read_text()) for name in ("recipe", "env"))
    metrics = json.loads((run / "metrics.json").read_text())
    kept = ("epochs", "batch_size", "optimizer", "lr", "weight_decay", "label_smoothing", "crop_padding", "ema")
    return {
        "schema": 1,
        "command": "make demo",
        "environment": environment,
        "recipe": {key: recipe["recipe"][key] for key in kept},
        "data": {key: recipe["data"][key] for key in ("source", "sizes", "fingerprint")},
        "test_images": metrics["test"]["n"],
        "seeds": compared["seeds"],
        "summary": compared["summary"],
    }


def table(results: dict[str, Any]) -> str:
    """The README's table in Markdown, with what it was measured on."""
    head = "| net | test accuracy (95%) | against the twin | parameters | multiply-adds | training img/s | inference img/s |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for line in results["summary"]:
        if line["paired_difference"] is None:
            versus = "the twin"
        else:
            versus = f"{100 * line['paired_difference']:+.1f} (p = {line['paired_p']:.2g})"
        lines.append(
            f"| `{line['model']}` | {line['accuracy_mean']:.1%} ({line['accuracy_low']:.1%} .. {line['accuracy_high']:.1%}) "
            f"| {versus} | {line['parameters']:,} | {line['macs'] / 1e6:.2f} M "
            f"| {line['train_images_per_second']:,.0f} | {line['inference_images_per_second']:,.0f} |"
        )
    environment, recipe = results["environment"], results["recipe"]
    note = (
        f"{results['test_images']} test images of 8 x 8 pixels, {len(results['seeds'])} seed, {recipe['epochs']} epochs, "
        "one recipe for all; p is McNemar's exact test on the same test images. "
        f"{environment['cpu']}, {environment['threads']} threads, torch {environment['torch']}, "
        f"commit {environment['commit']}. From [docs/results/digits.json](docs/results/digits.json)."
    )
    lines += ["", note]
    return "\n".join(lines)


def write_table(results: dict[str, Any]) -> None:
    """Put the table between the README's markers."""
    readme = ROOT / "README.md"
    text = readme.read_text()
    marked = re.compile(r"(<!-- results -->\n).*?(<!-- /results -->)", re.S)
    if not marked.search(text):
        raise ValueError("README.md lost its markers <!-- results --> and <!-- /results -->")
    readme.write_text(marked.sub(lambda match: match[1] + table(results) + "\n" + match[2], text))


def maps_of(folder: Path, model: str) -> tuple[np.ndarray, list[dict[str, Any]], list[np.ndarray]]:
    """Pictures (P, H, W, 3), the layers' descriptions, and their maps (P, hq, wq, hk, wk)."""
    run = folder / f"{model}-s0" / "maps"
    layers = json.loads((run / "maps.json").read_text())["layers"]
    with np.load(run / "maps.npz") as arrays:
        return arrays["pictures"], layers, [arrays[f"layer{i}"].astype(np.float32) for i in range(len(layers))]


def finest(layers: list[dict[str, Any]], maps: list[np.ndarray]) -> np.ndarray:
    """The maps of the last layer on the finest grid a net has."""
    sizes = [one["query_grid"][0] * one["query_grid"][1] for one in layers]
    best = max(index for index, size in enumerate(sizes) if size == max(sizes))
    return maps[best]


def from_pixel(maps: np.ndarray, picture: int, row: int, col: int, size: tuple[int, int]) -> np.ndarray:
    """The map (hk, wk) of the query that covers pixel (row, col) of an image of that size."""
    hq, wq = maps.shape[1:3]
    return maps[picture, row * hq // size[0], col * wq // size[1]]


def show_map(axis: Any, picture: np.ndarray, weights: np.ndarray, row: int, col: int, title: str) -> None:
    """Draw one map over its whole picture, the query marked."""
    height, width = picture.shape[:2]
    signed = weights.min() < 0
    limit = float(np.abs(weights).max()) or 1.0
    colours, low = ("RdBu_r", -limit) if signed else ("viridis", 0.0)
    axis.imshow(weights, cmap=colours, vmin=low, vmax=limit, extent=(0, width, height, 0), interpolation="nearest")
    axis.plot(col + 0.5, row + 0.5, marker="o", ms=7, mfc="none", mec="white", mew=2.5)
    axis.plot(col + 0.5, row + 0.5, marker="o", ms=7, mfc="none", mec="#d0021b", mew=1.2)
    axis.set_title(title, fontsize=9)
    axis.set_xlabel(f"max {limit:.2f}", fontsize=7, labelpad=2)
    axis.set_xticks([])
    axis.set_yticks([])


def show_picture(axis: Any, picture: np.ndarray, row: int, col: int, title: str) -> None:
    """Draw a picture with the query marked."""
    height, width = picture.shape[:2]
    axis.imshow(picture, extent=(0, width, height, 0), interpolation="nearest")
    axis.plot(col + 0.5, row + 0.5, marker="o", ms=7, mfc="none", mec="#d0021b", mew=2)
    axis.set_title(title, fontsize=9)
    axis.set_xticks([])
    axis.set_yticks([])


def draw_eight(folder: Path) -> None:
    """One picture, one pixel, all nets side by side: docs/images/eight.png."""
    from matplotlib import pyplot as plt

    picture_index, row, col = 3, 3, 3
    figure, axes = plt.subplots(2, 5, figsize=(9, 4.3), layout="constrained")
    flat = axes.flatten()
    for axis, (model, title) in zip(flat[1:], TITLES.items(), strict=True):
        pictures, layers, maps = maps_of(folder, model)
        picture = pictures[picture_index]
        chosen = from_pixel(finest(layers, maps), picture_index, row, col, picture.shape[:2])
        show_map(axis, picture, chosen, row, col, title)
        show_picture(flat[0], picture, row, col, "picture and pixel")
    save(figure, "eight.png")


def draw_family(folder: Path, page: str, models: tuple[str, ...]) -> None:
    """Three pictures and where the family's trained net looks from one pixel of each: docs/images/PAGE.png."""
    from matplotlib import pyplot as plt

    queries = [(0, (2, 4)), (2, (4, 4)), (4, (6, 2))]
    rows = 1 + len(models)
    figure, axes = plt.subplots(rows, 3, figsize=(5.2, 1.85 * rows), layout="constrained", squeeze=False)
    for row_index, model in enumerate(models, 1):
        pictures, layers, maps = maps_of(folder, model)
        for column, (index, (row, col)) in enumerate(queries):
            picture = pictures[index]
            show_picture(axes[0, column], picture, row, col, "picture and pixel" if column == 1 else "")
            chosen = from_pixel(finest(layers, maps), index, row, col, picture.shape[:2])
            show_map(axes[row_index, column], picture, chosen, row, col, TITLES[model] if column == 1 else "")
    save(figure, f"{page}.png")


def save(figure: Any, name: str) -> None:
    """Write a figure to docs/images."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGES / name, dpi=130, facecolor="white")
    mpl.pyplot.close(figure)


def main(arguments: list[str]) -> None:
    """See the module's docstring."""
    if arguments:
        folder = Path(arguments[0])
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(collect(folder), indent=1) + "\n")
        mpl.use("Agg")
        draw_eight(folder)
        for page, models in PAGES.items():
            draw_family(folder, page, models)
    write_table(json.loads(RESULTS.read_text()))


if __name__ == "__main__":
    main(sys.argv[1:])
