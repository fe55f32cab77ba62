"""Random numbers for a batch. They are drawn where the generator lives and then moved, so a CPU generator gives the same
augmentation on every device."""

import torch
from torch import Tensor


def uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator, like: Tensor) -> Tensor:
    """Floats from low to high, on the device of `like`."""
    drawn = torch.rand(shape, generator=generator, device=generator.device)
    return (low + (high - low) * drawn).to(like.device)


def integers(shape: tuple[int, ...], below: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """Whole numbers 0 .. below - 1, on the device of `like`."""
    return torch.randint(below, shape, generator=generator, device=generator.device).to(like.device)


def chance(count: int, probability: float, generator: torch.Generator, like: Tensor) -> Tensor:
    """(count,) booleans, true with this probability, on the device of `like`."""
    return uniform((count,), 0.0, 1.0, generator, like) < probability
