"""ResNets with non-local blocks in res3 and res4: 1, 5 or 10 of them, on images.

    1 block    before the last residual block of res4
    5 blocks   2 in res3, 3 in res4: after every second residual block; of ResNet-101's res4 after every seventh
    10 blocks  after every residual block of res3 and res4; of ResNet-101's res4 after six of 23

Source: Wang et al. 2018, arXiv 1711.07971, section 5.1 and table 2c; places as in the authors' code. The paper's nets read videos
        of 32 frames and keep the 2-D convolutions ("C2D"); these are their image form, with blocks over space.
Ours:   keys and values are pooled before their projections and logits scaled, as in the authors' code: the printed costs, and so
        the printed accuracies, are of this form. With the blocks at their start the net is ResNet, to the last bit.
Ours:   the six places in ResNet-101's res4 that correspond to the six of ResNet-50: every fourth block, from the third to the last.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from sightline.backbones.catalogue import Net, Printed
from sightline.backbones.conv_nets import RESNET50, RESNET101
from sightline.backbones.register import IMAGENET, register
from sightline.backbones.trunk import TrunkConfig, build
from sightline.layers import NonLocalBlock2d

_block = partial(NonLocalBlock2d, subsample=True, pool="before", scale=True)


def _with_blocks(base: TrunkConfig, res3: Iterable[int], res4: Iterable[int]) -> TrunkConfig:
    """`base` with non-local blocks after these residual blocks of res3 and res4."""
    places = [(1, index) for index in res3] + [(2, index) for index in res4]
    return replace(base, context=tuple((place, _block) for place in places))


_ROWS = {
    "nonlocal_resnet50": ("ResNet-50 with 5 non-local blocks.", _with_blocks(RESNET50, (1, 3), (1, 3, 5))),
    "nonlocal_resnet50_1": ("ResNet-50 with 1 non-local block.", _with_blocks(RESNET50, (), (4,))),
    "nonlocal_resnet50_10": ("ResNet-50 with 10 non-local blocks.", _with_blocks(RESNET50, range(4), range(6))),
    "nonlocal_resnet101": ("ResNet-101 with 5 non-local blocks.", _with_blocks(RESNET101, (1, 3), (6, 13, 20))),
    "nonlocal_resnet101_1": ("ResNet-101 with 1 non-local block.", _with_blocks(RESNET101, (), (21,))),
    "nonlocal_resnet101_10": (
        "ResNet-101 with 10 non-local blocks.",
        _with_blocks(RESNET101, range(4), range(2, 23, 4)),
    ),
}
_PRINTED = {
    "nonlocal_resnet50": Printed(
        "section 5.1",
        reason="the paper counts nets for video: about 70% of the parameters of ResNet-101, its baseline; ours 74%",
    ),
    "nonlocal_resnet101": Printed(
        "table 2e",
        reason="the paper counts nets for video: 1.2 times the parameters and FLOPs of ResNet-101; ours 1.17 and 1.19 times",
    ),
}

NETS = {name: Net("nonlocal", about, config, _PRINTED.get(name), IMAGENET) for name, (about, config) in _ROWS.items()}
register(__name__, NETS, build, first_conv="conv1", classifier="fc")
