"""Every net of the catalogue in small: the same kinds of layers in the same places, few of them and narrow, for quick tests."""

from dataclasses import fields, replace
from functools import partial
from typing import Any

import torch
from torch import nn

import sightline
from sightline.backbones import NETS
from sightline.backbones.ccnet_nets import CrissCrossHead
from sightline.backbones.san_net import SANConfig
from sightline.backbones.transformer_config import TransformerConfig
from sightline.backbones.trunk import TrunkConfig


def side(name: str) -> int:
    """Side of the images for a net in small: two rows behind a stride of 32; 32 pixels for nets of small pictures."""
    return min(NETS[name].cfg["input_size"][1], 64)


def small_config(name: str) -> Any:
    """The net's config in small; equal, as text, for nets that differ in depth, width or image size alone."""
    return SMALLER[type(NETS[name].config)](NETS[name].config)


def shrunken(name: str, **options: Any) -> nn.Module:
    """The net with two layers a stage at most and an eighth of the channels or so, for 5 classes."""
    torch.manual_seed(0)
    config, small = NETS[name].config, small_config(name)
    changed = {
        f.name: getattr(small, f.name) for f in fields(small) if getattr(small, f.name) != getattr(config, f.name)
    }
    return sightline.create_model(name, **{"num_classes": 5, "img_size": side(name)} | changed | options)


def open_gates(net: nn.Module) -> nn.Module:
    """Fill parameters that start at zero: gates that close branches, zero-initialised heads, and biases on the way."""
    for parameter in net.parameters():
        if not parameter.any():
            nn.init.normal_(parameter.data, std=0.3)
    return net


def _trunk(config: TrunkConfig) -> TrunkConfig:
    context = {(stage, min(index, 1)): block for (stage, index), block in config.context}
    return replace(
        config,
        layers=tuple(min(2 if config.context else 1, layers) for layers in config.layers),
        widths=tuple(max(width // 64 * 8, 32) for width in config.widths),
        outputs=None if config.outputs is None else tuple(width // 8 for width in config.outputs),
        stem_width=config.stem_width // 4,
        context=tuple(context.items()),
        neck=partial(CrissCrossHead, channels=16) if config.neck is CrissCrossHead else config.neck,
    )


def _san(config: SANConfig) -> SANConfig:
    return replace(config, layers=(1,) * len(config.layers), widths=(64,) * len(config.widths), stem_width=16)


def _transformer(config: TransformerConfig) -> TransformerConfig:
    return replace(config, dim=16, heads=2, depth=2, stem=(1,) * len(config.stem), stem_width=32)


SMALLER = {TrunkConfig: _trunk, SANConfig: _san, TransformerConfig: _transformer}
