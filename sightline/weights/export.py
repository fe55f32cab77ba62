"""The nets out: tensors and configuration as timm and transformers have them.

Every net that timm has too can go to timm; ViT and DeiT that classify by their tokens can go to transformers. What the other side
does not compute is an error here, never a silent difference there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from torch import Tensor, nn

from sightline.backbones.transformer_net import PatchTransformer
from sightline.backbones.trunk import Trunk
from sightline.weights.errors import WeightsError, listed
from sightline.weights.formats.huggingface import HUGGINGFACE
from sightline.weights.meta import ModelMeta
from sightline.weights.rules import translate_back
from sightline.weights.traits import traits_of

HYBRIDS = ("vit_base_r50_s16_224", "vit_large_r50_s32_224", "vit_small_r26_s32_224", "vit_tiny_r_s16_p8_224")
RESAMPLING = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}  # Pillow's numbers


@dataclass(frozen=True)
class Exported:
    """A net as another library has it.

    Args:
        tensors: by that library's names.
        config: its config.json.
        others: further JSON files, by name.
        notes: what the other side does otherwise.
    """

    tensors: Mapping[str, Tensor]
    config: Mapping[str, Any]
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def to_timm(model: nn.Module, meta: ModelMeta) -> Exported:
    """A net as timm has it; `timm.create_model("local-dir:FOLDER", pretrained=True)` makes it again.

    Raises:
        WeightsError: timm has no such net; the message says what it lacks.
    """
    tensors, shapes = _state(model), {name: tuple(t.shape) for name, t in model.state_dict().items()}
    refused: list[str] = []
    for architecture, options in _timm_nets(model, meta):
        with torch.device("meta"):
            try:
                theirs = timm.create_model(architecture, num_classes=len(meta.classes), **options).state_dict()
            except (TypeError, ValueError, RuntimeError, AssertionError) as error:
                refused.append(f"{architecture}: {error}")
                continue
        differing = [name for name in {**shapes, **theirs} if shapes.get(name) != _shape(theirs.get(name))]
        if not differing:
            return Exported(tensors, _timm_config(model, meta, architecture, options), notes=_timm_notes(model))
        refused.append(f"{architecture} has {listed(differing, 3)} otherwise")
    raise WeightsError(
        f"timm has no net that computes what {meta.name} does ({'; '.join(refused) or 'no family of its'})"
    )


def to_huggingface(model: nn.Module, meta: ModelMeta) -> Exported:
    """A ViT or DeiT as transformers has it: `ViTForImageClassification` or, distilled, `DeiTForImageClassificationWithTeacher`.

    Raises:
        WeightsError: transformers has no such net; the message says what it lacks.
    """
    if not isinstance(model, PatchTransformer):
        raise WeightsError(f"transformers' ViT and DeiT are transformers; {meta.name} is a {type(model).__name__}")
    _check_huggingface(model, meta)
    distilled = model.cfg.distilled
    prefix = "deit." if distilled else "vit."
    bare = translate_back(_state(model), HUGGINGFACE.rules)
    if distilled:  # the head of a distilled net has a longer name there
        bare = {f"cls_{name}" if name.startswith("classifier.") else name: tensor for name, tensor in bare.items()}
    tensors = {name if "classifier." in name else prefix + name: tensor for name, tensor in bare.items()}
    return Exported(tensors, _huggingface_config(model, meta), {"preprocessor_config.json": _processor(meta)})


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)


def _timm_nets(model: nn.Module, meta: ModelMeta) -> list[tuple[str, dict[str, Any]]]:
    """timm's nets that this one may be, with their options."""
    channels = {} if meta.in_chans == 3 else {"in_chans": meta.in_chans}
    if isinstance(model, PatchTransformer):
        options = _timm_transformer(model, meta) | channels
        if model.cfg.distilled:
            options.pop("class_token")
            return [("deit_base_distilled_patch16_224", options)]
        if model.cfg.stem:
            options.pop("patch_size")
            return [(name, options) for name in HYBRIDS]
        return [("vit_base_patch16_224", options)]
    if isinstance(model, Trunk):
        layers = {"layers": [len(getattr(model, stage)) for stage in model.stages]} | channels
        return [(name, layers) for name in ("resnet50", "resnet34", "seresnet50", "seresnet34")]
    return []


