"""V1 to V5."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks.claims.claim import Number, Outcome, decide, experiment
from benchmarks.claims.layers import C, make
from benchmarks.claims.trained import accuracy_numbers, difference, points, robust
from sightline.cost import count_entry
from sightline.explain import capture
from sightline.layers import PairwiseSelfAttention2d
from sightline.weights import create_model

KINDS = ("SAN pairwise", "SAN patchwise")
SMALL = {"SAN pairwise": "san_mini_pairwise", "SAN patchwise": "san_mini_patchwise"}
TWIN = "resnet_mini"
SETS = {"CIFAR-10": "robustness", "digits": "robustness_digits"}
Chosen = Callable[[dict[str, Any]], bool]
Test = tuple[str, Chosen]
TURNS = ("rotated 90", "rotated 180", "rotated 270", "upside-down")
OUT = "docs/results/robustness/NET.json"
EVALUATE = f"sightline evaluate --model NET --weights cifar10 --data cifar10/test.parquet --robustness --out {OUT}"


@experiment("V1")
def two_steps() -> Outcome:
    """No transformation is wider than a pixel, and aggregation keeps channels apart."""
    numbers, parts = [], {}
    for name in ("san10_pairwise", "san10_patchwise"):
        with torch.device("meta"):
            net = create_model(name)
        wide = [one for one in net.modules() if isinstance(one, nn.Conv2d) and max(one.kernel_size) > 1]
        parts[f"{name}: transformations are pointwise"] = not wide
        numbers.append(Number(f"{name}: convolutions larger than 1 x 1", str(len(wide)), paper="0"))
    for name in KINDS:
        mixed = _mixing(name)
        parts[f"{name}: aggregation mixes no channels"] = mixed == 0
        numbers.append(
            Number(
                f"{name}: largest weight of another channel's values in an aggregated channel",
                f"{mixed:.1e}",
                f"{C} channels",
            )
        )
    return Outcome(
        "Modules of the papers' nets; and the gradient of what the aggregation returns in the values it was "
        "given, channel by channel.",
        numbers,
        *decide(parts),
    )


def _mixing(name: str) -> float:
    """The aggregation's operands are taken on their way, its gradient across channels measured."""
    torch.manual_seed(0)
    layer = make(name)
    seen: list[tuple[tuple, dict]] = []
    hook = layer.attend.register_forward_pre_hook(lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True)
    layer(torch.randn(1, C, 7, 7, dtype=torch.float64))
    hook.remove()
    (args, kwargs), largest = seen[0], 0.0
    place = next(
        i for i, one in enumerate(args) if isinstance(one, torch.Tensor) and one.shape[1] == C and one.ndim == 4
    )
    values = args[place].detach().clone().requires_grad_()
    out = layer.attend(*args[:place], values, *args[place + 1 :], **kwargs)
    for channel in range(out.shape[1]):
        (gradient,) = torch.autograd.grad(out[0, channel].sum(), values, retain_graph=True)
        others = torch.arange(C) != channel
        largest = max(largest, gradient[0, others].abs().max().item())
    return largest


@experiment("V2")
def vectors() -> Outcome:
    """How far weights differ over channel groups and over positions."""
    numbers, parts = [], {}
    dot = PairwiseSelfAttention2d(32, kernel_size=5, relation="dot")
    for name, layer in (
        ("pairwise", PairwiseSelfAttention2d(32, kernel_size=5)),
        ("patchwise", _patchwise()),
        ("pairwise with the dot product", dot),
    ):
        torch.manual_seed(0)
        x = torch.randn(1, 32, 9, 9)
        with torch.no_grad(), capture(layer.eval(), queries=[(4, 4), (2, 5)]) as maps:
            layer(x)
        weights = maps[0].weights[0].double()  # G, Q, S
        size = weights.abs().mean()
        groups = (weights - weights.mean(0, keepdim=True)).abs().mean() / size
        space = (weights - weights.mean(-1, keepdim=True)).abs().mean() / size
        parts[f"{name} varies over channels"] = bool(groups > 1e-3)
        numbers.append(
            Number(
                f"{name}: mean difference over channel groups, over positions, relative",
                f"{groups:.3f}, {space:.3f}",
                f"{len(weights)} groups of 32 channels, 2 queries",
            )
        )
    return Outcome(
        "Captured weights of layers of 32 channels, eight channels a weight, at their random start.",
        numbers,
        *decide(parts),
    )


