"""Ask a net as it wants to be asked, in evaluation mode, and leave it as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The net in evaluation mode inside; afterwards every part of it is in the mode it was in, frozen batch norms too."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        model.train(modes[0][1])  # parts may have a `train` of their own, which does more
        for module, was in modes:
            module.training = was


def as_the_net_wants(model: nn.Module, images: Tensor) -> Tensor:
    """The images on the device and in the dtype of the net's weights."""
    like = next((one for one in model.parameters() if one.is_floating_point()), images)
    return images.to(like.device, like.dtype)
