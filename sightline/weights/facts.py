"""What a source says of its net beside the tensors: labels, pre-processing, and what it computes otherwise than ours.

Read from the header of our own files, config.json of sightline, timm and transformers, or from a module at hand.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from sightline.weights.errors import WeightsError
from sightline.weights.meta import ModelMeta, Preprocessing, meta_from, preprocessing_of
from sightline.weights.traits import traits_of

KEY = "sightline"
CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
GELUS = {
    "gelu": "erf",
    "gelu_python": "erf",
    "gelu_new": "tanh",
    "gelu_pytorch_tanh": "tanh",
    "gelu_tanh": "tanh",
    "gelu_fast": "tanh",
}
RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}  # Pillow's numbers


@dataclass(frozen=True)
class Facts:
    """What a source says of its net; None and empty where it is silent.

    Args:
        meta: all of it, of a source that sightline wrote.
        own: it is a net of sightline at hand, not a file.
        architecture: the source's name of its net.
        heads: attention heads.
        pool: how its classifier reads: "token" or "avg".
        image_size: rows and columns its positions are for.
        classes: class names, in the order of the logits.
        eye: pre-processing.
        traits: see `sightline.weights.traits`.
        one_head: it has a distillation token, and one classifier that reads the class token alone.
    """

    meta: ModelMeta | None = None
    own: bool = False
    architecture: str = ""
    heads: int | None = None
    pool: str | None = None
    image_size: tuple[int, int] | None = None
    classes: tuple[str, ...] | None = None
    eye: Preprocessing | None = None
    traits: Mapping[str, Any] = field(default_factory=dict)
    one_head: bool = False


def of_meta(meta: ModelMeta) -> Facts:
    """What a source that sightline wrote says."""
    return Facts(
        meta,
        False,
        meta.name,
        image_size=meta.image_size,
        classes=meta.classes,
        eye=meta.preprocessing,
        traits=meta.traits,
    )


def of_header(header: Mapping[str, str], file: Path) -> Facts:
    """What the header of a safetensors file says."""
    if KEY not in header:
        return Facts()
    try:
        fields = json.loads(header[KEY])
    except ValueError as error:
        raise WeightsError(f"{file} has a damaged header: {error!r}") from error
    return of_meta(meta_from(fields, str(file)))


def of_folder(folder: Path) -> Facts:
    """What config.json of a folder says: sightline's, timm's or transformers'.

    Raises:
        WeightsError: it is damaged.
    """
    config = _json(folder / CONFIG)
    if KEY in config:
        return of_meta(meta_from(config[KEY], str(folder / CONFIG)))
    try:
        if "pretrained_cfg" in config or "architecture" in config:
            return _of_timm(config)
        if "model_type" in config:
            return _of_transformers(config, _json(folder / PROCESSOR))
    except WeightsError as error:
        raise WeightsError(f"{folder / CONFIG}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{folder / CONFIG} is damaged: {error!r}") from error
    return Facts()


def of_module(module: nn.Module) -> Facts:
    """What a net at hand tells: one of ours, timm's, torchvision's or transformers'."""
    if type(module).__module__.startswith("sightline."):
        img_size = getattr(module, "img_size", None)
        return Facts(own=True, image_size=img_size, traits=traits_of(module))
    config = getattr(module, "config", None)
    if config is not None and hasattr(config, "to_dict"):  # transformers
        fields = config.to_dict()
        return _of_transformers(fields | {"architectures": [type(module).__name__]}, {})
    blocks, encoder = getattr(module, "blocks", None), getattr(module, "encoder", None)
    if isinstance(blocks, nn.Sequential) and hasattr(module, "patch_embed"):  # timm
        return _of_timm_module(module, blocks)
    if encoder is not None and hasattr(module, "conv_proj"):  # torchvision
        layer = encoder.layers[0]
        side: Any = getattr(module, "image_size", None)
        size = (side, side) if isinstance(side, int) else None
        return Facts(heads=layer.self_attention.num_heads, image_size=size, traits={"norm_eps": encoder.ln.eps})
    return Facts()


