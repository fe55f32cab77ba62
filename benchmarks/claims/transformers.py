"""T1 to T4, D1 to D5."""

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.claims.claim import LATER, OPEN, Number, Outcome, Part, above, decide, experiment
from benchmarks.claims.trained import accuracy_numbers, budget, is_ahead, lead, nets, shares
from sightline.cost import count_entry
from sightline.layers import PatchEmbed
from sightline.weights import create_model

IMAGENET = "days on eight GPUs and a copy of ImageNet"
SHARES_COMMAND = ".venv/bin/python benchmarks/shares.py cifar10/"
SHARES_WORDS = (
    "Small nets from random weights on shares of CIFAR-10 at 16 pixels; each sees some 180,000 images, whatever the share (2% "
    "fewer on 30%), under one recipe but for the transformers' half rate and float32 (five hours of one core)."
)
Gap = tuple[float, float, float] | None


@experiment("T1")
def rivals() -> Outcome:
    """Large-scale data are not here."""
    return Outcome(
        f"Needs pre-training on ImageNet-21k or more: `sightline train --model vit_b16 --data imagenet21k/ "
        f"--recipe vit_imagenet`, {IMAGENET}.",
        [],
        LATER,
        "It is a claim about large-scale data; nothing smaller can show it.",
    )


@experiment("T2")
def linear_patches() -> Outcome:
    """The embedding of a plain ViT against one matrix product."""
    torch.manual_seed(0)
    embed = PatchEmbed(3, 24, 4).double()
    x = torch.randn(2, 3, 20, 12, dtype=torch.float64)
    tokens = embed(x)
    tokens = tokens[0] if isinstance(tokens, tuple) else tokens
    linear = next(one for one in embed.modules() if isinstance(one, nn.Conv2d | nn.Linear))
    patches = F.unfold(x, 4, stride=4).transpose(1, 2)  # B, N, 48
    product = patches @ linear.weight.flatten(1).T + linear.bias
    gap = (tokens.flatten(1) - product.flatten(1)).abs().max().item()
    with torch.device("meta"):
        plain, hybrid = create_model("vit_b16"), create_model("vit_b16_r50")
    convolutions = [sum(isinstance(one, nn.Conv2d) for one in net.modules()) for net in (plain, hybrid)]
    return Outcome(
        "The patch embedding against one matrix product on flattened patches, float64; convolutions in a plain "
        "and in a hybrid net.",
        [
            Number("largest difference from the matrix product", f"{gap:.1e}", "30 patches"),
            Number("convolutions in vit_b16", str(convolutions[0]), paper="0, or 1 that does not overlap"),
            Number("convolutions in vit_b16_r50", str(convolutions[1])),
        ],
        *decide(
            {
                "patches of a plain ViT go through a convolutional net": gap > 1e-9 or convolutions[0] > 1,
                "those of a hybrid do": convolutions[1] > 10,
            }
        ),
    )


@experiment("T3")
def weak_with_little() -> Outcome:
    """On CIFAR-10 alone: transformer against the convolutional twin."""
    numbers, gap = lead("convolution", "transformer")
    words = "with 45,000 images and equal budgets the transformer is the weaker"
    return Outcome(
        f"{SHARES_WORDS} That it wins after JFT-300M can not be shown: the data are not public.",
        numbers,
        *decide({words: is_ahead(gap), "wins after giant pre-training": None}),
        SHARES_COMMAND,
    )


@experiment("T4")
def bias_and_data() -> Outcome:
    """The convolution's lead on shares of the data, with and without DeiT's recipe for the transformer."""
    found = {share: lead("convolution", "transformer", share) for share in (1, 3, 10, 30, 100)}
    helped = {share: lead("transformer, DeiT's recipe", "transformer", share) for share in found}
    gaps = {share: gap for share, (_, gap) in found.items()}
    parts = {f"convolution is ahead with {share}%": is_ahead(gaps[share]) for share in (1, 3, 10)}
    arms = ("convolution", "transformer", "transformer, DeiT's recipe")
    missing = [f"{arm} on {share}%" for arm in arms for share in found if (arm, share) not in shares()]
    untrained = f" Not trained yet: {'; '.join(missing)}." if missing else ""
    parts["its lead is smaller with 100% than with 10%"] = _shrinks(gaps[10], gaps[100])
    return Outcome(
        SHARES_WORDS + untrained,
        [number for rows, _ in (*found.values(), *helped.values()) for number in rows],
        *decide(parts),
        SHARES_COMMAND,
    )


def _shrinks(small: Gap, large: Gap) -> Part:
    """Whether the lead with little data is above the lead with much by more than chance (half widths added in squares)."""
    if small is None or large is None:
        return None
    fall = small[0] - large[0]
    low = fall - ((small[0] - small[1]) ** 2 + (large[2] - large[0]) ** 2) ** 0.5
    high = fall + ((small[2] - small[0]) ** 2 + (large[0] - large[1]) ** 2) ** 0.5
    return above(low, high)


