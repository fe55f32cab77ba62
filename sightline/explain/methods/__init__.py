"""The methods by name: what each needs and gives. A page, a command and a table can be drawn from these lines alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sightline.explain.explanation import Answer, Ask
from sightline.explain.methods.attention import attention
from sightline.explain.methods.grad_cam import grad_cam
from sightline.explain.methods.gradient_rollout import gradient_rollout
from sightline.explain.methods.gradients import gradient_input, integrated_gradients
from sightline.explain.methods.occlusion import occlusion
from sightline.explain.methods.receptive_field import receptive_field
from sightline.explain.methods.rollout import rollout


@dataclass(frozen=True)
class Method:
    """One method.

    Args:
        name: as `explain` takes it.
        title: for people.
        about: one sentence, what the map shows.
        source: where it is from.
        run: computes it.
        unit: what the numbers are.
        per: "query": the map of one position, `at`; "image": one map a picture.
        needs_attention: the model must have attention layers that can be captured.
        layered: `layer` chooses a layer; otherwise the whole net is asked.
        heads: `head` chooses a head or channel group.
        per_class: `target` chooses the class that is explained.
        signed: values below zero mean something.
        settings: its own options with their defaults.
    """

    name: str
    title: str
    about: str
    source: str
    run: Callable[[Ask], Answer]
    unit: str
    per: str = "image"
    needs_attention: bool = False
    layered: bool = False
    heads: bool = False
    per_class: bool = False
    signed: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


_ATTENTION = Method(
    "attention",
    "Attention",
    "The weights with which one position reads all others, in one layer.",
    "each system's own paper",
    attention,
    per="query",
    needs_attention=True,
    layered=True,
    heads=True,
    unit="attention weight",
)
_ROLLOUT = Method(
    "rollout",
    "Attention rollout",
    "Where the information at one position came from, through all layers up to one.",
    "Abnar and Zuidema 2020, arXiv 2005.00928",
    rollout,
    per="query",
    needs_attention=True,
    layered=True,
    unit="share of the information",
    settings={"residual": 0.5},
)
_GRADIENT_ROLLOUT = Method(
    "gradient_rollout",
    "Gradient-weighted rollout",
    "Which positions carried the score of a class, through all attention layers.",
    "Chefer et al. 2021, arXiv 2103.15679",
    gradient_rollout,
    needs_attention=True,
    per_class=True,
    unit="relevance",
)
_GRAD_CAM = Method(
    "grad_cam",
    "Grad-CAM",
    "Which places of a layer's feature map speak for a class.",
    "Selvaraju et al. 2017, arXiv 1610.02391",
    grad_cam,
    layered=True,
    per_class=True,
    unit="evidence for the class",
)
_GRADIENT_INPUT = Method(
    "gradient_input",
    "Gradient x input",
    "Which pixels raise (+) or lower (-) the score of a class, to first order.",
    "Shrikumar et al. 2016, arXiv 1605.01713",
    gradient_input,
    per_class=True,
    signed=True,
    unit="logit",
)
_INTEGRATED_GRADIENTS = Method(
    "integrated_gradients",
    "Integrated gradients",
    "Which pixels raise (+) or lower (-) the score of a class, along the way from a blank picture.",
    "Sundararajan et al. 2017, arXiv 1703.01365",
    integrated_gradients,
    per_class=True,
    signed=True,
    unit="logit",
    settings={"steps": 32, "baseline": 0.0},
)
_OCCLUSION = Method(
    "occlusion",
    "Occlusion",
    "How far the probability of a class falls (+) or rises (-) when a patch is hidden.",
    "Zeiler and Fergus 2014, arXiv 1311.2901",
    occlusion,
    per_class=True,
    signed=True,
    unit="fall in probability",
    settings={"patch": None, "step": None, "baseline": 0.0},
)
_RECEPTIVE_FIELD = Method(
    "receptive_field",
    "Effective receptive field",
    "Which pixels one position of a layer depends on, on this picture.",
    "Luo et al. 2016, arXiv 1701.04128",
    receptive_field,
    per="query",
    layered=True,
    unit="share of the gradient",
    settings={"draws": 8},
)

METHODS: dict[str, Method] = {
    one.name: one
    for one in (
        _ATTENTION,
        _ROLLOUT,
        _GRADIENT_ROLLOUT,
        _GRAD_CAM,
        _GRADIENT_INPUT,
        _INTEGRATED_GRADIENTS,
        _OCCLUSION,
        _RECEPTIVE_FIELD,
    )
}
