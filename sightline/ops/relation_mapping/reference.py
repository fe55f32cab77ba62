"""The definition in plain PyTorch. Legend: B batch, R relation channels, D hidden, G outputs, T = K*K taps."""

import torch
import torch.nn.functional as F
from torch import Tensor


def run(
    centre,
    around,
    gain1,
    offset1,
    weight1,
    gain2,
    offset2,
    weight2,
    bias,
    moments1,
    moments2,
    K,
    eps1,
    eps2,
    batch1,
    batch2,
) -> Tensor:
    """See `sightline.ops.relation_mapping`; moments of the batch are computed here, whatever moments1 and moments2 hold."""
    r = relation(centre, around, K)  # B, R, T, h*w
    z = _normalise(r, gain1, offset1, None if batch1 else moments1, eps1).relu()
    x = torch.einsum("dr,brtn->bdtn", weight1.to(r.dtype), z)
    u = _normalise(x, gain2, offset2, None if batch2 else moments2, eps2).relu()
    logits = torch.einsum("gd,bdtn->bgtn", weight2.to(r.dtype), u) + bias.to(r.dtype)[:, None, None]
    return logits.unflatten(3, centre.shape[2:])


def relation(centre: Tensor, around: Tensor, K: int) -> Tensor:
    """centre_i + around_(i + t): (B, R, T, h*w), in float32 or wider."""
    wide = torch.promote_types(centre.dtype, torch.float32)
    taps = F.unfold(around.to(wide), K).unflatten(1, (-1, K * K))
    return centre.to(wide).flatten(2).unsqueeze(2) + taps


def _normalise(x: Tensor, gain: Tensor, offset: Tensor, moments: Tensor | None, eps: float) -> Tensor:
    mean, variance = moments if moments is not None else (None, None)
    flat = x.flatten(2)
    gain, offset = gain.to(x.dtype), offset.to(x.dtype)
    if mean is None or variance is None:
        return F.batch_norm(flat, None, None, gain, offset, training=True, eps=eps).view_as(x)
    return F.batch_norm(flat, mean.to(x.dtype), variance.to(x.dtype), gain, offset, eps=eps).view_as(x)
