"""Pixel attention: the stem attention of blocks, from the pixels themselves instead of queries, keys and values made of them.

    l[i, t] = x_i . A x_t + x_i . R[row(t) - row(i)] + x_i . S[col(t) - col(i)]       t the K x K block that holds i
    y_i     = sum over t of softmax_t(l[i, t]) V_t x_t                                 per head

Shapes: pixels x (B, C, H, W); per head n of N: bilinear A (N, C, C), rows R and cols S (N, 2K - 1, C) of the key's offset from the
        query, entry K - 1 being zero; values V (K*K, N, E, C) by the key's place in its block; output (B, N*E, H, W).
Source: Ramachandran et al. 2019, arXiv 1906.05909, section 4.1 and appendix A.1.
Ours:   `stem_attention` of q = W_Q x, k = W_K x and mixed values, with the sums in another order. A = W_Q^T W_K, R = W_Q^T r and
        V_t = sum over m of mixture[m, t] V_m are small matrices, made once; an image has so few channels (C = 3) that logits and
        values made of them cost less than reading the queries, keys and M mixed values, which are M + 2 times the output.
Ours:   the kernels' answer lies channels last in memory.
"""

from torch import Tensor

from sightline.ops.dispatch import AUTO, choose
from sightline.ops.pixel_attention import cpu, reference

BACKENDS = {"cpu": cpu, "reference": reference}


def pixel_attention(
    pixels: Tensor,
    bilinear: Tensor,
    rows: Tensor,
    cols: Tensor,
    values: Tensor,
    *,
    kernel_size: int,
    border: str = "exclude",
    backend: str = AUTO,
) -> Tensor:
    """Attention of pixels (B, C, H, W) within K x K blocks that tile the image from its top left: (B, N*E, H, W).

    Args:
        pixels: the image.
        bilinear: (N, C, C).
        rows: (N, 2K - 1, C), by offset in rows.
        cols: (N, 2K - 1, C), by offset in columns.
        values: (K*K, N, E, C).
        kernel_size: side K of a block.
        border: "exclude" or "zero", for places of a block outside the image.
        backend: "auto", or the name of one backend, which then runs or raises.

    Raises:
        ValueError: the shapes do not belong together; the message quotes them.
    """
    channels, taps = pixels.shape[1], kernel_size * kernel_size
    heads = bilinear.shape[0]
    expected = ((heads, channels, channels), *[(heads, 2 * kernel_size - 1, channels)] * 2)
    found = tuple(tuple(one.shape) for one in (bilinear, rows, cols))
    if found != expected or (*values.shape[:2], values.shape[3]) != (taps, heads, channels):
        raise ValueError(
            f"pixel_attention: {channels} pixel channels, {heads} heads and kernel_size {kernel_size} need bilinear, rows and cols "
            f"of {expected} and values of ({taps}, {heads}, E, {channels}); got {found} and {tuple(values.shape)}"
        )
    if border not in ("exclude", "zero"):
        raise ValueError(f"pixel_attention: border must be 'exclude' or 'zero'; got {border!r}")
    operands, options = (pixels, bilinear, rows, cols, values), {"kernel_size": kernel_size, "border": border}
    return choose("pixel_attention", BACKENDS, backend, *operands, **options)(*operands, **options)
