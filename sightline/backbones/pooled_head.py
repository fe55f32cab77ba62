"""What ends a net of feature maps: timm's pooling by name, and a linear classifier."""

from timm.layers import SelectAdaptivePool2d
from torch import nn


def pool(name: str) -> SelectAdaptivePool2d:
    """timm's pooling of that name, (B, C, H, W) -> (B, C), for "catavgmax" (B, 2 * C); "": none, the map stays."""
    return SelectAdaptivePool2d(pool_type=name, flatten=bool(name))


def classifier(channels: int, num_classes: int, pooling: SelectAdaptivePool2d) -> nn.Module:
    """A fresh linear classifier of what the pooling makes of so many channels; for 0 classes none.

    Raises:
        ValueError: classes are asked for where nothing is pooled.
    """
    if num_classes <= 0:
        return nn.Identity()
    if pooling.is_identity():
        raise ValueError(
            f"global_pool='' leaves a feature map, which the classifier can not read; got num_classes={num_classes}: "
            "ask for none (num_classes=0), or for a pooling (global_pool='avg')"
        )
    return nn.Linear(channels * pooling.feat_mult(), num_classes)
