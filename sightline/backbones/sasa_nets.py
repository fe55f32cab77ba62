"""Stand-alone self-attention nets: ResNets whose spatial convolutions are 7 x 7 attention, with and without the attention stem.

    sasa_resnet50                     attention everywhere, the stem included
    sasa_resnet50_convstem            the stem is ResNet's; this is the net of the paper's ablations
    sasa_resnet50_conv12_attn34       of the four groups of blocks, 1 and 2 are convolutional, 3 and 4 attend (table 3)
    sasa_resnet50_convstem_k3         windows of 3 x 3 (table 4)

Source: Ramachandran et al. 2019, arXiv 1906.05909, section 3 and tables 1, 3, 4; all else is ResNet's.
Ours:   the counts are those of dense projections, see `sightline.layers.sasa`. Multiply-adds are those computed: q meets the K row
        and K column embeddings of a window; the paper counts it with the K^2 sums of them, up to 5% more.
"""

from dataclasses import replace
from functools import partial

from sightline.backbones import spatial
from sightline.backbones.catalogue import Net, Printed
from sightline.backbones.conv_nets import RESNET26, RESNET38, RESNET50
from sightline.backbones.register import IMAGENET, register
from sightline.backbones.stem import ATTENTION_STEM
from sightline.backbones.trunk import TrunkConfig, build

_DEPTHS = {26: RESNET26, 38: RESNET38, 50: RESNET50}


def _attends(base: TrunkConfig, groups: str = "1234", kernel_size: int = 7) -> TrunkConfig:
    """`base` with attention for the convolutions of these groups."""
    attention = partial(spatial.sasa, kernel_size=kernel_size)
    operators = tuple(attention if group in groups else spatial.convolution for group in "1234")
    return replace(base, spatial=operators)


_SUMS = "the paper counts q . r for all K x K taps of a window, we the K rows and K columns that are computed"
_UNMET = "every layout tried has 0.1 million parameters more than printed"


def _net(about: str, config: TrunkConfig, table: int, parameters: str, flops: str) -> Net:
    reason = f"{_UNMET}; {_SUMS}" if parameters in ("14.1", "25.0") else _SUMS
    printed = Printed(f"table {table}", parameters, flops, 2, reason)
    first = ("conv1.query", "conv1.key", "conv1.value") if config.stem is ATTENTION_STEM else "conv1"
    return Net("sasa", about, config, printed, IMAGENET | {"first_conv": first})


_FULL = {26: ("10.3", "4.7"), 38: ("14.1", "6.0"), 50: ("18.0", "7.2")}
_CONV_STEM = {26: ("10.3", "4.5"), 38: ("14.1", "5.7"), 50: ("18.0", "7.0")}
_MIXTURES = {  # convolutional groups: as printed in table 3
    "1": ("18.1", "7.3"),
    "12": ("18.5", "7.5"),
    "123": ("20.8", "8.0"),
    "234": ("25.5", "7.9"),
    "34": ("25.0", "7.8"),
    "4": ("22.7", "7.2"),
}
_WINDOWS = {3: "6.6", 5: "6.7", 9: "7.3", 11: "7.7"}  # side: as printed in table 4


def _mixture(groups: str) -> tuple[str, Net]:
    attends = "".join(group for group in "1234" if group not in groups)
    parts = [f"conv{groups}", f"attn{attends}"]
    name = "_".join(["sasa_resnet50", *(parts if groups[0] == "1" else reversed(parts))])
    about = f"SASA ResNet-50 with convolutions in groups {', '.join(groups)}, attention in {', '.join(attends)}."
    return name, _net(about, _attends(RESNET50, attends), 3, *_MIXTURES[groups])


NETS = {
    **{
        f"sasa_resnet{depth}": _net(
            f"SASA ResNet-{depth}, fully attentional.",
            replace(_attends(base), stem=ATTENTION_STEM),
            1,
            *_FULL[depth],
        )
        for depth, base in _DEPTHS.items()
    },
    **{
        f"sasa_resnet{depth}_convstem": _net(
            f"SASA ResNet-{depth} with ResNet's stem.", _attends(base), 1, *_CONV_STEM[depth]
        )
        for depth, base in _DEPTHS.items()
    },
    **dict(map(_mixture, _MIXTURES)),
    **{
        f"sasa_resnet50_convstem_k{side}": _net(
            f"SASA ResNet-50 with ResNet's stem and {side} x {side} windows.",
            _attends(RESNET50, kernel_size=side),
            4,
            "",
            flops,
        )
        for side, flops in _WINDOWS.items()
    },
}
register(__name__, NETS, build, first_conv="conv1", classifier="fc")
