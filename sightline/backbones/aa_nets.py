"""Attention-augmented ResNets: in the last three stages a part of each 3 x 3 convolution's channels is global attention.

    bottlenecks   d_k = 0.2, d_v = 0.1 of the channels, 8 heads, at least 20 key channels a head
    basic blocks  d_k = d_v = 0.25, in the first convolution of a block alone
    ratio sweep   aa_resnet50_ratio25 .. _ratio100: d_k = d_v = ratio; at 100 no convolution is left in these stages

Source: Bello et al. 2019, arXiv 1904.09925, sections 3.3 and 4.2; the attention of the 28 x 28 stage is on a pooled map, and
        widths are rounded down to multiples of the heads, for the printed counts need both.
"""

from dataclasses import replace
from functools import partial

from sightline.backbones import spatial
from sightline.backbones.catalogue import Net, Printed
from sightline.backbones.conv_nets import RESNET34, RESNET50, RESNET101, RESNET152
from sightline.backbones.register import IMAGENET, register
from sightline.backbones.trunk import TrunkConfig, build


def _augmented(base: TrunkConfig, keys: float = 0.2, values: float = 0.1) -> TrunkConfig:
    """`base` augmented with these shares of keys and values."""
    attention = partial(spatial.attention_augmented, key_ratio=keys, value_ratio=values)
    pooled = partial(attention, pool_attention=True)
    return replace(base, spatial=(spatial.convolution, pooled, attention, attention))


_TABLE = "ImageNet table"
_ROWS = {
    "aa_resnet34": (_augmented(RESNET34, 0.25, 0.25), Printed(_TABLE, "20.7", "7.1", 2)),
    "aa_resnet50": (_augmented(RESNET50), Printed(_TABLE, "25.8", "8.3", 2)),
    "aa_resnet101": (_augmented(RESNET101), Printed(_TABLE, "45.4", "16.1", 2)),
    "aa_resnet152": (_augmented(RESNET152), None),
}
_SWEEP = {25: ("24.3", "7.9"), 50: ("22.3", "7.3"), 75: ("20.7", "6.8"), 100: ("19.4", "6.3")}
_PRODUCTS = "the paper does not say how it counts the products inside the attention; without them it would be 6.2"

NETS = {
    name: Net("aa", f"Attention-augmented ResNet-{name.removeprefix('aa_resnet')}.", config, printed, IMAGENET)
    for name, (config, printed) in _ROWS.items()
} | {
    f"aa_resnet50_ratio{percent}": Net(
        "aa",
        f"Attention-augmented ResNet-50, keys and values {percent}% of the channels.",
        _augmented(RESNET50, percent / 100, percent / 100),
        Printed("table of ratios", parameters, flops, 2, _PRODUCTS if percent == 100 else ""),
        IMAGENET,
    )
    for percent, (parameters, flops) in _SWEEP.items()
}
register(__name__, NETS, build, first_conv="conv1", classifier="fc")
