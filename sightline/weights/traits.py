"""What a source's net computes otherwise than ours of that name, though its tensors are the same.

    gelu         "erf" or "tanh"; differs by up to 5e-4 in the logits
    norm_eps     of the layer normalisation; transformers has 1e-12, all others 1e-6
    resize       how positions go to another grid, see `sightline.layers.positions`
    stem         small constants of a hybrid's ResNet: "google" or "timm", see `sightline.backbones.bit_stem`
    pre_logits   width of a hidden tanh layer before the head, 0 for none

Weights are only exact in a net that computes as the source does, so a net takes the traits over with the weights.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import nn

from sightline.backbones.bit_stem import FORMS, BitStem
from sightline.backbones.transformer_block import GELU, Perceptron
from sightline.backbones.transformer_net import PatchTransformer
from sightline.layers.positions import METHODS
from sightline.weights.errors import WeightsError

NAMES = ("gelu", "norm_eps", "resize", "stem", "pre_logits")


def traits_of(model: nn.Module) -> dict[str, Any]:
    """The traits of a ViT or DeiT; empty for other nets."""
    if not isinstance(model, PatchTransformer):
        return {}
    cfg, norm = model.cfg, model.norm
    hidden = model.pre_logits
    return {
        "gelu": cfg.gelu,
        "norm_eps": norm.eps if isinstance(norm, nn.LayerNorm) else 1e-6,
        "resize": cfg.resize,
        **({"stem": stem.form} if (stem := _stem(model)) is not None else {}),
        "pre_logits": 0 if isinstance(hidden, nn.Identity) else model.head_hidden_size,
    }


def apply_traits(model: nn.Module, traits: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Make a ViT or DeiT compute as `traits` say, in place; returns what changed: trait -> (before, after).

    Raises:
        WeightsError: an unknown trait or value, or a net that has none.
    """
    if not traits:
        return {}
    if not isinstance(model, PatchTransformer):
        raise WeightsError(f"only ViT and DeiT have traits; {type(model).__name__} was to get {dict(traits)}")
    _check(traits)
    before = traits_of(model)
    traits = {
        name: value for name, value in traits.items() if name in before
    }  # a net without a stem has no trait of it
    changed = {name: (before[name], value) for name, value in traits.items() if before[name] != value}
    if "pre_logits" in changed:
        _set_hidden(model, traits["pre_logits"])
    model.cfg = replace(model.cfg, **{name: traits[name] for name in ("gelu", "resize") if name in changed})
    stem = _stem(model)
    if stem is not None and "stem" in changed:
        stem.compute_as(traits["stem"])
    for module in model.modules():
        if isinstance(module, Perceptron) and "gelu" in changed:
            module.approximate = GELU[traits["gelu"]]
        if isinstance(module, nn.LayerNorm) and "norm_eps" in changed:
            module.eps = traits["norm_eps"]
    return changed


def _stem(model: PatchTransformer) -> BitStem | None:
    stem = model.patch_embed.backbone
    return stem if isinstance(stem, BitStem) else None


def _check(traits: Mapping[str, Any]) -> None:
    for name, known in (("gelu", GELU), ("resize", METHODS), ("stem", FORMS)):
        if name in traits and traits[name] not in known:
            raise WeightsError(f"{name} must be one of {', '.join(known)}; got {traits[name]!r}")
    unknown = sorted(set(traits) - set(NAMES))
    if unknown:
        raise WeightsError(f"there is no trait {', '.join(unknown)}; there are {', '.join(NAMES)}")


@contextmanager
def hidden_layer(model: nn.Module, width: int) -> Iterator[None]:
    """Give a ViT the hidden layer of a pre-training head, its head starting anew; undone when the block fails. 0 changes nothing.

    Raises:
        WeightsError: the net is distilled, and its heads are linear.
    """
    if not width or not isinstance(model, PatchTransformer) or traits_of(model)["pre_logits"] == width:
        yield
        return
    before = model.cfg, model.pre_logits, model.head, model.head_hidden_size
    _set_hidden(model, width)
    try:
        yield
    except BaseException:
        model.cfg, model.pre_logits, model.head, model.head_hidden_size = before
        raise


def _set_hidden(model: PatchTransformer, width: int) -> None:
    """Give a net the hidden layer of a pre-training head, or take it away; its head starts anew."""
    if width and model.cfg.distilled:
        raise WeightsError("a distilled net has linear heads; the source has a hidden layer before its head")
    first = next(model.parameters())
    place = {"device": first.device, "dtype": first.dtype}
    model.pre_logits = nn.Identity()
    if width:
        model.pre_logits = nn.Sequential()
        model.pre_logits.add_module("fc", nn.Linear(model.cfg.dim, width, **place))
        model.pre_logits.add_module("act", nn.Tanh())
    model.head_hidden_size = width or model.cfg.dim
    if model.num_classes > 0:
        model.head = nn.Linear(model.head_hidden_size, model.num_classes, **place)
    model.cfg = replace(model.cfg, pre_logits=width or None)
