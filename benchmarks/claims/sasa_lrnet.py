"""S1, S2, L1, L2."""

import torch
from torch import nn

from benchmarks.claims.claim import Number, Outcome, decide, experiment
from benchmarks.claims.layers import C, make, row
from benchmarks.claims.trained import SHORT, accuracy_numbers, variant_lead, variant_numbers
from sightline.cost import count_entry
from sightline.layers import LocalRelation2d
from sightline.weights import create_model

RELATIONS = ("lrnet_k3", "lrnet_k5", "lrnet_k7", "lrnet_k9")
SEEDS, STEPS, BATCH, TEST = 3, 200, 64, 1000


@experiment("S1")
def all_replaced() -> Outcome:
    """Spatial convolutions left in the full nets, and that they run."""
    numbers, parts = [], {}
    for name in ("sasa_resnet26", "sasa_resnet38", "sasa_resnet50"):
        with torch.device("meta"):
            net = create_model(name)
        left = [one for one in net.modules() if isinstance(one, nn.Conv2d) and max(one.kernel_size) > 1]
        kept = [one for one in net.modules() if isinstance(one, nn.Conv2d)]
        shape = tuple(net(torch.zeros(1, 3, 224, 224, device="meta")).shape)
        parts[name] = not left and shape == (1, 1000)
        numbers.append(
            Number(f"{name}: convolutions larger than 1 x 1", f"{len(left)} of {len(kept)} convolutions", paper="0")
        )
    return Outcome(
        "The papers' full nets, built and run at 224 x 224 without data (shapes alone).", numbers, *decide(parts)
    )


@experiment("S2")
def smaller() -> Outcome:
    """Parameters and multiply-adds of the pair; accuracy where the small twins were trained."""
    sasa, conv = count_entry("sasa_resnet50").cost, count_entry("conv_resnet50").cost
    fewer, cheaper = (getattr(sasa, one) / getattr(conv, one) - 1 for one in ("parameters", "macs"))
    numbers = [
        Number(
            "parameters", f"{sasa.parameters / 1e6:.2f} M against {conv.parameters / 1e6:.2f} M", paper="18.0 M, 25.6 M"
        ),
        Number("difference", f"{fewer:+.1%}", paper="-29%"),
        Number(
            "FLOPs (2 a multiply-add)",
            f"{2 * sasa.macs / 1e9:.2f} B against {2 * conv.macs / 1e9:.2f} B",
            paper="7.2 B, 8.2 B",
        ),
        Number("difference", f"{cheaper:+.1%}", paper="-12%"),
    ]
    more, part = accuracy_numbers(
        "sasa_resnet_mini", "resnet_mini", "higher accuracy than the convolutional twin (small nets)"
    )
    sizes = variant_numbers("windows of {0} x {0}", "sasa_k3", "sasa_k5", "sasa_k7")
    wider = {"wider windows gain, 7 x 7 on 3 x 3 (short budget)": variant_lead("sasa_k7", "sasa_k3")} if sizes else {}
    return Outcome(
        f"The papers' nets at 224 x 224, counted in closed form. Accuracy: the small twins on CIFAR-10; windows: {SHORT}.",
        numbers + more + sizes,
        *decide({"fewer parameters": fewer < 0, "fewer multiply-adds": cheaper < 0} | part | wider),
    )


@experiment("L1")
def composition() -> Outcome:
    """Weights follow one neighbour's content; gradients agree with finite differences."""
    changes = []
    for draw in range(8):
        torch.manual_seed(draw)
        x, layer = torch.randn(1, C, 11, 11, dtype=torch.float64), make("LR-Net", draw)
        other = x.clone()
        other[..., 5, 6] += torch.randn(C, dtype=torch.float64)  # one neighbour of the centre
        one, two = row(layer, x, (5, 5)), row(layer, other, (5, 5))
        far = torch.ones(11, 11, dtype=torch.bool)
        far[5, 5] = far[5, 6] = False  # what other neighbours weigh
        changes.append(((one - two)[..., far].norm() / one[..., far].norm()).item())
    torch.manual_seed(0)
    small = make("LR-Net")
    agrees = torch.autograd.gradcheck(small, torch.randn(1, C, 4, 5, dtype=torch.float64, requires_grad=True))
    return Outcome(
        "One local relation layer, 5 x 5, random parameters, float64: one neighbour of a position is changed, and what the other "
        f"neighbours weigh is compared; gradients against finite differences (gradcheck). Windows: {SHORT}.",
        [
            Number(
                "change of the other neighbours' weight",
                f"{sum(changes) / 8:.3f}",
                "8 layers",
                f"{min(changes):.3f} .. {max(changes):.3f}",
            ),
            Number("gradients agree with finite differences", "yes" if agrees else "no", f"{C * 20} inputs"),
            *variant_numbers("windows of {0} x {0}", *RELATIONS),
        ],
        *decide({"weights change with a pair's content": min(changes) > 1e-3, "differentiable": agrees}),
    )


