"""Small residual nets for images of 8 to 64 pixels: the convolutional twin, and six that replace or join its operator.

Stages at 1, 1/2 and 1/4 of the input. The twin has 3 x 3 convolutions; SASA and LR-Net replace all of them, AA those of the
last two stages (as the papers do), Non-local and CCNet keep them and add one block in the middle stage. Squeeze-and-excitation
(arXiv 1709.01507; timm's module, a 16th of the channels inside, in eights) in every block is what AA's paper measures itself by.
Ours: all of it; the papers have no nets of this size. Windows are 5 x 5, heads 4, so that 32 channels give 8 a head.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from timm.layers import SEModule
from torch import nn

from sightline.backbones import spatial
from sightline.backbones.catalogue import Net
from sightline.backbones.register import SMALL, register
from sightline.backbones.stem import SMALL_STEM
from sightline.backbones.trunk import TrunkConfig, build
from sightline.layers import CrissCrossAttention, NonLocalBlock2d

_conv = spatial.convolution
_augmented = partial(spatial.attention_augmented, key_ratio=0.5, value_ratio=0.25, heads=4, least_key_depth=4)

TWIN = TrunkConfig((1, 2, 2), (32, 64, 128), (_conv,) * 3, expansion=2, stem=SMALL_STEM, stem_width=32)


def everywhere(operator: spatial.Spatial) -> TrunkConfig:
    """The twin with an operator in place of all its 3 x 3 convolutions."""
    return replace(TWIN, spatial=(operator,) * 3)


def joined(block: Callable[[int], nn.Module]) -> TrunkConfig:
    """The twin with a block in its middle stage."""
    return replace(TWIN, context=(((1, 0), block),))


_sasa = everywhere(partial(spatial.sasa, kernel_size=5, heads=4))
_relation = everywhere(partial(spatial.local_relation, kernel_size=5))
_augments = replace(TWIN, spatial=(_conv, _augmented, _augmented))

NETS = {
    name: Net(family, about, config, cfg=SMALL)
    for name, family, about, config in (
        ("resnet_mini", "convolution", "The convolutional twin all small nets are measured against.", TWIN),
        (
            "nonlocal_resnet_mini",
            "nonlocal",
            "The twin with one non-local block in its middle stage.",
            joined(NonLocalBlock2d),
        ),
        (
            "ccnet_resnet_mini",
            "ccnet",
            "The twin with criss-cross attention, R = 2, in its middle stage.",
            joined(CrissCrossAttention),
        ),
        ("sasa_resnet_mini", "sasa", "The twin with stand-alone self-attention for its 3 x 3 convolutions.", _sasa),
        ("lrnet_mini", "lrnet", "The twin with local relation layers for its 3 x 3 convolutions.", _relation),
        (
            "se_resnet_mini",
            "convolution",
            "The twin with squeeze-and-excitation in every block: channel attention alone.",
            replace(TWIN, gate=SEModule),
        ),
        ("aa_resnet_mini", "aa", "The twin with attention-augmented convolutions in its last two stages.", _augments),
    )
}
register(__name__, NETS, build, first_conv="conv1", classifier="fc")
