"""Weights into a net, exact or an error that names the tensors: `create_model(name, weights=...)`, `load_weights(model, ...)`."""

import logging
from typing import Any

import timm
from torch import nn

from sightline.backbones import create_model as build
from sightline.weights.adapt import (
    adopt,
    classifier_of,
    for_timm,
    fresh_reason,
    implied,
    notes,
    source_traits,
    two_heads,
)
from sightline.weights.check import check_kind, check_state
from sightline.weights.declared import check_declared
from sightline.weights.errors import WeightsError
from sightline.weights.fit import Terms, fit, load_fitted
from sightline.weights.formats import OWN
from sightline.weights.pyramid import fill, without_pyramid
from sightline.weights.report import Report
from sightline.weights.rules import Translation
from sightline.weights.source import Origin, Source, open_source
from sightline.weights.traits import apply_traits, hidden_layer, traits_of

_log = logging.getLogger("sightline.weights")


def create_model(name: str, weights: Origin | None = None, **options: Any) -> nn.Module:
    """Build a net by name: one of sightline's, or any that timm knows; with random weights, or those of a source.

    Args:
        name: see `list_models()`; timm's names work too.
        weights: a file (.safetensors, .npz, .pth, .pt, .bin), a folder (a run, `save_pretrained`, transformers, timm), "timm:NAME",
            "hf-hub:ORG/NAME", a module, a state dict, or the name of weights that come with sightline. Formats: timm, transformers,
            torchvision, Google's .npz, the DeiT and SAN authors' files, ResNet and SE-ResNet of timm and torchvision.
        options: of the net: num_classes, in_chans, img_size, drop_rate, drop_path_rate, features_only, ... With weights, classes
            and image channels not given are the source's; other num_classes than the source's begin a fresh classifier.

    Returns:
        The net. With weights, `model.weights_report` tells what became of every tensor, and `model.pretrained_cfg` has the
        pre-processing and labels that the source states.

    Raises:
        ValueError: nobody knows the name; the message offers the closest.
        WeightsError: the weights can not be found, read or recognised, or do not fit; the message names tensors and a remedy.
    """
    if weights is None:
        return _recorded(build(name, **options), options)
    if not timm.is_model(name):
        build(name)  # raises, before anything is read
    source = open_source(weights, name)
    if not options.get("features_only"):
        return create_from(source, name, **options)
    model = create_from(source, name, **without_pyramid(options))
    return fill(build_for(source, name, **options), model)


def load_weights(model: nn.Module, weights: Origin, strict: bool = True, fresh_classifier: bool = False) -> Report:
    """Load a source into a net, in place, and say what became of every tensor.

    Args:
        model: one of sightline's, or of timm's when names agree.
        weights: as for `create_model`.
        strict: a mismatch is an error; otherwise whatever fits is taken, the rest is reported.
        fresh_classifier: a classifier of another size than the source's keeps its start; otherwise that is a mismatch.

    Raises:
        WeightsError: as for `create_model`; also when nothing fits. The net is then as it was.
    """
    source = open_source(weights)
    return load_source(model, source, source.translated(), type(model).__name__, strict, fresh_classifier)


def create_from(source: Source, name: str, **options: Any) -> nn.Module:
    """`create_model` from a source that is open already."""
    translation = source.translated()
    found = implied(name, source, translation)
    meta = source.facts.meta
    if meta is not None and meta.name == name:
        check_declared(source, lambda: build_for(source, name, **options))
    model = build_for(source, name, **options)
    check_kind(model, source, name)
    headless = "num_classes" not in options and "num_classes" not in found and model.num_classes
    if headless and translation.tensors.keys() & model.state_dict().keys():
        raise WeightsError(
            f"{source.label} has no classifier; say num_classes=K for a fresh one of K classes, or num_classes=0 for features"
        )
    report = load_source(model, source, translation, name, fresh_classifier="num_classes" in options)
    for one in report.of("missing"):
        if one.note.startswith("begins anew"):
            _log.warning("%s %s", one.ours, one.note)
    return model


def build_for(source: Source, name: str, **options: Any) -> nn.Module:
    """The net with random weights, as the options and, for the rest, the source imply."""
    options = implied(name, source, source.translated()) | options
    return _recorded(build(name, **options), options)


def _recorded(model: nn.Module, options: dict[str, Any]) -> nn.Module:
    """Keep what a net was made with, where `describe` looks; newer versions of timm do so themselves."""
    if not hasattr(model, "_model_args"):
        model._model_args = options  # type: ignore[assignment]
    return model


def load_source(
    model: nn.Module,
    source: Source,
    translation: Translation,
    name: str,
    strict: bool = True,
    fresh_classifier: bool = False,
) -> Report:
    """Settle everything, then load: a net is never half loaded.

    Args:
        name: of the net, for messages.
        strict: see `load_weights`, likewise `fresh_classifier`.
    """
    check_kind(model, source, name)
    translation = for_timm(model, translation)
    classifier = classifier_of(model)
    two_heads(source, translation)
    fresh = fresh_reason(model, translation, classifier) if fresh_classifier else ""
    before, traits = traits_of(model), source_traits(model, source, translation, fresh)
    terms = Terms(
        classifier,
        fresh,
        str(traits.get("resize", before.get("resize", "bicubic"))),
        source.facts.image_size,
        source.format is OWN,
        source.unused,
    )
    with hidden_layer(model, traits.get("pre_logits", 0)):
        fitted = fit(model, translation, terms, source.tensors)
        check_state(model, fitted, source, translation, name, strict)  # a failure here takes the hidden layer off again
    load_fitted(model, fitted.tensors)
    apply_traits(model, traits)
    report = Report(source.label, source.format.name, tuple(fitted.entries), notes(source, before, traits_of(model)))
    model.weights_report = report  # type: ignore[assignment]
    adopt(model, source)
    return report
