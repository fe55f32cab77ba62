"""Closed-form cost of vector attention's aggregation."""

from torch import Tensor

from sightline.ops.tap import Cost


def cost(logits: Tensor, value: Tensor, **_options: object) -> Cost:
    """Cost for operands of these shapes (see `vector_attention`); taps outside the image count, as a padded convolution's do.

    Per output position: K*K*C for the values, nothing for the softmax. The relation and the mapping that make the logits are
    not part of the op.
    """
    batch, _, taps, rows, cols = logits.shape
    outputs = batch * value.shape[1] * rows * cols
    moved = logits.numel() * logits.element_size() + (value.numel() + outputs) * value.element_size()
    return Cost(outputs * taps, moved, logits.numel())
