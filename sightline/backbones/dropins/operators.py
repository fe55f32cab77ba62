"""The operators that may stand where a k x k convolution stood: which layer, and how it takes over the convolution's shape.

A builder gets the convolution, the rows and columns of the map it reads (None: unknown) and the options for its layer.
Ours:   heads and channels a weight that do not divide the convolution's channels give way to the largest number that does.
Ours:   windows are 7 x 7 as in the papers, whatever the convolution's kernel; "same" keeps its side. AA keeps it in any case.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import nn

from sightline.backbones.spatial import augmented_widths
from sightline.layers import (
    AttentionAugmentedConv2d,
    LocalRelation2d,
    PairwiseSelfAttention2d,
    PatchwiseSelfAttention2d,
    StandAloneSelfAttention2d,
)

OWNED = {
    "self",
    "in_channels",
    "out_channels",
    "stride",
    "dilation",
    "bias",
    "device",
    "dtype",
}  # the convolution's to say


@dataclass(frozen=True)
class Operator:
    """A layer and what makes it from a convolution.

    Args:
        layer: the layer's class.
        build: (convolution, map read, options) -> layer.
        extra: option names beside the layer's own.
        dilated: does it take a dilation?
        sized: does it need the size of the map it reads?
    """

    layer: type[nn.Module]
    build: Callable[[nn.Conv2d, tuple[int, int] | None, dict[str, Any]], nn.Module]
    extra: tuple[str, ...] = ()
    dilated: bool = True
    sized: bool = False

    def options(self) -> list[str]:
        """Names of the options it takes."""
        return [name for name in inspect.signature(self.layer).parameters if name not in OWNED] + list(self.extra)


def largest_divisor(number: int, at_most: int) -> int:
    """The largest divisor of number that is not above at_most; at least 1.

    Raises:
        ValueError: at_most is below 1.
    """
    if at_most < 1:
        raise ValueError(f"heads and share must be at least 1; got {at_most}")
    return next((one for one in range(min(at_most, number), 1, -1) if number % one == 0), 1)


def _shape(conv: nn.Conv2d, options: dict[str, Any], kernel_size: int | str, **more: Any) -> dict[str, Any]:
    side = options.pop("kernel_size", kernel_size)
    return {
        "in_channels": conv.in_channels,
        "out_channels": conv.out_channels,
        "kernel_size": conv.kernel_size[0] if side == "same" else side,
        "stride": conv.stride[0],
        "device": conv.weight.device,
        "dtype": conv.weight.dtype,
        **more,
        **options,
    }


def _sasa(conv: nn.Conv2d, _size: tuple[int, int] | None, options: dict[str, Any]) -> nn.Module:
    # a head of one channel has nothing left for the row embedding
    fitting = largest_divisor(conv.out_channels, min(options.pop("heads", 8), max(conv.out_channels // 2, 1)))
    shape = _shape(conv, options, 7, dilation=conv.dilation[0], bias=conv.bias is not None)
    return StandAloneSelfAttention2d(**shape, heads=fitting)


def _local_relation(conv: nn.Conv2d, _size: tuple[int, int] | None, options: dict[str, Any]) -> nn.Module:
    return LocalRelation2d(**_shape(conv, options, 7, dilation=conv.dilation[0], bias=conv.bias is not None))


def _san(layer: type[nn.Module]) -> Callable[..., nn.Module]:
    def build(conv: nn.Conv2d, _size: tuple[int, int] | None, options: dict[str, Any]) -> nn.Module:
        share = options.pop("share", None)
        share = largest_divisor(conv.out_channels, 8 if share is None else share)
        return layer(**_shape(conv, options, 7, dilation=conv.dilation[0]), share=share)

    return build


def _augmented(conv: nn.Conv2d, size: tuple[int, int] | None, options: dict[str, Any]) -> nn.Module:
    heads = largest_divisor(conv.out_channels, options.pop("heads", 8))
    ratios = {name: options.pop(name) for name in ("key_ratio", "value_ratio", "least_key_depth") if name in options}
    keys, values = augmented_widths(conv.out_channels, heads, **ratios)
    widths = {
        "key_channels": options.pop("key_channels", keys),
        "value_channels": options.pop("value_channels", values),
    }
    shape = _shape(conv, {"size": size} | options, "same", bias=conv.bias is not None)
    return AttentionAugmentedConv2d(**shape, **widths, heads=heads)


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "sasa": Operator(StandAloneSelfAttention2d, _sasa),
        "local_relation": Operator(LocalRelation2d, _local_relation),
        "aa": Operator(
            AttentionAugmentedConv2d,
            _augmented,
            extra=("key_ratio", "value_ratio", "least_key_depth"),
            dilated=False,
            sized=True,
        ),
        "san_pairwise": Operator(PairwiseSelfAttention2d, _san(PairwiseSelfAttention2d)),
        "san_patchwise": Operator(PatchwiseSelfAttention2d, _san(PatchwiseSelfAttention2d)),
    }
)
ALIASES: Mapping[str, str] = MappingProxyType({"lrnet": "local_relation"})


def check_options(caller: str, kind: str, given: Mapping[str, Any], known: list[str]) -> None:
    """Raise TypeError for options that the layer does not have."""
    for name in given:
        if name in OWNED:
            raise TypeError(f"{caller}: {name} is not an option of {kind!r}, it is taken from the net")
        if name not in known:
            raise TypeError(f"{caller}: {kind!r} has no option {name!r}; it has: {', '.join(known)}")
