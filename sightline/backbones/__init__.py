"""The nets, registered in timm's registry: `create_model` by name, `list_models` by pattern or family."""

from difflib import get_close_matches
from typing import Any

import timm
from timm.models import PretrainedCfg
from torch import nn

from sightline.backbones import (  # noqa: F401 (importing registers their nets)
    aa_nets,
    ccnet_nets,
    conv_nets,
    deit_nets,
    lrnet_nets,
    mini,
    nonlocal_nets,
    patch_transformer,
    san_net,
    san_nets,
    sasa_nets,
    vit_nets,
    wide_nets,
)
from sightline.backbones.catalogue import FAMILIES, MODELS, NETS, Family, Net, Printed, family_of, list_models

__all__ = [
    "FAMILIES",
    "MODELS",
    "NETS",
    "Family",
    "Net",
    "Printed",
    "create_model",
    "family_of",
    "list_models",
    "own_classes",
    "own_size",
]


def create_model(name: str, **options: Any) -> nn.Module:
    """Build a net by name, with random weights: one of sightline's, or any that timm knows.

    Args:
        name: see `list_models()`; timm's names work too.
        options: of the net: num_classes, in_chans, img_size, drop_rate, drop_path_rate, features_only, ..., and the fields of
            its config, as in `create_model("vit_b16", pre_logits=True)`. One that is None is left at the net's own value, as
            timm does. An img_size is left out for nets of timm's that take any size and therefore no such option.

    Raises:
        ValueError: nobody knows the name; the message offers the closest.
    """
    _check_known(name)
    if name not in MODELS and not _fixed_size(name):
        options.pop("img_size", None)
    return timm.create_model(name, **options)


def _fixed_size(name: str) -> bool:
    config = timm.get_pretrained_cfg(name)
    return config is not None and config.fixed_input_size


def _check_known(name: str) -> None:
    if not timm.is_model(name):
        close = get_close_matches(name, list_models(), n=3, cutoff=0.4)
        raise ValueError(f"there is no model {name!r}; did you mean {', '.join(close or list_models('*mini*'))}?")


def own_size(name: str) -> tuple[int, int]:
    """Rows and columns of the images a net was designed for; timm's nets are known too."""
    return _configuration(name).input_size[1:]


def own_classes(name: str) -> int:
    """Outputs of the classifier a net has when nothing else is asked for; timm's nets are known too."""
    return _configuration(name).num_classes


def _configuration(name: str) -> Any:
    _check_known(name)
    return timm.get_pretrained_cfg(name) or PretrainedCfg()
