"""Does a net answer images of another size than it was trained at?"""

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as F

from sightline.evaluate.accuracy import device_of

SCALES = (0.5, 0.75, 1.25, 1.5, 2.0)
"""Of rows and columns."""


def resized(images: Tensor, scale: float) -> Tensor:
    """uint8 images (B, C, H, W) at `scale` times their rows and columns, at least one of each; bilinear with antialiasing."""
    size = [max(1, round(scale * side)) for side in images.shape[-2:]]
    found = F.resize(images.float(), size, F.InterpolationMode.BILINEAR, antialias=True)
    return found.round().clamp(0, 255).to(torch.uint8)


@torch.inference_mode()
def refusal(model: nn.Module, size: tuple[int, int], channels: int = 3) -> str:
    """Why a net in evaluation mode does not take images of this size (H, W); "" when it does."""
    try:
        model(torch.zeros(1, channels, *size, device=device_of(model)))
    except (ValueError, RuntimeError, AssertionError, IndexError) as problem:
        return str(problem).splitlines()[0] if str(problem) else type(problem).__name__
    return ""
