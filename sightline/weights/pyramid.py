"""Weights into a pyramid of features: `create_model(name, weights=..., features_only=True)`.

The whole net is loaded first, every tensor accounted for; its tensors then go to the pyramid that timm cuts from a net of the same
make. A pyramid names its tensors after the net's, some with another prefix or with "_" for ".", and has none of its own.
"""

from typing import Any

from timm.models._features import FeatureGetterNet
from torch import nn

from sightline.weights.traits import apply_traits, traits_of

OPTIONS = ("features_only", "out_indices")


def without_pyramid(options: dict[str, Any]) -> dict[str, Any]:
    """The options of the whole net, without a classifier, which a pyramid has no use for."""
    return {name: value for name, value in options.items() if name not in OPTIONS} | {"num_classes": 0}


def fill(features: nn.Module, model: nn.Module) -> nn.Module:
    """Give a pyramid the tensors of a whole net of the same make, and make it compute as that one does."""
    if isinstance(features, FeatureGetterNet):
        apply_traits(features.model, traits_of(model))
    held = {_flat(name): tensor for name, tensor in model.state_dict().items()}
    features.load_state_dict({name: held[_flat(name.removeprefix("model."))] for name in features.state_dict()})
    features.weights_report = model.weights_report  # type: ignore[assignment]
    return features


def _flat(name: str) -> str:
    return name.replace(".", "_")