def _task(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise of 7 x 7; in half of the pictures one neighbour is like the centre, in the others none."""
    x = torch.rand(count, 1, 7, 7, generator=generator)
    centre = x[:, :, 3:4, 3:4]
    side = torch.where(centre < 0.5, 1.0, -1.0)
    x = centre + side * (0.15 + 0.35 * x)  # all others lie apart from the centre, on one side
    x[:, :, 3:4, 3:4] = centre
    labels = torch.randint(0, 2, (count,), generator=generator)
    offsets = torch.randint(0, 48, (count,), generator=generator)
    offsets = offsets + (offsets >= 24)  # not the centre
    rows, cols = offsets // 7, offsets % 7
    like = centre.flatten() + 0.02 * torch.randn(count, generator=generator)
    place = torch.arange(count)
    x[place, 0, rows, cols] = torch.where(labels == 1, like, x[place, 0, rows, cols])
    return x - 0.5, labels


class _Reader(nn.Module):
    """One spatial layer, then the same small net on its channels and the input at the centre."""

    def __init__(self, spatial: nn.Module, channels: int) -> None:
        super().__init__()
        self.spatial = spatial
        self.head = nn.Sequential(nn.Linear(channels + 1, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.spatial(x)[:, :, 3, 3]
        return self.head(torch.cat([seen, x[:, :, 3, 3]], 1))


def _relation() -> nn.Module:
    return LocalRelation2d(
        1, 1, kernel_size=7, share=1, similarity="squared_difference", geometry_hidden=8, projection=False
    )


def _accuracy(maker: str, channels: int, seed: int) -> float:
    torch.manual_seed(seed)
    spatial = nn.Conv2d(1, channels, 7, padding=3) if maker == "convolution" else _relation()
    net, generator = _Reader(spatial, channels), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(STEPS):
        x, labels = _task(BATCH, generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), labels).backward()
        optimizer.step()
    x, labels = _task(TEST, torch.Generator().manual_seed(10_000 + seed))
    with torch.no_grad():
        return (net(x).argmax(1) == labels).double().mean().item()


@experiment("L2")
def one_channel() -> Outcome:
    """A toy: is there a neighbour like the centre? One relation channel against convolutions of 1, 3, 16 and 48."""
    found = {
        ("relation", 1): [],
        ("convolution", 1): [],
        ("convolution", 3): [],
        ("convolution", 16): [],
        ("convolution", 48): [],
    }
    for maker, channels in found:
        found[maker, channels] = [_accuracy(maker, channels, seed) for seed in range(SEEDS)]
    numbers = [
        Number(
            f"{'local relation' if maker == 'relation' else 'convolution'}, {channels} channel{'s' if channels > 1 else ''}",
            f"{sum(values) / SEEDS:.1%}",
            f"{SEEDS} seeds, {TEST:,} test pictures each",
            f"{min(values):.1%} .. {max(values):.1%}",
        )
        for (maker, channels), values in found.items()
    ]
    means = {key: sum(values) / SEEDS for key, values in found.items()}
    one = means["relation", 1]
    return Outcome(
        "Noise of 7 x 7 pixels, one channel; in half of the pictures one neighbour of the centre, anywhere, has the "
        f"centre's value. One spatial layer of 7 x 7, then the same small net; {STEPS} steps of Adam on {BATCH} "
        "fresh pictures each.",
        numbers,
        *decide(
            {
                "one relation channel beats one of convolution": one > means["convolution", 1] + 0.02,
                "and three of convolution": one > means["convolution", 3] + 0.02,
                "more channels bring convolution there": max(means["convolution", n] for n in (16, 48)) > one - 0.02,
            }
        ),
    )
