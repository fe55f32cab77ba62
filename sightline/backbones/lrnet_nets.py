"""Local relation networks: ResNets of local relation layers, the stem included.

Source: Hu et al. 2019, arXiv 1904.11491: 7 x 7 windows, 8 channels a weight map, the stem a 1 x 1 convolution and a local relation
        layer with stride 2, the max-pool kept; (2, 2, 2, 2), (3, 4, 6, 3) and (3, 4, 23, 3) blocks.
Ours:   inner widths 100, 200, 400, 800 beside outputs of 256 to 2048. The paper widens the bottlenecks until the cost is that of
        ResNet; of the layouts tried this one is the nearest to the printed counts, and it meets none of them to the digit.
"""

from dataclasses import replace

from sightline.backbones import spatial
from sightline.backbones.catalogue import Net, Printed
from sightline.backbones.conv_nets import RESNET50
from sightline.backbones.register import IMAGENET, register
from sightline.backbones.stem import RELATION_STEM
from sightline.backbones.trunk import build

LRNET50 = replace(
    RESNET50,
    widths=(100, 200, 400, 800),
    outputs=(256, 512, 1024, 2048),
    spatial=(spatial.local_relation,) * 4,
    stem=RELATION_STEM,
)
_LAYOUT = "the exact layout is not known; widths 100 to 800 with 8 channels a map come nearest"
_PRINTED = {26: ((2, 2, 2, 2), "14.7", "2.6"), 50: ((3, 4, 6, 3), "23.3", "4.3"), 101: ((3, 4, 23, 3), "", "")}

NETS = {
    f"lrnet{depth}": Net(
        "lrnet",
        f"LR-Net-{depth}.",
        replace(LRNET50, layers=layers),
        Printed("table of ImageNet results", parameters, macs, 1, _LAYOUT) if parameters else None,
        IMAGENET,
    )
    for depth, (layers, parameters, macs) in _PRINTED.items()
}
register(__name__, NETS, build, first_conv="conv1.0", classifier="fc")
