"""Pictures to train on, and how two runs that should be one are compared.

Weights, averages, moments, predictions and log, to the last bit; what a clock said is left out.
"""

import random
from pathlib import Path

import torch
from PIL import Image

from sightline.runs import RunFolder

CLOCKS = {"seconds", "images_per_second", "loader_wait"}


def draw_pictures(root: Path) -> Path:
    """26 training pictures (three steps an epoch and a remainder) and some to evaluate, on the disk."""
    draw = random.Random(3)
    for split, count in (("train", 26), ("val", 6), ("test", 6)):
        for number in range(count):
            file = root / split / "rgb"[number % 3] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (9, 7), tuple(draw.randrange(256) for _ in range(3))).save(file)
    return root


def timeless(run: Path) -> list[dict]:
    """The log, without what a clock said."""
    return [{key: value for key, value in line.items() if key not in CLOCKS} for line in RunFolder(run).log()]


def differences(one: Path, other: Path) -> list[str]:
    """What of two finished runs differs: names of tensors, files, lines of the log."""
    found = [
        name
        for name in ("model.safetensors", "predictions.npz")
        if (one / name).read_bytes() != (other / name).read_bytes()
    ]
    a, b = (_flat(torch.load(run / "checkpoints" / "last.pt", weights_only=True)) for run in (one, other))
    found += sorted(a.keys() ^ b.keys())
    found += [key for key in a.keys() & b.keys() if not _same(a[key], b[key])]
    if timeless(one) != timeless(other):
        found.append("log.jsonl")
    return found


def _flat(state, prefix: str = "") -> dict:
    if isinstance(state, dict | list | tuple):
        pairs = state.items() if isinstance(state, dict) else enumerate(state)
        return {k: v for key, part in pairs if key != "sums" for k, v in _flat(part, f"{prefix}/{key}").items()}
    return {prefix: state}


def _same(a, b) -> bool:
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
