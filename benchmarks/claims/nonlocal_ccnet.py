"""N1, N2, C1, C2 and the cost of C3."""

import torch
import torch.nn.functional as F

from benchmarks.claims.claim import Number, Outcome, decide, experiment
from benchmarks.claims.layers import reach
from benchmarks.claims.trained import SHORT, accuracy_numbers, variant_lead, variant_numbers
from sightline.cost import count
from sightline.layers import CrissCrossAttention, NonLocalBlock1d, NonLocalBlock2d, NonLocalBlock3d

MAP, CHANNELS = 97, 512  # CCNet's module: an eighth of a 769 x 769 picture, 2,048 channels reduced to 512


def _random(block: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    return block.double().eval()


@experiment("N1")
def everywhere() -> Outcome:
    """Reach of the block on lines, pictures and video, with and without sub-sampled keys."""
    numbers, parts = [], {}
    for words, block, size in (
        ("lines of 31", NonLocalBlock1d, (31,)),
        ("pictures of 9 x 13", NonLocalBlock2d, (9, 13)),
        ("video of 4 x 6 x 5", NonLocalBlock3d, (4, 6, 5)),
    ):
        for subsample in (False, True):
            torch.manual_seed(0)
            x = torch.randn(1, 8, *size, dtype=torch.float64)
            layer = _random(block(8, normalise=False, subsample=subsample))
            places = [tuple(0 for _ in size), tuple(side // 2 for side in size), tuple(side - 1 for side in size)]
            shares = [reach(layer, x, place).double().mean().item() for place in places]
            name = f"{words}{', keys max-pooled' if subsample else ''}"
            if not subsample:
                parts[words] = min(shares) == 1
            numbers.append(
                Number(f"{name}: inputs that an output depends on", f"{min(shares):.1%}", "the least of 3 outputs")
            )
    verdict, why = decide(parts)
    return Outcome(
        "Gradients of single outputs of one block, embedded Gaussian, 8 channels, random parameters, float64.",
        numbers,
        verdict,
        f"{why}. With max-pooled keys, as in the authors' nets, only the largest of each block of keys has a gradient",
    )


@experiment("N2")
def single_head() -> Outcome:
    """The block against torch's scaled_dot_product_attention with one head."""
    torch.manual_seed(0)
    differences = []
    for height, width in ((5, 7), (13, 4), (1, 9)):
        x, block = torch.randn(2, 16, height, width, dtype=torch.float64), _random(NonLocalBlock2d(16, normalise=False))
        q, k, v = (
            part(x).flatten(2).transpose(1, 2)[:, None] for part in (block.query, block.key, block.value)
        )  # B, 1, HW, D
        y = F.scaled_dot_product_attention(q, k, v, scale=1.0)[:, 0].transpose(1, 2).reshape(2, 8, height, width)
        differences.append((block(x) - (x + block.out(y))).abs().max().item())
    same = max(differences) < 1e-10
    return Outcome(
        "The block (no sub-sampling, no normalisation) against torch's scaled_dot_product_attention with one "
        "head, scale 1, an output "
        "projection and the identity added, on the same parameters, in float64.",
        [Number("largest difference of the outputs", f"{max(differences):.1e}", "3 sizes of map, 2 images each")],
        *decide({"equal but for the scale of 1 in place of the root of the width": same}),
    )


@experiment("C1")
def dense_map() -> Outcome:
    """Multiply-adds of the map of all pairs in the whole block."""
    cost = count(NonLocalBlock2d(CHANNELS, normalise=False), (MAP, MAP), CHANNELS)
    dense = sum(call.cost.macs for call in cost.ops)
    stored = sum(call.cost.weights_stored for call in cost.ops)
    share = dense / cost.macs
    all_pairs, projections = _ccnets_rival()
    return Outcome(
        f"Counted in closed form: a non-local block of {CHANNELS} channels (256 inside, and an output projection) on a map of "
        f"{MAP} x {MAP}; and the one that CCNet's paper counts, with queries and keys of 64 channels, values of 512, no projection "
        "after.",
        [
            Number("FLOPs of the block (2 a multiply-add)", f"{2 * cost.macs / 1e9:.2f} G"),
            Number("share of its dense map", f"{share:.1%}"),
            Number("FLOPs, CCNet's count", f"{2 * (all_pairs + projections) / 1e9:.2f} G", paper="108 G"),
            Number("share of its dense map", f"{all_pairs / (all_pairs + projections):.1%}"),
            Number("entries of the map", f"{stored:,}, {stored * 4 / 2**20:,.0f} MiB in float32"),
        ],
        *decide({"more than half of the cost is the dense map": share > 0.5}),
    )


def _ccnets_rival() -> tuple[int, int]:
    """Multiply-adds of the map of all pairs, and of the projections, of the block that CCNet's paper compares with (table 3)."""
    pixels, narrow = MAP * MAP, CHANNELS // 8
    return pixels**2 * (narrow + CHANNELS), pixels * CHANNELS * (2 * narrow + CHANNELS)


@experiment("C2")
def sparse_map() -> Outcome:
    """Entries and reach of one, two and three passes."""
    numbers, parts = [], {}
    for height, width in ((11, 17), (8, 5)):
        torch.manual_seed(0)
        x = torch.randn(1, 16, height, width, dtype=torch.float64)
        for passes in (1, 2, 3):
            torch.manual_seed(0)
            layer = _random(CrissCrossAttention(16, recurrence=passes))
            found = [int(reach(layer, x, (r, c)).sum()) for r in range(height) for c in range(width)]
            expected = height + width - 1 if passes == 1 else height * width
            parts[f"{height} x {width}, R = {passes}: {expected}"] = set(found) == {expected}
            numbers.append(
                Number(
                    f"{height} x {width}, R = {passes}: positions an output depends on",
                    f"{min(found)} .. {max(found)} of {height * width}",
                    f"all {height * width} outputs",
                    paper=f"H + W - 1 = {height + width - 1}" if passes == 1 else "all" if passes == 2 else "",
                )
            )
    return Outcome(
        "Gradients of every output of criss-cross attention, 16 channels, random parameters, float64.",
        numbers,
        *decide(parts),
    )


@experiment("C3")
def cheap() -> Outcome:
    """Cost of criss-cross attention over that of the non-local block; accuracy where both were trained."""
    dense = count(NonLocalBlock2d(CHANNELS, normalise=False), (MAP, MAP), CHANNELS)
    passes = {n: count(CrissCrossAttention(CHANNELS, recurrence=n), (MAP, MAP), CHANNELS) for n in (1, 2, 3)}
    cross, rival = passes[2], sum(_ccnets_rival())
    stored = [sum(call.cost.weights_stored for call in one.ops) for one in (dense, cross)]
    saved = 1 - cross.macs / dense.macs
    numbers = [
        Number("FLOPs, non-local (C1)", f"{2 * dense.macs / 1e9:.2f} G"),
        Number("FLOPs, non-local as CCNet's paper counts it (C1)", f"{2 * rival / 1e9:.2f} G", paper="108 G"),
        *(
            Number(f"FLOPs, criss-cross, R = {n}", f"{2 * one.macs / 1e9:.2f} G", paper=f"{printed} G")
            for (n, one), printed in zip(passes.items(), (8.3, 16.5, 24.7), strict=True)
        ),
        Number(
            "saved by R = 2, against the first, the second", f"{saved:.1%}, {1 - cross.macs / rival:.1%}", paper="85%"
        ),
        Number(
            "attention weights, non-local over criss-cross", f"{stored[0] / stored[1]:.1f} x", paper="11 x (all memory)"
        ),
    ]
    parts = {"the cost falls by more than half": saved > 0.5}
    more, part = accuracy_numbers(
        "ccnet_resnet_mini", "nonlocal_resnet_mini", "no more than slightly below non-local", slack=0.01
    )
    by_passes = variant_numbers("criss-cross, R = {}", "ccnet_r1", "ccnet_r2", "ccnet_r3")
    beside = variant_numbers("non-local", "nonlocal") + variant_numbers("neither", "convolution")
    second = {"a second pass gains (short budget)": variant_lead("ccnet_r2", "ccnet_r1")} if by_passes else {}
    return Outcome(
        f"Counted in closed form: both modules with {CHANNELS} channels on a map of {MAP} x {MAP}. Accuracy: "
        f"the small nets on CIFAR-10; {SHORT}.",
        numbers + more + by_passes + beside,
        *decide(parts | part | second),
    )


@experiment("N3")
def more_accurate() -> Outcome:
    """The small net with a block against the twin without."""
    more, part = accuracy_numbers("nonlocal_resnet_mini", "resnet_mini", "more accurate than the twin (small nets)")
    return Outcome(
        "The twin with one non-local block against the twin, small nets on CIFAR-10 (`make evidence DATA=cifar10/`).",
        more,
        *decide(part),
    )
