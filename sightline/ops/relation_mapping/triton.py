"""The Triton kernel as a torch operator without derivatives, `torch.ops.sightline.triton_relation_mapping`: inference on a GPU.

It takes queries, keys and positions as the layer has them, and moments that are known: the relation, its border and the
hidden layer are made in registers. Logits come with the groups of a tap side by side, as vector attention reads them.
Legend: B batch, D query and key channels, R relation channels, F hidden, G outputs, K window side, H W rows and columns.
"""

import torch
from torch import Tensor

from sightline.ops import triton_support as support
from sightline.ops.native import operator
from sightline.ops.relation_mapping.norm import Norm
from sightline.ops.triton_support import power_of_two

WIDEST = 128  # channels of each of the three layers
ROWS_BYTES = 32768  # of one operand's block: positions and taps times channels
CHOICES = ({"num_warps": 8, "num_stages": 1}, {"num_warps": 4, "num_stages": 1})
SCHEMA = (
    "(Tensor query, Tensor key, Tensor? position, Tensor gain1, Tensor offset1, Tensor moments1, Tensor weight1, "
    "Tensor gain2, Tensor offset2, Tensor moments2, Tensor weight2, Tensor bias, "
    "float eps1, float eps2, int kernel_size, int sign, bool relative, bool reflect) -> Tensor"
)


def objection(query: Tensor, key: Tensor, kernel_size: int, *parameters: Tensor) -> str | None:
    """Why the kernel can not map these; None when it can. Parameters: of gamma, the weights with their two axes among them."""
    if (reason := support.objection(query, key, *parameters)) is not None:
        return reason
    if torch.is_grad_enabled() and any(one.requires_grad for one in (query, key, *parameters)):
        return "it has no gradients; use torch.no_grad(), or the modules"
    widths = [size for one in parameters if one.ndim == 2 for size in one.shape]
    if max(query.shape[1], *[size - 2 for size in widths]) > WIDEST:
        return f"it takes layers of up to {WIDEST} channels; got {query.shape[1]}, {', '.join(map(str, widths))}"
    groups = max((one.shape[0] for one in parameters if one.ndim == 2), default=1)
    if query.shape[2:].numel() * kernel_size**2 * groups >= 2**31:
        return "the logits of one image are over 2**31"
    return support.too_far(query, key)


def run(
    query: Tensor,
    key: Tensor,
    position: Tensor | None,
    norm1: Norm,
    weight1: Tensor,
    norm2: Norm,
    weight2: Tensor,
    bias: Tensor,
    *,
    kernel_size: int,
    sign: int,
    relative: bool,
    reflect: bool,
) -> Tensor:
    """Logits (B, G, K*K, H, W), in the query's dtype, of query and key (B, D, H, W) and position (1, 2, H, W) or None.

    Args:
        query: of the centres.
        key: of the taps; the relation is query + sign * key.
        position: two more channels of the relation: p_i - p_j if `relative`, else p_j.
        norm1, weight1: of the relation; weight (F, R).
        norm2, weight2, bias: of the hidden layer; weight (G, F).
        kernel_size: side K of the window.
        sign: 1 or -1.
        relative: see position.
        reflect: fold taps outside the image back into it; else they read zero.

    Raises:
        NotImplementedError: the kernel can not run these; the message says why.
    """
    first, second = (
        (one.gain, one.offset, one.moments, weight) for one, weight in ((norm1, weight1), (norm2, weight2))
    )
    reason = objection(
        query, key, kernel_size, norm1.gain, norm1.offset, weight1, norm2.gain, norm2.offset, weight2, bias
    )
    if reason is None and (norm1.batch or norm2.batch):
        reason = "it takes norms with known moments, not the batch's own"
    if reason is not None:
        raise NotImplementedError(f"backend 'triton' of relation_mapping: {reason}")
    options = (norm1.eps, norm2.eps, kernel_size, sign, relative, reflect)
    return torch.ops.sightline.triton_relation_mapping(query, key, position, *first, *second, bias, *options)


def forward(query, key, position, gain1, offset1, moments1, weight1, gain2, offset2, moments2, weight2, bias, *options):
    """Run the kernel."""
    eps1, eps2, kernel_size, sign, relative, reflect = options
    logits = empty(query, key, position, *[None] * 7, weight2, bias, *options)
    if logits.numel() == 0:
        return logits
    from sightline.ops.relation_mapping import kernels

    q, k = support.common(query, key)
    batch, channels, height, width = q.shape
    hidden, groups = weight1.shape[0], weight2.shape[0]
    layers = [one.contiguous() for one in (gain1, offset1, moments1, weight1, gain2, offset2, moments2, weight2, bias)]
    places = q if position is None else position
    block = min(power_of_two(channels, 16), 64)
    positions = _positions(kernel_size, max(block, hidden), q.element_size())
    down, across = -(-height // (positions // 8)), -(-width // 8)
    support.launch(
        kernels.forward,
        lambda _options: (batch * down * across,),
        q,
        k,
        places,
        *layers,
        logits,
        eps1,
        eps2,
        *q.stride(),
        *k.stride(),
        *places.stride()[1:],
        height,
        width,
        down,
        across,
        device=q.device,
        choices=CHOICES,
        D=channels,
        F=hidden,
        G=groups,
        K=kernel_size,
        SIGN=sign,
        PLACES=position is not None,
        RELATIVE=relative,
        REFLECT=reflect,
        PRECISION=support.precision(q.dtype),
        P=positions,
        T=power_of_two(kernel_size),
        BR=block,
        BF=power_of_two(hidden, 16),
        BG=power_of_two(groups, 16),
    )
    return logits


def _positions(kernel_size: int, channels: int, size: int) -> int:
    """Positions of a tile, a multiple of 8: fewer where windows or layers are wide."""
    return min(max(ROWS_BYTES // (power_of_two(kernel_size) * power_of_two(channels, 16) * size), 8), 64)


def empty(query, key, position, *rest) -> Tensor:
    """Logits of the right shape, the groups of a tap side by side in memory."""
    weight2, kernel_size = rest[7], rest[11]
    batch, _, height, width = query.shape
    y = query.new_empty(batch, height, width, kernel_size**2, weight2.shape[0])
    return y.permute(0, 4, 3, 1, 2)


def flops(query, key, position, *rest, **_named) -> int:
    """Two a multiply-add of the two linear maps, at every tap."""
    (hidden, relation), (groups, _), kernel_size = rest[3], rest[7], rest[11]
    return 2 * query[0] * kernel_size**2 * query[2] * query[3] * hidden * (relation + groups)


operator.define("triton_relation_mapping", SCHEMA, forward, empty, support.DEVICES, flops)
