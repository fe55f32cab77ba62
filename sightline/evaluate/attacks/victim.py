"""The net as an attacker sees it: pixels of 0..1 in, logits out, normalisation inside."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sightline.evaluate.accuracy import device_of
from sightline.evaluate.attacks.losses import Loss
from sightline.ops.precision import dtype_of


class Attacked(nn.Module):
    """A net with its normalisation in front.

    Args:
        model: (B, C, H, W) normalised images to logits (B, K).
        mean: subtracted from pixels in 0..1, per channel.
        std: divided by.

    Raises:
        ValueError: parameters in half precision, whose gradients are too coarse to attack by, or another number of channels in
            mean than in std.
    """

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std):
            raise ValueError(f"mean and std are one number a channel; got {len(mean)} and {len(std)}")
        check_precision(model)
        self.model = model
        like = torch.zeros((), dtype=dtype_of(model), device=device_of(model))
        self.register_buffer("mean", torch.tensor(mean).to(like)[:, None, None])
        self.register_buffer("std", torch.tensor(std).to(like)[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        return self.model((pixels - self.mean) / self.std)


def check_precision(model: nn.Module) -> None:
    """Raise ValueError for a net in half precision, whose gradients are too coarse to attack by."""
    if (dtype := dtype_of(model)) not in (torch.float32, torch.float64):
        raise ValueError(f"attacks need gradients in float32; the net is in {dtype}. Call .float() first")


@contextmanager
def under_attack(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and no gradients of parameters; both return as they were."""
    modes = [(module, module.training) for module in model.modules()]
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    try:
        for parameter in wanted:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter in wanted:
            parameter.requires_grad_(True)


def loss_and_gradient(
    model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, loss: Loss
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (B, K), loss (B,) and the direction of its gradient with respect to the images, all detached.

    Ours: where a net is very sure, the gradient of the loss is too small for float32; so it is taken in float64 up to the logits,
    scaled to a largest entry of one for each image, and only then led back through the net. Its direction, all that attacks use,
    stays the same.
    """
    with torch.enable_grad():
        pixels = images.detach().requires_grad_()
        logits = model(pixels)
        answers = logits.detach().double().requires_grad_()
        values = loss(answers, labels)
        (outer,) = torch.autograd.grad(values.sum(), answers)
        outer = outer / outer.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
        (gradient,) = torch.autograd.grad(logits, pixels, outer.to(logits))
    return logits.detach(), values.detach(), gradient
