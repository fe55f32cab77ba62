"""Memory layout of maps (B, C, H, W): channels last is what convolutions on a CPU run fastest in."""

from torch import Tensor


def to_channels_last(x: Tensor) -> Tensor:
    """The same map channels last; itself where it is. Unlike torch's `memory_format` it passes through `torch.func.vmap`."""
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
