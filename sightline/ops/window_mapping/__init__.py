"""The first half of a mapping of whole windows, as one op: norm, ReLU and linear on every tap of every channel (patchwise SAN).

    y[i, g] = sum over d, t of W[g, d, t] relu(N_(d, t)(around_d(i + t)))       t the K x K taps
    N(x) = gain (x - mean) / sqrt(variance + eps) + offset, by channel and tap

Shapes: around (B, D, h + K - 1, w + K - 1), its border included; a norm of D*K*K channels, those of one d side by side;
        W (G, D*K*K); y (B, G, h, w).
Source: Zhao et al. 2020, arXiv 2004.13621, section 3.2, the concatenation and the start of its gamma.
Ours:   one op, because the windows laid side by side are K*K times as large as the map. A ReLU between the tap's own norm and the
        sum over taps keeps this from being a convolution.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from sightline.ops.relation_mapping import Norm
from sightline.ops.window_mapping import cpu, reference, triton

__all__ = ["cpu", "moments", "reference", "triton", "window_mapping"]


def window_mapping(around: Tensor, norm: Norm, weight: Tensor, *, kernel_size: int, backend: str = "cpu") -> Tensor:
    """y (B, G, h, w), in float32, of around (B, D, h + K - 1, w + K - 1) and weight (G, D*K*K).

    Where the norm's moments are the batch's own, gradients flow through them, as in any batch normalisation.

    Raises:
        ValueError: the shapes do not belong together.
    """
    taps = around.shape[1] * kernel_size**2
    if weight.shape[1] != taps or norm.gain.shape[0] != taps:
        raise ValueError(
            f"window_mapping: {around.shape[1]} channels and kernel_size {kernel_size} need a norm and a weight of {taps} "
            f"channels; got {norm.gain.shape[0]} and {weight.shape[1]}"
        )
    run = torch.ops.sightline.window_mapping if backend == "cpu" else reference.run
    return run(around, norm.gain, norm.offset, weight, norm.moments, kernel_size, norm.eps, norm.batch)


def moments(around: Tensor, kernel_size: int) -> Tensor:
    """Mean and biased variance (2, D*K*K) of what each tap of each channel reads, over the batch."""
    pivot = around.mean((0, 2, 3), keepdim=True)
    mean, square = (_reads(one, kernel_size) for one in (around - pivot, (around - pivot).square()))
    return torch.stack([(mean + pivot[0]).flatten(), (square - mean.square()).clamp(min=0).flatten()])


def _reads(x: Tensor, side: int) -> Tensor:
    """Mean over batch and queries of what each tap reads: (D, K, K)."""
    rows, cols = x.shape[2] - side + 1, x.shape[3] - side + 1
    return F.avg_pool2d(F.avg_pool2d(x, (rows, 1), 1), (1, cols), 1).mean(0)
