"""A1, A2, A3, A4."""

import torch

from benchmarks.claims.claim import Number, Outcome, decide, experiment
from benchmarks.claims.trained import accuracy_numbers
from sightline.cost import count_entry
from sightline.explain import capture
from sightline.layers import AttentionAugmentedConv2d

SIDE, MOVE = 12, (2, 3)


def _logits(layer: AttentionAugmentedConv2d, x: torch.Tensor, query: tuple[int, int]) -> torch.Tensor:
    """Logits of one query over the map, less their mean over the inner part: the softmax hides a constant. (heads, H, W)."""
    with torch.no_grad(), capture(layer, queries=[query]) as maps:
        layer(x)
    return maps[0].dense()[0, :, 0].log()


def _moved(relative: bool, absolute: bool) -> list[float]:
    """Largest change of a logit difference between two keys when picture, query and keys move together."""
    found = []
    for draw in range(6):
        torch.manual_seed(draw)
        layer = AttentionAugmentedConv2d(8, 8, 3, 8, 4, heads=2, relative=relative, size=(SIDE, SIDE)).double().eval()
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(0.5 * torch.randn_like(parameter))
        x = torch.randn(1, 8, SIDE, SIDE, dtype=torch.float64)
        place = torch.randn(1, 8, SIDE, SIDE, dtype=torch.float64) * (1 if absolute else 0)
        before = _logits(layer, x + place, (4, 4))[:, : -MOVE[0], : -MOVE[1]]
        after = _logits(layer, x.roll(MOVE, (2, 3)) + place, (4 + MOVE[0], 4 + MOVE[1]))[:, MOVE[0] :, MOVE[1] :]
        one, two = (part - part[:, :1, :1] for part in (before, after))
        found.append((one - two).abs().max().item())
    return found


@experiment("A1")
def equivariant() -> Outcome:
    """Logit differences under a shift, with relative, absolute and no positions."""
    numbers, worst = [], {}
    for name, relative, absolute in (
        ("relative", True, False),
        ("none", False, False),
        ("absolute, added to the input", False, True),
    ):
        found = _moved(relative, absolute)
        worst[name] = max(found)
        numbers.append(
            Number(
                f"positions {name}: largest change of a logit",
                f"{max(found):.1e}",
                f"{len(found)} layers, {SIDE} x {SIDE}",
            )
        )
    return Outcome(
        f"Picture, query and keys move together by {MOVE[0]} rows and {MOVE[1]} columns; the differences of the "
        "logits between keys that "
        "stay on the map are compared. Attention-augmented convolution, random parameters and pictures, float64.",
        numbers,
        *decide(
            {
                "relative logits move with the picture": worst["relative"] < 1e-9,
                "absolute positions break it": worst["absolute, added to the input"] > 1e-3,
            }
        ),
    )


@experiment("A2")
def alone_or_beside() -> Outcome:
    """Costs of the fully attentional net and of the mixed one; accuracy of the small ones."""
    alone, mixed = count_entry("aa_resnet50_ratio100").cost, count_entry("aa_resnet50").cost
    beside = {"sasa_resnet_mini": "attention alone", "resnet_mini": "convolution alone"}
    found = [
        accuracy_numbers("aa_resnet_mini", other, f"beside convolution more accurate than {words} (small nets)")
        for other, words in beside.items()
    ]
    return Outcome(
        "The papers' nets counted in closed form. Accuracy: the small nets on CIFAR-10, SASA's attention as the one that is alone. "
        "At full size: `sightline train --model aa_resnet50_ratio100` and `aa_resnet50`, 100 epochs each, days on eight GPUs.",
        [
            Number(
                "parameters, attention alone and beside convolution",
                f"{alone.parameters / 1e6:.2f} M, {mixed.parameters / 1e6:.2f} M",
                paper="19.4 M, 25.8 M",
            ),
            Number(
                "FLOPs (2 a multiply-add), likewise",
                f"{2 * alone.macs / 1e9:.2f} B, {2 * mixed.macs / 1e9:.2f} B",
                paper="6.3 B, 8.3 B",
            ),
            *(number for numbers, _ in found for number in numbers),
        ],
        *decide(
            {
                "attention alone saves parameters": alone.parameters < mixed.parameters,
                "and multiply-adds": alone.macs < mixed.macs,
            }
            | found[0][1]
            | found[1][1]
        ),
    )


@experiment("A3")
def concatenation() -> Outcome:
    """First channels against the convolution, the rest against the attention's own output."""
    differences, grads = [], []
    for draw in range(4):
        torch.manual_seed(draw)
        layer = AttentionAugmentedConv2d(8, 12, 3, 8, 4, heads=2, size=(9, 7)).double().eval()
        x = torch.randn(2, 8, 9, 7, dtype=torch.float64)
        out = layer(x)
        differences.append((out[:, :8] - layer.conv(x)).abs().max().item())
        (gradient,) = torch.autograd.grad(out[:, 8:].sum(), layer.conv.weight, allow_unused=True)
        grads.append(0.0 if gradient is None else gradient.abs().max().item())
    return Outcome(
        "One layer, 8 channels of convolution and 4 of attention, against its own convolution run alone, float64.",
        [
            Number(
                "largest difference of the first channels from the convolution", f"{max(differences):.1e}", "4 layers"
            ),
            Number("gradient of the other channels in the convolution's weights", f"{max(grads):.1e}", "4 layers"),
        ],
        *decide({"convolution and attention side by side": max(differences) < 1e-12 and max(grads) == 0}),
    )


@experiment("A4")
def against_squeeze() -> Outcome:
    """Costs of the papers' pair; accuracy of the small nets, with the twin that has neither."""
    mixed, squeezed = count_entry("aa_resnet50").cost, count_entry("se_resnet50").cost
    numbers, accurate = accuracy_numbers("aa_resnet_mini", "se_resnet_mini", "more accurate (small nets)")
    beside, _ = accuracy_numbers("se_resnet_mini", "resnet_mini", "the twin with neither")
    return Outcome(
        "The papers' nets counted in closed form. Accuracy: the small nets on CIFAR-10, from random weights, beside the twin with "
        "neither. At full size: `sightline train --model aa_resnet50` and `se_resnet50`, 100 epochs each, days on eight GPUs.",
        [
            Number(
                "parameters, AA and SE",
                f"{mixed.parameters / 1e6:.2f} M, {squeezed.parameters / 1e6:.2f} M",
                paper="25.8 M, 28.1 M",
            ),
            Number(
                "FLOPs (2 a multiply-add)",
                f"{2 * mixed.macs / 1e9:.2f} B, {2 * squeezed.macs / 1e9:.2f} B",
                paper="8.3 B, 8.2 B",
            ),
            *numbers,
            *beside[1:],
        ],
        *decide({"fewer parameters": mixed.parameters < squeezed.parameters} | accurate),
    )
