"""Whole nets at 224 x 224 against ResNet-50, each in its best eager memory layout; inference and training; DeiT-S against
timm's own.

Nets are timed side by side; images a second and, since nets differ in size, time for a multiply-add. Before that each net's logits
on a smaller image are compared with those of its own copy in float64 by the references. A training step is forward and backward
in training mode, without an optimiser.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from sightline.backbones import create_model, list_models
from sightline.bench.case import BASELINE, BOTH, FORWARD, OURS
from sightline.bench.gate import TOLERANCE, Verdict, difference
from sightline.bench.measure import entry, fill, finite, remember_memory
from sightline.bench.settings import Settings
from sightline.cost import count
from sightline.cost.measure import inference, training_step
from sightline.cost.resident import peak_extra
from sightline.cost.timing import interleaved, timed
from sightline.ops import use_backend

BASE = ("conv_resnet50", "resnet50")  # the first that there is
GROUPS = {
    "windows": ("sasa_resnet50", "lrnet50"),
    "vector": ("san10_pairwise", "san10_patchwise"),
    "blocks": ("aa_resnet50", "nonlocal_resnet50"),
    "tokens": ("vit_s16", "deit_s16_distilled"),
    "dilated, batch 2": ("ccnet_resnet50",),  # its last stages keep a map of 28 x 28, ten times the multiply-adds
}
BATCH, FEW = 8, 2
OTHERS = {"transformers": ("deit_small_patch16_224", "deit_s16")}  # beside another library's own net, the first: timm's
SMALL = ("resnet_mini", "sasa_resnet_mini", "lrnet_mini", "san_mini_pairwise", "san_mini_patchwise", "vit_mini")
NET_SECONDS = 4  # times what another contender may take
GATE_SIDE = 96  # pixels a side of the image that logits are compared on; float64 takes its time
LAYOUTS = {"": torch.contiguous_format, "channels last": torch.channels_last}


@dataclass(frozen=True)
class NetCase:
    """Nets side by side.

    Args:
        name: of the case.
        nets: names, the first the baseline.
        side: pixels of the image.
        batch: images.
        training: a training step, or inference.
        quick: part of a quick run?
        gate_side: pixels a side of the image that logits are compared on.
    """

    name: str
    nets: tuple[str, ...]
    side: int
    batch: int
    training: bool
    quick: bool
    gate_side: int = GATE_SIDE

    @property
    def about(self) -> str:
        """The input, for people."""
        return f"{self.side} x {self.side}, batch {self.batch}"


def cases() -> list[NetCase]:
    """The nets that there are, in inference and in training; small ones for a quick run."""
    known = set(list_models())
    base = next(name for name in BASE if name in known or name == BASE[-1])
    found = [NetCase(f"small {word}", SMALL, 32, 32, word == "training", True) for word in ("inference", "training")]
    for word in ("inference", "training"):
        for group, names in GROUPS.items():
            nets = (base, *(name for name in names if name in known))
            batch = FEW if group.endswith(f"batch {FEW}") else BATCH
            found.append(NetCase(f"{word}, {group}", nets, 224, batch, word == "training", False))
        for group, nets in OTHERS.items():  # timm's transformers take images of their own size alone
            found.append(NetCase(f"{word}, {group}", nets, 224, BATCH, word == "training", False, gate_side=224))
    return found


def measure(case: NetCase, settings: Settings) -> dict[str, Any]:
    """Gate and time the nets of a case."""
    torch.manual_seed(0)
    step, direction = (training_step, BOTH) if case.training else (inference, FORWARD)
    images = torch.rand(case.batch, 3, case.side, case.side, device=settings.device)
    records, calls, known = {}, {}, {}
    for index, name in enumerate(case.nets):
        model = create_model(name, num_classes=1000, img_size=case.side).to(settings.device)
        verdict = checked(name, case.side, min(case.side, case.gate_side), settings.device)
        records[name] = net_record(name, model, case, verdict, BASELINE if index == 0 else OURS)
        if not verdict.refused:
            best = best_layout(model, images, step, settings)
            records[name]["note"], calls[name], known[name] = best.layout, best.call, best.seconds
            if best.memory:
                remember_memory(records[name], direction, best.memory)
    each = NET_SECONDS * settings.seconds
    fill(records, direction, interleaved(calls, settings.rounds, settings.sample_seconds, each, known=known))
    return entry(case, records, case.batch)


@cache
def checked(name: str, side: int, gate_side: int, device: str) -> Verdict:
    """The verdict on a net built for images of `side` pixels, once for all cases that it is in."""
    return check(create_model(name, num_classes=1000, img_size=side).to(device), gate_side)


def check(model: nn.Module, side: int) -> Verdict:
    """A copy's logits in float32 against those in float64 by the references, for one image.

    Parameters that start at zero (the last normalisation of a bottleneck, a classifier) would hide all that lies behind them; in
    the copy they do not.
    """
    device = next(model.parameters()).device
    images = torch.rand(1, 3, side, side, device=device)
    model = copy.deepcopy(model).eval()
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.2)
    exact = copy.deepcopy(model).double()
    with torch.no_grad():
        found = model(images)
        with use_backend("reference"):
            wanted = exact(images.double())
    worst, tolerance = difference(found, wanted), 5 * TOLERANCE[torch.float32]
    return Verdict(
        worst, None, "" if worst <= tolerance else f"wrong: logits off by {worst:.1e}, {tolerance:.0e} is allowed"
    )


@dataclass(frozen=True)
class Choice:
    """A memory layout, the call that makes a step in it, a warm call's seconds and, where asked for, peak memory."""

    layout: str
    call: Callable[[], None]
    seconds: float
    memory: tuple[int, str] | None


def best_layout(
    model: nn.Module, images: torch.Tensor, step: Callable[[nn.Module, torch.Tensor], None], settings: Settings
) -> Choice:
    """The faster of the two memory layouts by a step of each, whose memory is measured at the same time."""
    found = []
    for name, layout in LAYOUTS.items():
        shaped = copy.deepcopy(model).to(memory_format=layout)  # type: ignore[call-overload]
        call = _step(shaped, images.contiguous(memory_format=layout), step, settings.device)
        call()
        took: list[float] = []
        watched = partial(_clocked, call, took)
        memory = peak_extra(watched, settings.device, times=1) if settings.memory else watched()
        found.append(Choice(name, call, took[0], memory))
    return min(found, key=lambda one: one.seconds)


def _clocked(call: Callable[[], None], took: list[float]) -> None:
    took.append(timed(call))


def _step(
    model: nn.Module, images: torch.Tensor, step: Callable[[nn.Module, torch.Tensor], None], device: str
) -> Callable[[], None]:
    def call() -> None:
        step(model, images)
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    return call


def net_record(name: str, model: nn.Module, case: NetCase, verdict: Verdict, kind: str) -> dict[str, Any]:
    """A net's entry, times still to come."""
    counted = count(model, (case.side, case.side))
    return {
        "name": name,
        "kind": kind,
        "note": "",
        "refused": verdict.refused,
        "error": {"forward": finite(verdict.forward), "backward": None},
        "parameters": counted.parameters,
        "macs": counted.macs,
        "seconds": {},
        "memory": {},
    }
