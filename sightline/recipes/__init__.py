"""Recipes: one frozen dataclass a run. `get` finds one by name, `override` changes fields from "key=value" texts.

recipe              for
mini                your own images of 8 to 64 pixels; the default
digits              the demonstration on scikit-learn's digits
cifar10             a first result on CIFAR-10
cifar10_full        a result to keep on CIFAR-10, 300 epochs on a GPU
cifar10_warm        the same for a net that starts from the trained twin
deit, deit_distilled, deit_soft, deit_384, deit_384_distilled       DeiT's, for images of 224 and 384 pixels
vit_imagenet, vit_pretrain, vit_masked, vit_finetune                ViT's
resnet, nonlocal, sasa, lrnet, aa, aa_cifar, san                    the others'
kd_NAME             the same budget, distilled from a teacher
NAME_smoke          the same path through the code in seconds
"""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any, get_type_hints

from sightline.recipes.cifar10 import CIFAR10, CIFAR10_FULL, CIFAR10_WARM
from sightline.recipes.digits import DIGITS
from sightline.recipes.mini import MINI
from sightline.recipes.papers_residual import RESIDUAL
from sightline.recipes.papers_transformers import TRANSFORMERS
from sightline.recipes.recipe import Recipe
from sightline.recipes.rules import parse
from sightline.recipes.variants import distilled, smoke

__all__ = ["RECIPES", "Recipe", "distilled", "get", "override", "restore", "smoke"]

_FULL = [
    variant for recipe in (MINI, DIGITS, CIFAR10, CIFAR10_WARM, CIFAR10_FULL) for variant in (recipe, distilled(recipe))
]
_ALL = [*_FULL, *TRANSFORMERS, *RESIDUAL]
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in [*_ALL, *map(smoke, _ALL)]}


def get(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    if name not in RECIPES:
        raise ValueError(f"no recipe is named {name!r}{_closest(name, RECIPES)}; there are: {', '.join(RECIPES)}")
    return RECIPES[name]


def override(recipe: Recipe, assignments: Iterable[str]) -> Recipe:
    """The recipe with fields changed, each from a text "key=value" read by the field's annotation.

    >>> override(get("mini"), ["lr=5e-4", "betas=0.9,0.95", "clip_grad=none"]).betas
    (0.9, 0.95)

    Raises:
        ValueError: a text without "=", an unknown key (the message names the known ones and the closest), or a value that is
            not of the field's type or outside its range.
    """
    annotations = get_type_hints(Recipe)
    known = [field.name for field in fields(Recipe) if field.name not in ("name", "card")]
    changes = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals:
            raise ValueError(f"a change to a recipe is written key=value; got {assignment!r}")
        if key not in known:
            raise ValueError(f"a recipe has no field {key!r}{_closest(key, known)}; it has: {', '.join(known)}")
        changes[key] = parse(key, text, annotations[key])
    return replace(recipe, **changes)


def restore(recorded: Mapping[str, Any]) -> Recipe:
    """The recipe that a run folder recorded; fields that came later take their defaults.

    Raises:
        ValueError: it has a field that this version does not know.
    """
    known = {field.name for field in fields(Recipe)}
    unknown = sorted(recorded.keys() - known)
    if unknown:
        raise ValueError(f"the recorded recipe has unknown fields {', '.join(unknown)}; update sightline to read it")
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in recorded.items()
    }
    return Recipe(**values)


def _closest(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
