"""The operators on a GPU, in bfloat16 and channels-last at the papers' batch: correctness, times by events, the card's own limits.

A sample is the time between two CUDA events around as many calls as take `sample_seconds`; nothing waits for the host in between.
Peaks are those of bfloat16 matrix products and of copies on this card, in this run. What a limit leaves out: exponentials.
"""

from typing import Any

import torch

from sightline.bench import measure as measuring
from sightline.bench.case import Case
from sightline.bench.machine import Machine
from sightline.bench.settings import Settings
from sightline.ops.triton_support.tune import events

SIDE, GIGABYTE = 8192, 1 << 30


def measure(case: Case, settings: Settings) -> dict[str, Any]:
    """Gate and time every contender of a case on the GPU.

    Raises:
        ValueError: the device is no GPU.
    """
    if not settings.device.startswith("cuda"):
        raise ValueError(f"these cases are for a GPU; got device {settings.device!r}: use --device cuda")
    machine = peaks(settings.device).as_dict()
    return {**measuring.compare(case, settings, events), "machine": machine}


def peaks(device: str) -> Machine:
    """Bfloat16 matrix products and copies, the best of five."""
    a, b = (torch.randn(SIDE, SIDE, device=device, dtype=torch.bfloat16) for _ in range(2))
    source = torch.zeros(GIGABYTE, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    products = [events(lambda: torch.mm(a, b), 5) / 5 for _ in range(6)][1:]
    copies = [events(lambda: target.copy_(source), 5) / 5 for _ in range(6)][1:]
    return Machine(2 * SIDE**3 / min(products) / 1e9, 2 * GIGABYTE / min(copies) / 1e9, SIDE)
