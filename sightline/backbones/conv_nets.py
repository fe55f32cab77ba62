"""ResNets, the convolutional nets that the attention papers compare with, and their squeeze-and-excitation twins.

ResNet-50 is torchvision's and timm's to the last parameter name: the stride sits on the 3 x 3 convolution.
"ResNet-26" is two nets: (1, 2, 4, 1) bottlenecks a stage in SASA and SAN (13.7 million parameters), (2, 2, 2, 2) in LR-Net and timm
(16.0 million). 26 and 38 are ResNet-50 less two blocks and one block a stage.
Source: He et al. 2016, arXiv 1512.03385, table 1; Hu et al. 2018, "Squeeze-and-Excitation Networks", arXiv 1709.01507, section 3
        (reduction 16); counts as the attention papers print them of their baselines.
Ours:   at least 8 squeezed channels, as in timm.
"""

from dataclasses import replace

from timm.layers import SEModule

from sightline.backbones import spatial
from sightline.backbones.catalogue import Net, Printed
from sightline.backbones.register import IMAGENET, register
from sightline.backbones.residual import BasicBlock
from sightline.backbones.trunk import TrunkConfig, build

WIDTHS = (64, 128, 256, 512)
RESNET50 = TrunkConfig((3, 4, 6, 3), WIDTHS, (spatial.convolution,) * 4)
RESNET26, RESNET38 = replace(RESNET50, layers=(1, 2, 4, 1)), replace(RESNET50, layers=(2, 3, 5, 2))
RESNET101, RESNET152 = replace(RESNET50, layers=(3, 4, 23, 3)), replace(RESNET50, layers=(3, 8, 36, 3))
RESNET34 = replace(RESNET50, block=BasicBlock, expansion=1)

_SASA, _AA = "arXiv 1906.05909, table 1", "arXiv 1904.09925, ImageNet table"
_ROWS = {
    "conv_resnet26": (
        "ResNet-26 of SASA and SAN: (1, 2, 4, 1) bottlenecks.",
        RESNET26,
        Printed(_SASA, "13.7", "4.7", 2),
    ),
    "conv_resnet26_lrnet": (
        "ResNet-26 of LR-Net and timm: (2, 2, 2, 2) bottlenecks.",
        replace(RESNET50, layers=(2, 2, 2, 2)),
        None,
    ),
    "conv_resnet34": ("ResNet-34: basic blocks.", RESNET34, Printed(_AA, "21.8", "7.4", 2)),
    "conv_resnet38": (
        "ResNet-38 of SASA and SAN: (2, 3, 5, 2) bottlenecks.",
        RESNET38,
        Printed(_SASA, "19.6", "6.5", 2),
    ),
    "conv_resnet50": ("ResNet-50.", RESNET50, Printed(_SASA, "25.6", "8.2", 2)),
    "conv_resnet101": ("ResNet-101.", RESNET101, Printed(_AA, "44.5", "15.6", 2)),
    "conv_resnet152": ("ResNet-152.", RESNET152, Printed("arXiv 1512.03385, table 1", "", "11.3", 1)),
    "se_resnet34": ("ResNet-34 with squeeze-and-excitation.", replace(RESNET34, gate=SEModule), None),
    "se_resnet50": (
        "ResNet-50 with squeeze-and-excitation, the rival of AA.",
        replace(RESNET50, gate=SEModule),
        Printed(_AA, "28.1", "8.2", 2),
    ),
    "se_resnet101": ("ResNet-101 with squeeze-and-excitation.", replace(RESNET101, gate=SEModule), None),
}

NETS = {name: Net("convolution", about, config, printed, IMAGENET) for name, (about, config, printed) in _ROWS.items()}
register(__name__, NETS, build, first_conv="conv1", classifier="fc")
