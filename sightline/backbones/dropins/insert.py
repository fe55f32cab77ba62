"""Add attention blocks to any net, so that it computes at first what it did before.

A block comes after a module: at the end of it where that is a plain `nn.Sequential` (a stage; the names of its weights stay), else
module and block together take the module's place (`Followed`; "layer3.0.conv1" becomes "layer3.0.body.conv1").
"""

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from sightline.backbones.dropins.operators import OWNED, check_options
from sightline.backbones.dropins.probe import Probe, Seen, probe
from sightline.backbones.dropins.select import Selector, select
from sightline.layers import CrissCrossAttention, NonLocalBlock2d

BLOCKS: Mapping[str, type[nn.Module]] = MappingProxyType(
    {"nonlocal": NonLocalBlock2d, "criss_cross": CrissCrossAttention, "ccnet": CrissCrossAttention}
)


class Followed(nn.Module):
    """A module, then a block on what it gives. Attributes that only the module has are read from it."""

    def __init__(self, body: nn.Module, block: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.block = block

    def forward(self, *args: Any, **options: Any) -> Tensor:
        return self.block(self.body(*args, **options))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "body":
                raise
            return getattr(self.body, name)


@dataclass(frozen=True)
class Insertion:
    """What `insert_blocks` did.

    Args:
        model: the net with its blocks: the one given, or the copy of it.
        block: the block's name.
        inserted: name of each new block in the net -> what it is and what it follows.
    """

    model: nn.Module
    block: str
    inserted: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{self.block}: {len(self.inserted)} blocks inserted"]
        return "\n".join([*lines, *(f"  {name}: {what}" for name, what in self.inserted.items())])


def insert_blocks(
    model: nn.Module,
    block: str,
    after: Selector,
    *,
    image_size: int | Sequence[int] | None = None,
    example: Tensor | tuple[Any, ...] | None = None,
    inplace: bool = True,
    **options: Any,
) -> Insertion:
    """Add blocks that start as the identity after modules of any net, in place unless asked otherwise.

    The net's outputs stay what they were until the blocks are trained. The channels are those the module gives in a forward pass
    that computes nothing. Each block has the module's device, dtype and mode (training or not).

    Args:
        model: any net: sightline's, timm's, torchvision's, yours.
        block: "nonlocal" (`NonLocalBlock2d`), or "criss_cross" or "ccnet" (`CrissCrossAttention`).
        after: which modules: a name ("layer3"), a glob within one level ("layer3.*" are its children), a regular expression
            (a string that fits the whole name, or a compiled one that is searched for), several of these, or a callable
            (name, module) -> bool.
        image_size: side, or (rows, columns), of the image the forward pass takes. None: of the timm configuration, else 224.
        example: what to call the model with instead, a tensor or a tuple, for nets that do not take one batch of images.
        inplace: False leaves the model alone and changes a copy; `report.model` is the changed net in both cases.
        options: of the block, as inter_channels, similarity, subsample (non-local), query_channels, recurrence (criss-cross).

    Raises:
        ValueError: an unknown block, nothing matches `after`, a module that does not run or gives no map (B, C, H, W), a bad
            option value. Nothing is changed then.
        TypeError: an option that the block does not have.
    """
    if block not in BLOCKS:
        raise ValueError(f"insert_blocks: block must be one of {', '.join(BLOCKS)}; got {block!r}")
    layer = BLOCKS[block]
    known = [name for name in inspect.signature(layer).parameters if name not in OWNED]
    check_options("insert_blocks", block, options, known)
    names = select("after", {name: one for name, one in model.named_modules() if name}, after, inside=False)
    shown = probe(model, image_size, example)
    made = {name: _make(model, name, layer, _map_of(name, shown), options) for name in names}
    if not inplace:
        model = copy.deepcopy(model)
    for name in sorted(
        names, key=lambda one: -one.count(".")
    ):  # inner ones first: wrapping an outer module renames them
        _insert(model, name, made[name], block)
    places = {module: name for name, module in model.named_modules()}
    return Insertion(model, block, {places[one]: f"{type(one).__name__} after {name}" for name, one in made.items()})


def _map_of(name: str, shown: Probe) -> tuple[int, ...]:
    """The shape of the map that a module gives."""
    if shown.failure:
        raise ValueError(f"insert_blocks: the model could not be run to find channels ({shown.failure}); give example=")
    seen: Seen | None = shown.modules.get(name)
    if seen is None:
        raise ValueError(
            f"insert_blocks: {name} does not run as a module in a forward pass; name one around or inside it"
        )
    if not isinstance(seen.given, Tensor) or seen.given.ndim != 4:
        got = f"shape {tuple(seen.given.shape)}" if isinstance(seen.given, Tensor) else type(seen.given).__name__
        raise ValueError(f"insert_blocks: {name} gives no feature map (B, C, H, W) but {got}")
    return tuple(seen.given.shape)


def _make(
    model: nn.Module, name: str, layer: type[nn.Module], given: tuple[int, ...], options: dict[str, Any]
) -> nn.Module:
    module = model.get_submodule(name)
    like = next(
        (one for part in (module, model) for one in part.parameters() if one.is_floating_point()), torch.empty(0)
    )
    try:
        made = layer(in_channels=given[1], device=like.device, dtype=like.dtype, **options)
    except ValueError as error:
        raise ValueError(f"insert_blocks: {name}: {error}") from error
    return made.train(module.training)


def _insert(model: nn.Module, name: str, made: nn.Module, block: str) -> None:
    module = model.get_submodule(name)
    if type(module).forward is nn.Sequential.forward:
        name = f"{block}_block"  # "nonlocal" alone is a word of Python, which code made from graphs trips over
        taken = sum(key.startswith(name) for key in module._modules)
        module.add_module(f"{name}{taken + 1}" if taken else name, made)
        return
    followed = Followed(module, made)
    followed.training = module.training
    for path in [path for path, one in model.named_modules(remove_duplicate=False) if one is module]:
        model.set_submodule(path, followed)
