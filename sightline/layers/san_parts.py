"""What SAN's two layers share: the mapping gamma, pixel coordinates, the channel plan.

Legend: C in_channels, F out_channels, D rel_channels, G = F / share weight groups, H W rows and columns.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sightline.layers.projection import check_map, project
from sightline.ops.dispatch import known
from sightline.ops.window import check_window

TRANSFORMS = ("distinct", "query=key", "query=key=value")


class ChannelLinear(nn.Linear):
    """A linear map of the channels of (B, C, H, W).

    A 1 x 1 convolution in all but speed: for the few channels of a narrow gamma, torch's convolution takes up to ten times as
    long on a CPU as this matrix product.
    """

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight.expand(input.shape[0], -1, -1)  # B, out, in
        y = torch.bmm(weight, input.flatten(2)).unflatten(2, input.shape[2:])  # B, out, H, W
        return y if self.bias is None else y + self.bias[:, None, None]


def weight_mapping(
    widths: Sequence[int],
    depth: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Sequential:
    """Gamma: (batch norm, ReLU, linear) `depth` times on the channels of (B, C, H, W), the last linear alone with a bias.

    `widths`: channels of the relation, of the hidden layers and of the weights, depth + 1 numbers.
    """
    if depth < 1:
        raise ValueError(f"mapping_depth must be at least 1; got {depth}")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for step in range(1, depth + 1):
        before, after = widths[step - 1], widths[step]
        layers[f"norm{step}"] = nn.BatchNorm2d(before, device=device, dtype=dtype)
        layers[f"act{step}"] = nn.ReLU(inplace=True)
        layers[f"linear{step}"] = ChannelLinear(before, after, bias=step == depth, device=device, dtype=dtype)
    return nn.Sequential(layers)


def transformed(
    x: Tensor, query: nn.Module, key: nn.Module | None, value: nn.Module | None, stride: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries at the centres, keys and values everywhere; a missing map is the one before it."""
    check_map(x)
    if key is not None and value is not None and stride == 1:
        queries, keys, values = project(x, (query, key, value))
        return queries, keys, values
    if key is not None:
        queries, keys = query(centres(x, stride)), key(x)
    else:
        keys = query(x)
        queries = centres(keys, stride)
    return queries, keys, keys if value is None else value(x)


def coordinates(height: int, width: int, like: Tensor) -> Tensor:
    """Column (channel 0) and row (channel 1) of every pixel, from -1 to 1: (1, 2, H, W), of like's device and dtype."""
    cols, rows = _steps(width, like), _steps(height, like)
    return torch.stack([cols.expand(height, -1), rows[:, None].expand(-1, width)]).unsqueeze(0)


def _steps(size: int, like: Tensor) -> Tensor:
    """From -1 to 1 in so many values, a single one is -1."""
    if known(size):
        return torch.linspace(-1, 1, size, device=like.device, dtype=like.dtype)
    places = torch.arange(size, device=like.device, dtype=torch.float32)  # linspace would fix a size that is a symbol
    gaps: Any = torch.sym_max(size - 1, 1)
    return (places * 2 / gaps - 1).to(like.dtype)


def centres(x: Tensor, stride: int) -> Tensor:
    """The pixels at which windows are centred, one per output position."""
    return x[:, :, ::stride, ::stride] if stride > 1 else x


def channel_plan(
    in_channels: int, out_channels: int | None, rel_channels: int | None, share: int | None
) -> tuple[int, int, int]:
    """Complete and check the channel counts: (F, D, G)."""
    out_channels = in_channels if out_channels is None else out_channels
    rel_channels = max(out_channels // 4, 1) if rel_channels is None else rel_channels
    if share is None:
        share = next(size for size in range(min(8, out_channels), 0, -1) if out_channels % size == 0)
    if rel_channels < 1:
        raise ValueError(f"rel_channels must be at least 1; got {rel_channels}")
    if share < 1 or out_channels % share:
        raise ValueError(f"share must divide out_channels; got share={share}, out_channels={out_channels}")
    return out_channels, rel_channels, out_channels // share


def transform_maps(
    transforms: str,
    in_channels: int,
    rel_channels: int,
    out_channels: int,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[nn.Conv2d, nn.Conv2d | None, nn.Conv2d | None]:
    """The 1 x 1 convolutions to queries, keys and values; None: the one before serves, and with the values all are as wide."""
    if transforms not in TRANSFORMS:
        raise ValueError(f"transforms must be one of {', '.join(TRANSFORMS)}; got {transforms!r}")
    one_for_all = transforms == TRANSFORMS[-1]
    if one_for_all and rel_channels != out_channels:
        raise ValueError(
            f"transforms {transforms!r} need rel_channels = out_channels; got {rel_channels} and {out_channels}"
        )
    query = nn.Conv2d(in_channels, rel_channels, 1, device=device, dtype=dtype)
    key = nn.Conv2d(in_channels, rel_channels, 1, device=device, dtype=dtype) if transforms == TRANSFORMS[0] else None
    value = None if one_for_all else nn.Conv2d(in_channels, out_channels, 1, device=device, dtype=dtype)
    return query, key, value


def window_geometry(
    kernel_size: int, stride: int, dilation: int, border: str, borders: tuple[str, ...]
) -> dict[str, Any]:
    """The window's options as the relation and the op take them; checked here, so that a mistake shows when the layer is made."""
    check_window("vector self-attention", kernel_size, stride, dilation)
    if border not in borders:
        raise ValueError(f"border must be one of {', '.join(borders)}; got {border!r}")
    return {"kernel_size": kernel_size, "stride": stride, "dilation": dilation, "border": border}
