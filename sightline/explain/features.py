"""A layer's output as a map: feature maps as they are, tokens on their grid; and the layer to take when none is named."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sightline.explain.attending import net_of, patch_grids, token_names
from sightline.explain.explanation import Ask
from sightline.explain.geometry import Geometry, stride_of
from sightline.explain.record import reductions


@contextmanager
def outputs_of(
    model: nn.Module, layer: str, outputs: list[Any], gradients: list[Tensor] | None = None
) -> Iterator[None]:
    """Collect what the module of that name returns in the forward passes made inside, and gradients there as they come back.

    Raises:
        ValueError: the model has no such module.
    """
    modules = dict(model.named_modules())
    if layer not in modules:
        raise ValueError(f"the model has no module {layer!r}; its last ones: {', '.join(list(modules)[-8:])}")

    def keep(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        if gradients is None or not isinstance(output, Tensor):
            outputs.append(output)
            return
        outputs.append(output.detach().clone())  # what follows may work in place
        if output.requires_grad:
            output.register_hook(gradients.append)

    handle = modules[layer].register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


def geometry_of(ask: Ask, layer: str, output: Any) -> Geometry:
    """Where the positions of a layer's output lie. Raises ValueError when it is neither (B, C, h, w) nor tokens of a grid."""
    if isinstance(output, Tensor) and output.ndim == 4:
        grid = (output.shape[2], output.shape[3])
        return Geometry(*grid, stride_of(ask.image_size, grid, reductions(ask.model)), ask.image_size)
    net = net_of(ask.model)
    prefix = int(getattr(net, "num_prefix_tokens", 0))
    if isinstance(output, Tensor) and output.ndim == 3:
        for grid in patch_grids(net, ask.image_size):
            if grid[0] * grid[1] == output.shape[1] - prefix:
                stride = stride_of(ask.image_size, grid, reductions(ask.model))
                return Geometry(*grid, stride, ask.image_size, token_names(ask.model, prefix))
    shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    raise ValueError(f"layer {layer!r} gives no map: neither (B, C, rows, columns) nor tokens of a grid; got {shape}")


def positions(output: Tensor) -> Tensor:
    """A layer's output as (B, positions, C), prefix tokens first."""
    return output.flatten(2).transpose(1, 2) if output.ndim == 4 else output


def last_layer(ask: Ask) -> str:
    """The layer whose output the classifier is about to read: the last that the net states, else the last with a map."""
    net = net_of(ask.model)
    stated = [info.get("module") for info in getattr(net, "feature_info", None) or () if isinstance(info, dict)]
    if stated and stated[-1]:
        inside = next(name for name, module in ask.model.named_modules() if module is net)
        return f"{inside}.{stated[-1]}".lstrip(".")
    return _last_with_a_map(ask)


@torch.no_grad()
def _last_with_a_map(ask: Ask) -> str:
    found: list[str] = []
    handles = []
    for name, module in ask.model.named_modules():

        def note(_module: nn.Module, _args: tuple[Any, ...], output: Any, name: str = name) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
                found.append(name)

        handles.append(module.register_forward_hook(note))
    try:
        ask.model(ask.images[:1])
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise ValueError(
            "no layer of this net gives a map (B, C, rows, columns) larger than one cell; name one with layer="
        )
    return found[-1]
