"""What a net takes over from its source beside the tensors: classes, channels, traits, pre-processing, labels."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import timm
from torch import Tensor, nn

from sightline.backbones import NETS
from sightline.backbones.transformer_net import PatchTransformer
from sightline.weights.errors import listed
from sightline.weights.fit import HIDDEN
from sightline.weights.formats import OWN
from sightline.weights.rules import Translation
from sightline.weights.source import Source


def implied(name: str, source: Source, translation: Translation) -> dict[str, Any]:
    """Options that the source implies: classes, image channels, and all of a net that sightline saved."""
    found: dict[str, Any] = {}
    meta = source.facts.meta
    if meta is not None and meta.name == name:
        found = {key: tuple(value) if isinstance(value, list) else value for key, value in meta.options.items()}
        found["img_size"] = meta.image_size
    cfg = timm.get_pretrained_cfg(name)
    classifier, first = (_names(cfg.classifier), cfg.first_conv) if cfg is not None else ((), None)
    classes = _classes(translation, classifier)
    if classes is not None:
        found["num_classes"] = classes
    kernel = translation.tensors.get(f"{first}.weight")
    if kernel is not None and kernel.ndim == 4:
        found["in_chans"] = kernel.shape[1]
    return found


def classifier_of(model: nn.Module) -> tuple[str, ...]:
    """Names of a net's classifier(s), as timm knows them."""
    cfg = getattr(model, "pretrained_cfg", None)
    known = _names(cfg.get("classifier")) if isinstance(cfg, Mapping) else ()
    return known or (("head", "head_dist") if isinstance(model, PatchTransformer) else ())


def two_heads(source: Source, translation: Translation) -> None:
    """A DeiT of transformers with both tokens and one classifier: the mean of twice that head and nothing is that head, exactly."""
    state = translation.tensors
    if source.facts.one_head and "dist_token" in state and "head.weight" in state and "head_dist.weight" not in state:
        for part in ("weight", "bias"):
            head, origins = state[f"head.{part}"], translation.origins[f"head.{part}"]
            state[f"head.{part}"], state[f"head_dist.{part}"] = 2 * head, head.new_zeros(head.shape)
            translation.origins[f"head_dist.{part}"] = origins


def fresh_reason(model: nn.Module, translation: Translation, classifier: tuple[str, ...]) -> str:
    """Why the classifier begins anew; "" when it does not."""
    wanted, held = getattr(model, "num_classes", None), _classes(translation, classifier)
    if wanted is None or not classifier or wanted == held:
        return ""
    if wanted == 0:
        return "num_classes=0 has no classifier"
    return f"{wanted} classes were asked for, the source has {'no classifier' if held is None else held}"


def for_timm(model: nn.Module, translation: Translation) -> Translation:
    """As timm's own loader has it, for a net of timm's: grids and patches resized, old names renewed."""
    convert = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return translation
    origins = translation.origins
    converted = convert(dict(translation.tensors), model)
    return replace(translation, tensors=converted, origins={name: origins.get(name, (name,)) for name in converted})


def source_traits(model: nn.Module, source: Source, translation: Translation, fresh: str) -> dict[str, Any]:
    """What the net must compute so that these weights are exact in it."""
    if not isinstance(model, PatchTransformer):
        return {}
    hidden = translation.tensors.get(f"{HIDDEN}fc.weight")
    traits: dict[str, Any] = {}
    if source.format is not OWN:
        stated = {name: getattr(source.format, name) for name in ("gelu", "norm_eps", "resize", "stem")}
        traits = {key: value for key, value in stated.items() if value is not None}
    traits |= {key: value for key, value in _stated(source).items() if key != "pre_logits"}
    if hidden is not None and not fresh:
        traits["pre_logits"] = hidden.shape[0]
    return traits


def _stated(source: Source) -> Mapping[str, Any]:
    """Traits that the source states, or that follow from the name of the net it was."""
    meta = source.facts.meta
    if meta is None or meta.traits or meta.name not in NETS:
        return source.facts.traits
    config = NETS[meta.name].config
    return {key: getattr(config, key) for key in ("gelu", "resize") if hasattr(config, key)}


def notes(source: Source, before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """What a report says beside the tensors."""
    said = [
        f"the net computes as the source does: {key} {after[key]} (was {before[key]})"
        for key in after
        if before[key] != after[key]
    ]
    if source.facts.one_head:
        said.append(
            "the source reads the class token alone: its classifier is here twice itself and nothing, of which the mean is it"
        )
    if source.nested:
        said.append(f'the tensors lay under "{source.nested}"')
    if source.others:
        said.append(f"not read, for they are no weights: {listed(source.others)}")
    return tuple(said)


def adopt(model: nn.Module, source: Source) -> None:
    """What the source states of pictures and labels, into timm's place for it."""
    cfg, eye, classes = getattr(model, "pretrained_cfg", None), source.facts.eye, source.facts.classes
    if not isinstance(cfg, dict):
        return
    stated: dict[str, Any] = {}
    if eye is not None:
        stated = {"mean": eye.mean, "std": eye.std, "crop_pct": eye.crop, "crop_mode": eye.crop_mode}
        size: Any = getattr(model, "img_size", None) or eye.image_size
        stated |= {"interpolation": eye.interpolation, "input_size": (len(eye.mean), *size)}
    if classes is not None and len(classes) == getattr(model, "num_classes", None):
        stated["label_names"] = classes
    model.pretrained_cfg = cfg | stated  # type: ignore[assignment]


def _classes(translation: Translation, classifier: tuple[str, ...]) -> int | None:
    for head in classifier:
        weight: Tensor | None = translation.tensors.get(f"{head}.weight")
        if weight is not None and weight.ndim > 0:
            return weight.shape[0]
    return None


def _names(classifier: Any) -> tuple[str, ...]:
    if classifier is None:
        return ()
    return (classifier,) if isinstance(classifier, str) else tuple(classifier)
