"""Whole nets on a GPU: compiled, bfloat16 under autocast, channels-last; inference and a training step, against ResNet-50 and timm.

Small batches are recorded as CUDA graphs (torch.compile's "reduce-overhead"): there the host's launches would be what is timed.
A training step is forward and backward in training mode, without an optimiser. Correctness of the nets is that of `tests/gpu`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from sightline.backbones import create_model
from sightline.bench import gpu
from sightline.bench.case import BASELINE, BOTH, FORWARD, OURS
from sightline.bench.gate import Verdict
from sightline.bench.measure import entry, fill
from sightline.bench.nets import NET_SECONDS, NetCase, net_record
from sightline.bench.settings import Settings
from sightline.cost.timing import interleaved
from sightline.ops.triton_support.tune import events

BATCH, SMALL = 128, 8  # images; up to SMALL of them are recorded as a CUDA graph
GROUPS = {  # the first of each is what the others are measured against
    "windows": ("conv_resnet50", "sasa_resnet50", "lrnet50"),
    "vector": ("conv_resnet50", "san10_pairwise", "san10_patchwise"),
    "vit_b16": ("timm:vit_base_patch16_224", "vit_b16"),
    "deit_s16": ("timm:deit_small_patch16_224", "deit_s16"),
}


def cases(batch: int = BATCH) -> list[NetCase]:
    """Every group in inference and in training, then in inference of one image and of a small batch."""
    found = []
    for group, nets in GROUPS.items():
        for word in ("inference", "training"):
            quick = group == "deit_s16" and word == "inference"
            found.append(NetCase(f"{word}, {group}", nets, 224, batch, word == "training", quick))
    for few in (1, SMALL):
        found += [
            NetCase(f"inference, {group}, batch {few}", nets, 224, few, False, False) for group, nets in GROUPS.items()
        ]
    return found


def measure(case: NetCase, settings: Settings) -> dict[str, Any]:
    """Time the nets of a case side by side.

    Raises:
        ValueError: the device is no GPU.
    """
    if not settings.device.startswith("cuda"):
        raise ValueError(f"these cases are for a GPU; got device {settings.device!r}: use --device cuda")
    torch.manual_seed(0)
    direction = BOTH if case.training else FORWARD
    images = torch.rand(case.batch, 3, case.side, case.side, device=settings.device)
    records, calls = {}, {}
    each = NET_SECONDS * settings.seconds
    for place, name in enumerate(case.nets):
        model = build(name).to(settings.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        records[name] = net_record(name, model, case, Verdict(), BASELINE if place == 0 else OURS)
        try:
            call = step(model, images.contiguous(memory_format=torch.channels_last), case.training)
            call()
        except torch.cuda.OutOfMemoryError:
            records[name]["refused"] = f"batch {case.batch} does not fit the card"
        else:
            calls[name] = call
    fill(records, direction, interleaved(calls, settings.rounds, settings.sample_seconds, each, events))
    return entry(case, records, case.batch, machine=gpu.peaks(settings.device).as_dict())


def build(name: str) -> nn.Module:
    """A net of ours, or timm's by "timm:NAME", with starting weights."""
    if not name.startswith("timm:"):
        return create_model(name)
    import timm

    return timm.create_model(name.removeprefix("timm:"))


def step(model: nn.Module, images: torch.Tensor, training: bool) -> Callable[[], object]:
    """A compiled call, queued and not waited for; of few images as a CUDA graph."""
    model = model.train(training)
    compiled = torch.compile(model, mode="reduce-overhead" if images.shape[0] <= SMALL else None)
    device = images.device.type

    def infer() -> object:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16):
            return compiled(images)

    def train() -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16):
            out = compiled(images)
        torch.stack(list(out) if isinstance(out, tuple) else [out]).float().mean().backward()

    return train if training else infer
