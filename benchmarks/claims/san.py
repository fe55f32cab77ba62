"""V1 to V5."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks.claims.claim import Number, Outcome, Part, above, decide, experiment
from benchmarks.claims.layers import C, make
from benchmarks.claims.trained import accuracy_numbers, difference, equal_budgets, matched, nets, points, robust
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
FIRST = "resnet_mini_first"  # the twin's stage that had the budget of the nets that start from random weights
DIGITS = "or on digits of 8 x 8 pixels (another run of `make demo` than V3's)"
Gap = tuple[float, float, float]


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
        parts[f"{name} varies over space and over channels"] = bool(groups > 1e-3 and space > 1e-3)
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
        f"Attacks on the small nets, trained with one budget on CIFAR-10 {DIGITS}; docs/robustness.md defines them. Accuracy under "
        "attack less the twin's.",
        [
            ("targeted PGD, 2 steps of 4/255 within 8/255", lambda one: one["targeted"] and one["steps"] == 2),
            ("targeted PGD, 4 steps of 2/255 within 8/255", lambda one: one["targeted"] and one["steps"] == 4),
            *((f"worst case within {eps}/255", partial(_worst, eps=eps)) for eps in (1, 8)),
        ],
        _standing,
    )


@experiment("V5")
def turned() -> Outcome:
    """Drop on turned pictures against the twin's drop."""
    return _against_twin(
        f"Turned test pictures, small nets trained with one budget on CIFAR-10 {DIGITS}. How much less accuracy drops than the "
        "twin's.",
        [(name, lambda one, name=name: one["name"] == name) for name in TURNS],
        _drop,
    )


def _worst(one: dict[str, Any], eps: float) -> bool:
    return one["attack"] == "worst case" and one["norm"] == "linf" and one["eps"] == eps


def _against_twin(words: str, tests: Sequence[Test], compare: Callable[..., tuple[str, Gap]]) -> Outcome:
    """One part a kind of SAN and test: whether the interval of the difference lies above zero, on CIFAR-10 and on digits."""
    numbers: list[Number] = []
    parts: dict[str, Part] = {}
    for data, folder in SETS.items():
        for name in KINDS:
            net, twin = robust(SMALL[name], folder), robust(_twin_of(SMALL[name], folder), folder)
            if net is None or twin is None:
                parts[f"{name} on {data}"] = None
                continue
            for test, chosen in tests:
                said, gap = compare(net, twin, chosen)
                text, interval = points(gap)
                n = next(filter(chosen, net["shifts" if compare is _drop else "attacks"]))["n"]
                numbers.append(Number(f"{data}, {name}, {test}: {said}", text, f"{n:,} images, one net each", interval))
                parts[f"{name}, {test}, on {data}"] = above(gap[1], gap[2])
    return Outcome(words, numbers, *decide(parts), _command())


def _twin_of(model: str, folder: str) -> str:
    """The twin that had the net's budget; on CIFAR-10 that may be the twin's first stage."""
    found = nets()
    if folder != "robustness" or model not in found:
        return TWIN
    stage = matched(found[model], found[TWIN])
    if not equal_budgets(found[model], stage):
        return ""
    return TWIN if stage is found[TWIN] else FIRST


def _standing(net: dict[str, Any], twin: dict[str, Any], chosen: Chosen) -> tuple[str, Gap]:
    """Accuracy under an attack, net less twin."""
    one, two = (next(filter(chosen, content["attacks"])) for content in (net, twin))
    clean = [content["attacks"][0]["attacked"] / two["n"] for content in (net, twin)]
    said = f"{clean[0]:.1%} to {one['accuracy']:.1%}; twin {clean[1]:.1%} to {two['accuracy']:.1%}"
    return said, difference(one["accuracy"], one["n"], two["accuracy"], two["n"])


def _drop(net: dict[str, Any], twin: dict[str, Any], chosen: Chosen) -> tuple[str, Gap]:
    """Drop on changed pictures, twin less net; intervals of four shares, added in squares."""
    one, two = (next(filter(chosen, content["shifts"])) for content in (net, twin))
    drops = [
        difference(content["accuracy"], content["n"], changed["accuracy"], changed["n"])
        for content, changed in ((twin, two), (net, one))
    ]
    (theirs, t_low, t_high), (ours, o_low, o_high) = drops
    low = ((theirs - t_low) ** 2 + (o_high - ours) ** 2) ** 0.5
    high = ((t_high - theirs) ** 2 + (ours - o_low) ** 2) ** 0.5
    said = f"{net['accuracy']:.1%} to {one['accuracy']:.1%}; twin {twin['accuracy']:.1%} to {two['accuracy']:.1%}"
    return said, (theirs - ours, theirs - ours - low, theirs - ours + high)


def _command() -> str:
    """What made the measurements on CIFAR-10, as they say themselves."""
    content = next((one for name in SMALL.values() if (one := robust(name, "robustness"))), None)
    words = "sightline evaluate --model NET --weights cifar10 --data cifar10/test.parquet --robustness"
    if content is not None:
        hard = content["settings"]
        words += (
            f" --limit {hard['limit']} --attack-limit {hard['attack_limit']} --attack-steps {hard['steps']} "
            f"--ensemble-steps {hard['ensemble_steps']} --queries {hard['queries']}"
        )
    return f"{words} --out docs/results/robustness/NET.json"