@experiment("D1")
def throughput() -> Outcome:
    """Needs ImageNet training."""
    return Outcome(
        f"`sightline train --model deit_b16_distilled --data imagenet/ --recipe deit_distilled`, 300 epochs, {IMAGENET}.",
        [],
        LATER,
        "Accuracy on ImageNet against throughput can not be measured on pictures of 32 x 32.",
    )


@experiment("D2")
def no_giant_data() -> Outcome:
    """What the small DeiT reaches with CIFAR-10's training pictures alone."""
    found = [one for name, one in nets().items() if name.startswith("deit_mini")]
    if not found:
        return Outcome(
            "The small DeiT trained on CIFAR-10 alone (`make evidence DATA=cifar10/`).",
            [],
            LATER,
            "It is not trained yet.",
        )
    numbers = [
        Number(
            f"{one['model']} ({budget(one)}): test accuracy",
            f"{one['test']['accuracy']:.1%}",
            f"{one['test']['n']:,} images",
            f"{one['test']['low']:.1%} .. {one['test']['high']:.1%}",
        )
        for one in found
    ]
    reached = [above(one["test"]["low"], one["test"]["high"], 0.8) for one in found]
    return Outcome(
        "The small DeiT, all of whose weights and whose teacher's come from CIFAR-10's training pictures.",
        numbers,
        *decide({"above 80% without other data, on this small set": _best(reached)}),
    )


def _best(parts: list[Part]) -> Part:
    return next((kind for kind in (True, OPEN, False) if kind in parts), None)


@experiment("D3")
def same_net() -> Outcome:
    """Parameters of the pair, and equal answers on equal weights."""
    vit, deit, token = (count_entry(name).cost.parameters for name in ("vit_s16", "deit_s16", "deit_s16_distilled"))
    torch.manual_seed(0)
    one, two = (create_model(name, num_classes=5, img_size=32).eval() for name in ("vit_s16", "deit_s16"))
    same = one.state_dict().keys() == two.state_dict().keys()
    gap = float("nan")
    if same:
        torch.manual_seed(1)
        state = {name: torch.randn_like(value) * 0.05 for name, value in one.state_dict().items()}
        one.load_state_dict(state)
        two.load_state_dict(state)
        x = torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            gap = (one(x) - two(x)).abs().max().item()
    more = 384 + 384 + 384 * 1000 + 1000
    return Outcome(
        "ViT-S/16 and DeiT-S/16 of the catalogue: parameters, and answers with the same random weights.",
        [
            Number("parameters, vit_s16, deit_s16, deit_s16_distilled", f"{vit:,}, {deit:,}, {token:,}", paper="22 M"),
            Number("the token's: embedding, its position, its classifier", f"{token - deit:,}", paper=f"{more:,}"),
            Number("largest difference of the answers", f"{gap:.1e}", "2 pictures"),
        ],
        *decide(
            {
                "the same net without the token": same and gap < 1e-5 and vit == deit,
                "the token adds itself and its classifier": token - deit == more,
            }
        ),
    )


@experiment("D4")
def recipe_gain() -> Outcome:
    """One net under two recipes."""
    found = {share: lead("transformer, DeiT's recipe", "transformer", share) for share in (1, 3, 10, 30, 100)}
    parts = {"more accurate with DeiT's recipe at this budget": is_ahead(found[100][1])}
    parts |= {f"on {share}% of the images": is_ahead(gap) for share, (_, gap) in found.items() if gap and share < 100}
    return Outcome(
        f"{SHARES_WORDS} DeiT's recipe is made for 300 epochs. At that length: `sightline train --model vit_mini --data cifar10/ "
        "--recipe cifar10_full` against the same with `--set mixup=0 --set cutmix=0 --set randaugment_ops=0 --set drop_path=0 "
        "--set resized_crop=none --set label_smoothing=0`, on a GPU.",
        [number for rows, _ in found.values() for number in rows],
        *decide(parts),
        SHARES_COMMAND,
    )


@experiment("D5")
def token_gain() -> Outcome:
    """The distilled small net against the undistilled one; its form and its teacher."""
    hard = "token, hard, from convolution"
    rows = [
        lead(hard, other) for other in ("transformer", "token, soft, from convolution", "token, hard, from transformer")
    ]
    more, part = accuracy_numbers(
        "deit_mini_hybrid_distilled", "vit_mini_hybrid", "the distilled hybrid is the more accurate"
    )
    words = (
        "more accurate with the token and a convolutional teacher",
        "hard labels better than soft",
        "convolution teaches better",
    )
    decided = {word: is_ahead(gap) for word, (_, gap) in zip(words, rows, strict=True)}
    return Outcome(
        f"{SHARES_WORDS} Beside them the box's small hybrids at 32 pixels, with and without the token and its teacher.",
        [number for numbers, _ in rows for number in numbers] + more,
        *decide(decided | part),
        SHARES_COMMAND,
    )
