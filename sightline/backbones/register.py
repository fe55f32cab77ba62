"""Put a module's nets into timm's registry and sightline's catalogue, so that a net is one line of data.

    NETS = {"conv_resnet50": Net("convolution", "ResNet-50 (arXiv 1512.03385).", RESNET50, Printed(...), IMAGENET), ...}
    register(__name__, NETS, build, first_conv="conv1", classifier="fc")

Each name becomes an entry point, a function of the module with that name, as `timm.models.register_model` would have made of one
written by hand. It takes every field of its config as an option: create_model("vit_b16", depth=6, pre_logits=True).
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from timm.models import generate_default_cfgs, register_model
from torch import nn

from sightline.backbones.catalogue import Net, add

Build = Callable[[str, Any, bool, dict[str, Any]], nn.Module]

_ANY_SIZE = {"fixed_input_size": False, "license": "apache-2.0"}
SMALL: dict[str, Any] = _ANY_SIZE | {
    "input_size": (3, 32, 32),
    "num_classes": 10,
    "mean": (0.5, 0.5, 0.5),
    "std": (0.25, 0.25, 0.25),
}
IMAGENET: dict[str, Any] = _ANY_SIZE | {
    "input_size": (3, 224, 224),
    "num_classes": 1000,
    "interpolation": "bilinear",
    "crop_pct": 0.875,
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}


def register(
    module: str, nets: Mapping[str, Net], build: Build, *, first_conv: str, classifier: str | tuple[str, ...]
) -> None:
    """Register nets.

    Args:
        module: `__name__` of the module they belong to.
        nets: by name.
        build: makes a net from its name, its config, timm's `pretrained` flag and the caller's options; `img_size` is among
            them, as in timm's `pretrained_cfg` when the caller says nothing.
        first_conv: name of the layer that reads the image.
        classifier: name(s) of the classifier.

    Raises:
        ValueError: a name is taken, or a family unknown.
    """
    home = sys.modules[module]
    shared = {"first_conv": first_conv, "classifier": classifier}
    cfgs = generate_default_cfgs({name: shared | dict(net.cfg) for name, net in nets.items()})
    home.default_cfgs = getattr(home, "default_cfgs", {}) | cfgs  # type: ignore[attr-defined] (where timm looks)
    for name, net in nets.items():
        add(name, net)
        setattr(home, name, register_model(_entry_point(module, name, net, build)))


def _entry_point(module: str, name: str, net: Net, build: Build) -> Callable[..., nn.Module]:
    size = net.cfg["input_size"][1:]

    def entry(pretrained: bool = False, **options: Any) -> nn.Module:
        config, rest = _changed(net.config, options)
        return build(name, config, pretrained, {"img_size": size} | rest)

    entry.__name__ = entry.__qualname__ = name
    entry.__module__, entry.__doc__ = module, net.about
    return entry


def _changed(config: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The config with those of the options that are fields of it, and the other options."""
    known = {field.name for field in fields(config)} if is_dataclass(config) else set()
    changes = {key: value for key, value in options.items() if key in known}
    rest = {key: value for key, value in options.items() if key not in known}
    return (replace(config, **changes) if changes else config), rest