def _of_timm_module(module: Any, blocks: nn.Sequential) -> Facts:
    block: Any = blocks[0]
    traits = {"norm_eps": block.norm1.eps}
    name = type(block.mlp.act).__name__.lower()
    if name in ("gelu", "gelutanh"):
        tanh = name == "gelutanh" or getattr(block.mlp.act, "approximate", "none") == "tanh"
        traits["gelu"] = "tanh" if tanh else "erf"
    size = getattr(module.patch_embed, "img_size", None)
    return Facts(heads=block.attn.num_heads, pool=module.global_pool, image_size=size, traits=traits)


def _of_timm(config: Mapping[str, Any]) -> Facts:
    cfg, args = config.get("pretrained_cfg", config), config.get("model_args") or {}
    size = cfg.get("input_size")
    traits = {"gelu": _gelu(args["act_layer"])} if isinstance(args.get("act_layer"), str) else {}
    labels = config.get("label_names")
    classes = tuple(map(str, labels)) if isinstance(labels, list) else None
    eye = None
    if size and cfg.get("mean") and cfg.get("std"):
        eye = preprocessing_of(cfg)
    built = args.get("img_size", size[1:] if size else None)
    image_size = (built, built) if isinstance(built, int) else (built[0], built[1]) if built else None
    return Facts(
        architecture=str(config.get("architecture", "")),
        heads=args.get("num_heads"),
        pool=config.get("global_pool"),
        image_size=image_size,
        classes=classes,
        eye=eye,
        traits=traits,
    )


def _of_transformers(config: Mapping[str, Any], processor: Mapping[str, Any]) -> Facts:
    labels = config.get("id2label") or {}
    size = config.get("image_size")
    image_size = (size, size) if isinstance(size, int) else (size[0], size[1]) if size else None
    architecture = next(iter(config.get("architectures") or []), "")
    return Facts(
        architecture=architecture or str(config.get("model_type", "")),
        heads=config.get("num_attention_heads"),
        pool="token",
        image_size=image_size,
        classes=tuple(str(labels[key]) for key in sorted(labels, key=int)) if labels else None,
        eye=_eye(processor, image_size),
        traits={"gelu": _gelu(config.get("hidden_act", "gelu")), "norm_eps": config.get("layer_norm_eps", 1e-12)},
        one_head=architecture == "DeiTForImageClassification",
    )


def _eye(processor: Mapping[str, Any], image_size: tuple[int, int] | None) -> Preprocessing | None:
    """Pre-processing of transformers: resize to `size`, then cut `crop_size` when `do_center_crop`."""
    if not processor or image_size is None:
        return None
    mean, std = processor.get("image_mean", (0.5,) * 3), processor.get("image_std", (0.5,) * 3)
    cut = processor.get("do_center_crop", False)
    size, crop = _side(processor.get("size")), _side(processor.get("crop_size"))
    fraction = crop / size if cut and size and crop and crop <= size else 1.0
    shape = (crop, crop) if cut and crop else (size, size) if size else image_size
    interpolation = RESAMPLING.get(processor.get("resample", 2), "bilinear")
    return Preprocessing(shape, tuple(mean), tuple(std), fraction, "center" if cut else "squash", interpolation)


def _side(size: Any) -> int | None:
    if isinstance(size, Mapping):
        size = size.get("shortest_edge", size.get("height"))
    return size if isinstance(size, int) else None


def _gelu(name: Any) -> str:
    if name not in GELUS:
        raise WeightsError(f"the source's activation is {name!r}; ViT and DeiT here have a GELU ({', '.join(GELUS)})")
    return GELUS[name]


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} can not be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise WeightsError(f"{file} is damaged: a JSON object was expected, not {type(found).__name__}")
    return found
