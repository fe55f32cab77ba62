"""The mapping of an additive relation to attention logits, as one op: SAN's gamma on every tap of every window.

    r[i, t] = centre_i + around_(i + t)                        t the K x K taps;  subtraction is centre = q, around = -k
    l[i, t] = W2 relu(N2(W1 relu(N1(r[i, t])))) + bias         N(x) = gain (x - mean) / sqrt(variance + eps) + offset, by channel

Shapes: centre (B, R, h, w), around (B, R, h + K - 1, w + K - 1), its border included; W1 (D, R), W2 (G, D); l (B, G, K*K, h, w).
Source: Zhao et al. 2020, arXiv 2004.13621, section 3 (gamma), with the norms of the authors' code.
Ours:   one op, because r and the hidden layer are K*K times as large as the map: a kernel makes them block by block in cache, in
        the backward pass anew; on a GPU `triton.run` makes them in registers, for inference. The moments of a norm in training
        are those of its batch; they are computed first, by `moments`.
"""

import torch
from torch import Tensor

from sightline.ops.relation_mapping import cpu, reference, triton
from sightline.ops.relation_mapping.norm import Norm

__all__ = ["Norm", "cpu", "moments", "reference", "relation_mapping", "triton"]


def relation_mapping(
    centre: Tensor,
    around: Tensor,
    norm1: Norm,
    weight1: Tensor,
    norm2: Norm,
    weight2: Tensor,
    bias: Tensor,
    *,
    kernel_size: int,
    backend: str = "cpu",
) -> Tensor:
    """Logits (B, G, K*K, h, w), in float32, of centre (B, R, h, w) and around (B, R, h + K - 1, w + K - 1).

    Where a norm's moments are the batch's own, gradients flow through them, as in any batch normalisation.

    Raises:
        ValueError: the shapes do not belong together.
    """
    rows, cols = (size + kernel_size - 1 for size in centre.shape[2:])
    if tuple(around.shape) != (*centre.shape[:2], rows, cols):
        raise ValueError(
            f"relation_mapping: a centre {tuple(centre.shape)} with kernel_size {kernel_size} needs an around of "
            f"{(*centre.shape[:2], rows, cols)}, its border included; got {tuple(around.shape)}"
        )
    tensors = (centre, around, norm1.gain, norm1.offset, weight1, norm2.gain, norm2.offset, weight2, bias)
    options = (norm1.moments, norm2.moments, kernel_size, norm1.eps, norm2.eps, norm1.batch, norm2.batch)
    run = torch.ops.sightline.relation_mapping if backend == "cpu" else reference.run
    return run(*tensors, *options)


def moments(
    centre: Tensor, around: Tensor, kernel_size: int, norm1: Norm | None = None, weight1: Tensor | None = None
) -> Tensor:
    """Mean and biased variance (2, C) over the batch: of r, or with norm1 and weight1 of the hidden layer W1 relu(N1(r))."""
    if norm1 is None or weight1 is None:
        return torch.ops.sightline.relation_moments(centre, around, kernel_size)
    scale, shift = cpu.affine(norm1.gain, norm1.offset, norm1.moments, norm1.eps)
    return torch.ops.sightline.hidden_moments(centre, around, scale, shift, weight1, kernel_size)
