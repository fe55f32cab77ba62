"""Images a second of the input alone, beside the training step it feeds, and beside timm's loader, in one run.

`.venv/bin/python benchmarks/input.py DATA [--out FILE]`; DATA is anything that `sightline train` takes. Without --out the result is
docs/results/input.json, and its table is put into docs/data.md.
Contenders: the set in memory, augmented in batches; the same pictures read and decoded anew for every batch, with 0 and 2 workers;
timm's loader with its own worker processes and transforms of the same kind (resized crop, flip, RandAugment 9). Each is run in
turn, repeatedly; medians and spreads are over the repetitions.
"""

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timm.data import create_loader
from torch.utils.data import Dataset

from sightline import create_model
from sightline.data import Augment, FileSet, ImageSet, Loader, StreamSet, generator_for, load_splits
from sightline.data.picture import Picture
from sightline.runs import environment

ROOT = Path(__file__).resolve().parent.parent
RESULT, PAGE = ROOT / "docs" / "results" / "input.json", ROOT / "docs" / "data.md"
BATCH, STEPS, REPEATS = 128, 12, 5
LIGHT = {"crop_padding": 4, "flip": 0.5}
STRONG = {"crop_padding": 4, "flip": 0.5, "randaugment_ops": 2, "randaugment_magnitude": 9, "erasing": 0.25}


class Decoded(Dataset):
    """Encoded pictures for timm's loader."""

    def __init__(self, pictures: list[Picture]) -> None:
        self.pictures, self.transform = pictures, None

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int):
        import io

        from PIL import Image

        picture = self.pictures[index]
        image = Image.open(io.BytesIO(picture.source) if isinstance(picture.source, bytes) else picture.source)
        return self.transform(image.convert("RGB")), picture.label


def ours(images: ImageSet, augment: Augment, workers: int) -> Callable[[], float]:
    """Images a second of our loader and augmentation."""

    def run() -> float:
        loader = Loader(images, BATCH, workers=workers, drop_last=True)
        started = time.perf_counter()
        for step, batch in enumerate(loader.epoch(0)):
            augment(batch.images, generator_for(0, "bench", step))
            if step + 1 == STEPS:
                break
        return STEPS * BATCH / (time.perf_counter() - started)

    return run


def timms(pictures: list[Picture], size: tuple[int, int], workers: int, strong: bool) -> Callable[[], float]:
    """Images a second of timm's loader, from its first batch on."""
    options = {"auto_augment": "rand-m9-n2", "re_prob": 0.25} if strong else {}
    loader = create_loader(
        Decoded(pictures), (3, *size), BATCH, is_training=True, num_workers=workers, use_prefetcher=True,
        device=torch.device("cpu"), persistent_workers=workers > 0, hflip=0.5, **options,
    )  # fmt: skip

    def run() -> float:
        batches = iter(loader)
        next(batches)  # the start of the processes is not counted
        started = time.perf_counter()
        for _ in range(STEPS):
            next(batches)
        return STEPS * BATCH / (time.perf_counter() - started)

    return run


def training(model: str, size: tuple[int, int], classes: int) -> Callable[[], float]:
    """Images a second of forward, backward and update, with the images at hand."""
    net = create_model(model, num_classes=classes)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, fused=True)
    images, labels = torch.randn(BATCH, 3, *size), torch.randint(classes, (BATCH,))

    def run() -> float:
        started = time.perf_counter()
        for _ in range(2):
            torch.nn.functional.cross_entropy(net(images), labels).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return 2 * BATCH / (time.perf_counter() - started)

    return run


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--limit", type=int, help="training pictures, all without it")
    parser.add_argument("--out", type=Path, default=RESULT)
    chosen = parser.parse_args()
    options = {"train_limit": chosen.limit, "test_limit": 200}
    held, encoded = load_splits(chosen.data, **options), load_splits(chosen.data, **options, memory_limit=MEMORY)
    size = held.image_size
    if isinstance(encoded.train, StreamSet):
        pictures = encoded.train.pictures(range(len(encoded.train)))
    elif isinstance(encoded.train, FileSet):
        pictures = list(encoded.train.pictures)
    else:
        raise SystemExit("the pictures fit into 3 MiB; take more with --limit")
    light, strong = (Augment(held.mean, held.std, **some) for some in (LIGHT, STRONG))
    contenders = {
        "in memory, crop and flip": ours(held.train, light, 0),
        "in memory, RandAugment and erasing": ours(held.train, strong, 0),
        "decoded anew, crop and flip": ours(encoded.train, light, 0),
        "decoded anew, 2 workers, crop and flip": ours(encoded.train, light, 2),
        "timm, 2 workers, crop and flip": timms(pictures, size, 2, strong=False),
        "timm, 2 workers, RandAugment and erasing": timms(pictures, size, 2, strong=True),
        "training step of resnet_mini": training("resnet_mini", size, len(held.classes)),
        "training step of vit_mini": training("vit_mini", size, len(held.classes)),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        run()
    for _ in range(REPEATS):
        for name, run in contenders.items():
            rates[name].append(run())
    rows = {
        name: {"median": statistics.median(some), "low": min(some), "high": max(some)} for name, some in rates.items()
    }
    content = {
        "environment": environment(),
        "batch": BATCH,
        "image_size": size,
        "n": REPEATS,
        "images_per_second": rows,
    }
    chosen.out.write_text(json.dumps({"schema": 1} | content, indent=1) + "\n")
    print(table(content))
    if chosen.out == RESULT:
        write_page(content)


def table(content: dict[str, Any]) -> str:
    """The rates as Markdown."""
    rows = content["images_per_second"].items()
    lines = [f"| {name} | {row['median']:,.0f} | {row['low']:,.0f} .. {row['high']:,.0f} |" for name, row in rows]
    return "\n".join(["| input or step | images a second | lowest .. highest |", "|---|---:|---:|", *lines])


def write_page(content: dict[str, Any]) -> None:
    """The table, and what it was measured on, between the marks of docs/data.md."""
    machine = content["environment"]
    about = (
        f"{machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}, {' x '.join(map(str, content['image_size']))} "
        f"pixels, batches of {content['batch']}, medians of {content['n']} in turn, commit {machine['commit'][:12]}."
    )
    block = f"<!-- input -->\n{table(content)}\n\n{about}\n<!-- /input -->"
    PAGE.write_text(re.sub(r"<!-- input -->.*?<!-- /input -->", lambda _: block, PAGE.read_text(), flags=re.S))


MEMORY = 3 * 2**20  # bytes: too little for the pixels of a few thousand small pictures

if __name__ == "__main__":
    main()