def _timm_transformer(model: PatchTransformer, meta: ModelMeta) -> dict[str, Any]:
    cfg = model.cfg
    hidden = cfg.hidden or 4 * cfg.dim
    options: dict[str, Any] = {
        "img_size": list(model.img_size),
        "patch_size": model.patch_embed.patch_size,
        "embed_dim": cfg.dim,
        "depth": cfg.depth,
        "num_heads": cfg.heads,
        "mlp_ratio": hidden / cfg.dim,
        "class_token": cfg.class_token,
        "global_pool": model.global_pool,
        "fc_norm": False,
        "act_layer": "gelu_tanh" if cfg.gelu == "tanh" else "gelu",
    }
    return options


def _timm_notes(model: nn.Module) -> tuple[str, ...]:
    traits = traits_of(model)
    eps, stem, notes = traits.get("norm_eps", 1e-6), traits.get("stem", "timm"), []
    if eps != 1e-6:
        notes.append(f"timm's layer normalisation adds 1e-6, these weights had {eps:g}: logits differ a little")
    if stem != "timm":
        notes.append(
            f"the small constants of timm's ResNet are not those of {stem!r}: logits differ by about 1e-4 of their size"
        )
    return tuple(notes)


def _timm_config(model: nn.Module, meta: ModelMeta, architecture: str, options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "architecture": architecture,
        "num_classes": len(meta.classes),
        "num_features": getattr(model, "num_features", None),
        "global_pool": getattr(model, "global_pool", "token") if isinstance(model, PatchTransformer) else "avg",
        "label_names": list(meta.classes),
        "model_args": dict(options),
        "pretrained_cfg": {
            "input_size": [meta.in_chans, *meta.image_size],
            "fixed_input_size": isinstance(model, PatchTransformer),
            "interpolation": meta.interpolation,
            "crop_pct": meta.crop,
            "crop_mode": meta.crop_mode,
            "mean": list(meta.mean),
            "std": list(meta.std),
            "num_classes": len(meta.classes),
        },
    }


def _check_huggingface(model: PatchTransformer, meta: ModelMeta) -> None:
    faults = {
        "a ResNet before its patches": bool(model.cfg.stem),
        f"positions {model.cfg.positions} at {model.cfg.positions_at!r}": model.pos_embed is None,
        "no class token": not model.cfg.class_token,
        f"pooling {model.global_pool!r}": model.global_pool != "token",
        "a hidden layer before its head": not isinstance(model.pre_logits, nn.Identity),
        "no classifier": model.num_classes == 0,
        "an image size its patch does not divide": any(s % model.patch_embed.patch_size for s in model.img_size),
    }
    found = [fault for fault, there in faults.items() if there]
    if found:
        raise WeightsError(f"transformers has no such net: {meta.name} has {' and '.join(found)}")


def _huggingface_config(model: PatchTransformer, meta: ModelMeta) -> dict[str, Any]:
    cfg, (rows, cols) = model.cfg, model.img_size
    distilled = cfg.distilled
    return {
        "architectures": ["DeiTForImageClassificationWithTeacher" if distilled else "ViTForImageClassification"],
        "model_type": "deit" if distilled else "vit",
        "hidden_size": cfg.dim,
        "num_hidden_layers": cfg.depth,
        "num_attention_heads": cfg.heads,
        "intermediate_size": cfg.hidden or 4 * cfg.dim,
        "hidden_act": "gelu" if cfg.gelu == "erf" else "gelu_pytorch_tanh",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": traits_of(model)["norm_eps"],
        "image_size": rows if rows == cols else [rows, cols],
        "patch_size": model.patch_embed.patch_size,
        "num_channels": meta.in_chans,
        "qkv_bias": True,
        "id2label": {str(index): name for index, name in enumerate(meta.classes)},
        "label2id": {name: index for index, name in enumerate(meta.classes)},
        "torch_dtype": str(model.patch_embed.proj.weight.dtype).removeprefix("torch."),
    }


def _processor(meta: ModelMeta) -> dict[str, Any]:
    """preprocessor_config.json: a plain resize, or the shorter side resized and the centre cut."""
    rows, cols = meta.image_size
    shared = {
        "do_resize": True,
        "resample": RESAMPLING[meta.interpolation],
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(meta.mean),
        "image_std": list(meta.std),
    }
    if meta.crop_mode == "squash":
        return shared | {"image_processor_type": "ViTImageProcessor", "size": {"height": rows, "width": cols}}
    return shared | {
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": round(min(rows, cols) / meta.crop)},
        "do_center_crop": True,
        "crop_size": {"height": rows, "width": cols},
        "do_convert_rgb": True,
    }
