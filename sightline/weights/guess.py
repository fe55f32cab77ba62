"""Which nets a source fits: for convert, which must know, and for the remedy of an error."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sightline.backbones import NETS
from sightline.backbones import create_model as build
from sightline.backbones.san_net import SAN, SANConfig
from sightline.backbones.transformer_config import TransformerConfig
from sightline.backbones.transformer_net import PatchTransformer
from sightline.backbones.trunk import Trunk, TrunkConfig
from sightline.weights import formats
from sightline.weights.grid import grid_of
from sightline.weights.rules import Translation
from sightline.weights.source import Source

CONFIGS = {formats.TRANSFORMER: TransformerConfig, formats.SAN: SANConfig, formats.RESIDUAL: TrunkConfig}
FREE = ("pos_embed", "head.", "head_dist.", "fc.", "pre_logits.")  # may differ: another image size, another classifier


def kind_of(model: nn.Module) -> str:
    """Which kind of net a model is, as `Format.net` has it."""
    kinds = ((PatchTransformer, formats.TRANSFORMER), (SAN, formats.SAN), (Trunk, formats.RESIDUAL))
    return next((kind for made, kind in kinds if isinstance(model, made)), formats.ANY)


def names_that_fit(source: Source, translation: Translation, model: nn.Module | None = None) -> list[str]:
    """Names of sightline's nets that have these tensors, classifier and image size aside; the likeliest first.

    Args:
        model: the net that was tried, whose kind is searched when the format tells none.
    """
    kind = source.format.net if source.format.net != formats.ANY else kind_of(model) if model is not None else ""
    shapes = _shapes(translation.tensors)
    fitting = [name for name in _candidates(kind, shapes) if _fits(name, shapes, translation)]
    return sorted(fitting, key=lambda name: _unlikely(name, source, translation))


def image_size_of(source: Source, name: str) -> tuple[int, int] | None:
    """The image size that a source is for: as it says, else by its positions; None for nets of any size."""
    if source.facts.image_size is not None:
        return source.facts.image_size
    config = NETS[name].config if name in NETS else None
    tensors = source.translated().tensors
    if not isinstance(config, TransformerConfig) or "pos_embed" not in tensors:
        return None
    prefix = int(config.class_token) + int(config.distilled)
    grid = grid_of(tensors["pos_embed"].shape[1] - prefix, None)
    kernel = tensors.get("patch_embed.proj.weight")
    patch = kernel.shape[2] if kernel is not None and kernel.ndim == 4 else config.patch_size
    reduction = patch * (4 * 2 ** (len(config.stem) - 1) if config.stem else 1)
    return None if grid is None else (grid[0] * reduction, grid[1] * reduction)


def _candidates(kind: str, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[str]:
    """Nets of a kind whose size can be that of the tensors; building all of the catalogue would take many seconds."""
    for name, net in NETS.items():
        config = net.config
        if kind in CONFIGS and not isinstance(config, CONFIGS[kind]):
            continue
        if isinstance(config, TransformerConfig) and not _same_transformer(config, shapes):
            continue
        if isinstance(config, TrunkConfig) and _depths(shapes, r"layer(\d+)\.(\d+)\.") != config.layers:
            continue
        if isinstance(config, SANConfig) and _depths(shapes, r"stages\.(\d+)\.blocks\.(\d+)\.") != config.layers:
            continue
        yield name


def _depths(shapes: Iterable[str], pattern: str) -> tuple[int, ...]:
    """Blocks a stage."""
    found = {(int(match[1]), int(match[2])) for name in shapes if (match := re.match(pattern, name))}
    stages = sorted({stage for stage, _ in found})
    return tuple(sum(stage == one for one, _ in found) for stage in stages)


def _same_transformer(config: TransformerConfig, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    kernel = shapes.get("patch_embed.proj.weight", ())
    depth = sum(name.endswith(".norm1.weight") and name.startswith("blocks.") for name in shapes)
    hybrid = any(name.startswith("patch_embed.backbone.") for name in shapes)
    return (
        len(kernel) == 4
        and kernel[0] == config.dim
        and depth == config.depth
        and hybrid == bool(config.stem)
        and ("dist_token" in shapes) == config.distilled
        and ("pos_embed" in shapes) == ((config.positions, config.positions_at) == ("1d", "stem"))
        and (hybrid or config.patches_across is not None or kernel[2] == config.patch_size)
    )


def _fits(name: str, shapes: Mapping[str, tuple[int, ...]], translation: Translation) -> bool:
    options: dict[str, Any] = {"num_classes": 7}
    if name.endswith("_mini") or "_mini_" in name:
        kernel = shapes.get("patch_embed.proj.weight", (0, 0, 0, 0))
        options["img_size"] = max(8 * kernel[2], 8) if len(kernel) == 4 else 32
    with torch.device("meta"):
        state = _shapes(build(name, **options).state_dict())
    return not translation.unknown and _bound(state) == _bound(shapes)


def _bound(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The shapes that a net must have."""
    return {n: s for n, s in shapes.items() if not n.startswith(FREE) and not n.endswith("num_batches_tracked")}


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _unlikely(name: str, source: Source, translation: Translation) -> tuple[bool, bool, int]:
    """Sorting key: of the source's family first, then of its image size, then the shortest name."""
    said = source.facts.architecture.lower()
    deit = source.format is formats.DEIT or "deit" in said or "dist_token" in translation.tensors
    size = image_size_of(source, name)
    fits_size = size is None or NETS[name].cfg.get("input_size", (3, 0, 0))[1] == size[0]
    return name.startswith("deit") != deit, not fits_size, len(name)