def _patchwise() -> nn.Module:
    from sightline.layers import PatchwiseSelfAttention2d

    return PatchwiseSelfAttention2d(32, kernel_size=5)


@experiment("V3")
def fewer_parameters() -> Outcome:
    """Counts of the three sizes; accuracy where the small nets were trained."""
    numbers, parts = [], {}
    printed = {"10": ("10.5", "11.8", "13.7"), "15": ("14.1", "16.2", "19.6"), "19": ("17.6", "20.5", "25.6")}
    for size, rival in (("10", "conv_resnet26"), ("15", "conv_resnet38"), ("19", "conv_resnet50")):
        costs = [count_entry(name).cost for name in (f"san{size}_pairwise", f"san{size}_patchwise", rival)]
        parts[f"SAN{size} has fewer parameters than {rival}"] = (
            max(costs[0].parameters, costs[1].parameters) < costs[2].parameters
        )
        numbers.append(
            Number(
                f"parameters, SAN{size} pairwise, patchwise, {rival}",
                ", ".join(f"{one.parameters / 1e6:.2f} M" for one in costs),
                paper=", ".join(f"{one} M" for one in printed[size]),
            )
        )
    for name in KINDS:
        more, part = accuracy_numbers(SMALL[name], TWIN, f"{name} more accurate than its twin (small nets)")
        numbers, parts = numbers + more, parts | part
    return Outcome(
        "The papers' nets counted in closed form. Accuracy: the small nets on CIFAR-10.", numbers, *decide(parts)
    )


@experiment("V4")
def under_attack() -> Outcome:
    """SAN's targeted setting, and the worst case, against the twin."""
    return _against_twin(
        "Attacks on the small nets, trained with the twin's budget on CIFAR-10 or on digits of 8 x 8 pixels (`make demo`); "
        "docs/robustness.md defines them. Accuracy under attack less the twin's.",
        [
            ("targeted PGD, 2 steps of 4/255 within 8/255", lambda one: one["targeted"] and one["steps"] == 2),
            ("targeted PGD, 4 steps of 2/255 within 8/255", lambda one: one["targeted"] and one["steps"] == 4),
            *((f"worst case within {eps}/255", partial(_worst, eps=eps)) for eps in (1, 8)),
        ],
        "attacks",
    )


@experiment("V5")
def turned() -> Outcome:
    """Drop on turned pictures against the twin's drop."""
    return _against_twin(
        "Turned test pictures, small nets trained with the twin's budget on CIFAR-10 or on digits of 8 x 8 pixels (`make demo`). "
        "Accuracy on them less the twin's.",
        [(name, lambda one, name=name: one["name"] == name) for name in TURNS],
        "shifts",
    )


def _worst(one: dict[str, Any], eps: float) -> bool:
    return one["attack"] == "worst case" and one["norm"] == "linf" and one["eps"] == eps


def _against_twin(words: str, tests: Sequence[Test], field: str) -> Outcome:
    """One part a kind of SAN and test: the interval of the difference lies above zero; on CIFAR-10, else on digits."""
    numbers: list[Number] = []
    parts: dict[str, bool | None] = {}
    for data, folder in SETS.items():
        twin = robust(TWIN, folder)
        for name in KINDS:
            net = robust(SMALL[name], folder)
            if net is None or twin is None:
                parts[f"{name} on {data}"] = None
                continue
            for test, chosen in tests:
                gap, number = _gap(f"{data}, {name}, {test}", net, twin, field, chosen)
                numbers.append(number)
                parts[f"{name}, {test}, on {data}"] = gap > 0
    return Outcome(words, numbers, *decide(parts), EVALUATE)


def _gap(name: str, net: dict[str, Any], twin: dict[str, Any], field: str, chosen: Chosen) -> tuple[float, Number]:
    """The low end of the difference, and its row."""
    one, two = (next(filter(chosen, content[field])) for content in (net, twin))
    difference_ = difference(one["accuracy"], one["n"], two["accuracy"], two["n"])
    text, interval = points(difference_)
    clean = [
        content["accuracy"] if field == "shifts" else content["attacks"][0]["attacked"] / two["n"]
        for content in (net, twin)
    ]
    drops = f"{clean[0]:.1%} to {one['accuracy']:.1%}; twin {clean[1]:.1%} to {two['accuracy']:.1%}"
    return difference_[1], Number(f"{name}: {drops}", text, f"{one['n']:,} images, one net each", interval)
