"""The Triton kernel as a torch operator without derivatives, `torch.ops.sightline.triton_window_mapping`: inference on a GPU.

Legend: B batch, D channels, G outputs, K window side, H W rows and columns.
"""

import torch
from torch import Tensor

from sightline.ops import triton_support as support
from sightline.ops.native import operator
from sightline.ops.relation_mapping.norm import Norm
from sightline.ops.triton_support import power_of_two

CHOICES = ({"num_warps": 4}, {"num_warps": 8})
WIDEST = 64  # outputs a program
POSITIONS = 64  # of a tile
SCHEMA = (
    "(Tensor? query, Tensor key, Tensor gain, Tensor offset, Tensor moments, Tensor weight, "
    "float eps, int kernel_size, bool reflect) -> Tensor"
)


def objection(key: Tensor, *parameters: Tensor) -> str | None:
    """Why the kernel can not map these; None when it can."""
    if (reason := support.objection(key, *parameters)) is not None:
        return reason
    if torch.is_grad_enabled() and any(one.requires_grad for one in (key, *parameters)):
        return "it has no gradients; use torch.no_grad(), or the modules"
    return support.too_far(key)


def run(query: Tensor | None, key: Tensor, norm: Norm, weight: Tensor, *, kernel_size: int, reflect: bool) -> Tensor:
    """y (B, G, H, W), in the key's dtype, of query and key (B, D, H, W) and weight (G, D + D*K*K), or (G, D*K*K) without a query.

    Args:
        query: the first D channels, once.
        key: what the taps read, without its border.
        norm: of as many channels as weight has columns; its moments are known.
        weight: of the linear map.
        kernel_size: side K of the window.
        reflect: fold taps outside the image back into it; else they read zero.

    Raises:
        ValueError: the shapes do not belong together.
        NotImplementedError: the kernel can not run these; the message says why.
    """
    channels = key.shape[1] * (kernel_size**2 + (query is not None))
    if (
        weight.shape[1] != channels
        or norm.gain.shape[0] != channels
        or (query is not None and query.shape != key.shape)
    ):
        raise ValueError(
            f"window_mapping: a key {tuple(key.shape)}, kernel_size {kernel_size} and "
            f"{'no query' if query is None else f'a query {tuple(query.shape)}'} need a norm and a weight of {channels} channels "
            f"and a query of the key's shape; got {norm.gain.shape[0]} and {weight.shape[1]}"
        )
    reason = objection(key, *[one for one in (query, norm.gain, norm.offset, weight) if one is not None])
    if reason is None and norm.batch:
        reason = "it takes norms with known moments, not the batch's own"
    if reason is not None:
        raise NotImplementedError(f"backend 'triton' of window_mapping: {reason}")
    tensors = (query, key, norm.gain, norm.offset, norm.moments, weight)
    return torch.ops.sightline.triton_window_mapping(*tensors, norm.eps, kernel_size, reflect)


def forward(query, key, gain, offset, moments, weight, eps, kernel_size, reflect) -> Tensor:
    """Run the kernel."""
    y = empty(query, key, gain, offset, moments, weight)
    if y.numel() == 0:
        return y
    from sightline.ops.window_mapping import kernels

    (batch, channels, height, width), groups = key.shape, weight.shape[0]
    own = channels if query is not None else 0
    mean, variance = moments.float()
    norm = _by_tap(torch.stack([mean, gain.float() * (variance + eps).rsqrt(), offset.float()]), channels, own)
    taps = _by_tap(weight.to(key.dtype), channels, own).permute(1, 2, 0).contiguous()
    outputs = min(power_of_two(groups, 16), WIDEST)
    down, across = -(-height // (POSITIONS // 8)), -(-width // 8)
    q = key if query is None else query
    support.launch(
        kernels.forward,
        lambda _options: (batch * -(-groups // outputs) * down * across,),
        q,
        key,
        norm,
        taps,
        y,
        *q.stride(),
        *key.stride(),
        height,
        width,
        down,
        across,
        device=key.device,
        choices=CHOICES,
        D=channels,
        G=groups,
        K=kernel_size,
        OWN=int(query is not None),
        REFLECT=reflect,
        PRECISION=support.precision(key.dtype),
        P=POSITIONS,
        BD=min(power_of_two(channels, 16), 64),
        BG=outputs,
    )
    return y


def _by_tap(columns: Tensor, channels: int, own: int) -> Tensor:
    """Columns (X, own + D*K*K), of the query, then channel by channel, as (X, taps, D), the query's last."""
    by_tap = columns[:, own:].unflatten(1, (channels, -1)).mT
    return torch.cat([by_tap, columns[:, None, :own]], dim=1) if own else by_tap.contiguous()


def empty(query, key, gain, offset, moments, weight, *_options) -> Tensor:
    """An output of the right shape, channels last."""
    batch, _, height, width = key.shape
    return key.new_empty((batch, height, width, weight.shape[0])).permute(0, 3, 1, 2)


def flops(query, key, gain, offset, moments, weight, *_options, **_named) -> int:
    """Two a multiply-add of the linear map."""
    return 2 * key[0] * weight[0] * weight[1] * key[2] * key[3]


operator.define("triton_window_mapping", SCHEMA, forward, empty, support.DEVICES, flops)
