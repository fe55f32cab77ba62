"""`explain`: one question to any net by any method. Every wrong question is answered with what would be right."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sightline.backbones.mode import as_the_net_wants, evaluating
from sightline.explain.attending import attention_layers
from sightline.explain.explanation import Ask, Explanation
from sightline.explain.methods import METHODS, Method

At = tuple[int, int] | str


def explain(
    model: nn.Module,
    images: Tensor,
    method: str = "attention",
    *,
    layer: str | None = None,
    head: int | None = None,
    at: At | None = None,
    target: int | Sequence[int] | Tensor | None = None,
    **settings: Any,
) -> Explanation:
    """Explain what a net makes of pictures.

    Args:
        model: any net of sightline's, a ViT or DeiT of timm's; methods that need no attention take any classifier of images.
            It is asked in evaluation mode and left, part by part, in the mode it was in.
        images: normalised as the net expects, (B, C, H, W), any size the net takes.
        method: a name in `METHODS`.
        layer: name (or a glob pattern that matches one) of the layer to look at; None: the method's choice, see `METHODS`.
        head: one head or channel group; None: their mean.
        at: the position that looks: a pixel (row, column), or "class", "distillation"; None: what the classifier reads.
        target: the class to explain, one for all pictures or one each; None: the class predicted for each.
        settings: the method's own options, listed in `METHODS[method].settings`; any other name is an error.

    Returns:
        The maps, on their own grid; `explanation.over_image()` brings them to the pictures' size.

    Raises:
        ValueError: an unknown method or option, a method that does not apply to this net or takes no such argument (the message
            names those that do), a pixel outside the picture, a class or head the net does not have.
    """
    chosen = method_of(method)
    _check_images(images)
    _check_fits(chosen, layer, head, at, target, settings)
    applies(model, chosen)
    images = as_the_net_wants(model, images)
    asked = _targets(target, len(images))
    with evaluating(model):
        answer = chosen.run(Ask(model, images, layer, head, at, asked, {**chosen.settings, **settings}))
    return Explanation(
        method,
        answer.maps.detach().float().cpu(),
        answer.geometry,
        chosen.signed if answer.signed is None else answer.signed,
        answer.unit or chosen.unit,
        answer.layer,
        head,
        at,
        answer.targets(),
        answer.tokens,
    )


def method_of(name: str) -> Method:
    """The method of that name. Raises ValueError, which names the known ones."""
    if name not in METHODS:
        raise ValueError(f"no method {name!r}; known: {', '.join(METHODS)}")
    return METHODS[name]


def applies(model: nn.Module, method: Method) -> None:
    """Raise ValueError, with the reason and the methods that do apply, when a method does not apply to a net."""
    if not method.needs_attention:
        return
    try:
        attention_layers(model)
    except ValueError as reason:
        others = ", ".join(one.name for one in METHODS.values() if not one.needs_attention)
        raise ValueError(f"method {method.name!r} does not apply: {reason}. Methods that do: {others}") from reason


def methods_for(model: nn.Module) -> list[Method]:
    """The methods that apply to a net."""
    try:
        attention_layers(model)
    except ValueError:
        return [one for one in METHODS.values() if not one.needs_attention]
    return list(METHODS.values())


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or len(images) == 0:
        raise ValueError(f"images must be (B, C, H, W) with at least one picture; got {tuple(images.shape)}")


def _check_fits(method: Method, layer: Any, head: Any, at: Any, target: Any, settings: dict[str, Any]) -> None:
    given = {"layer": layer is not None, "head": head is not None, "at": at is not None, "target": target is not None}
    takes = _takes(method)
    for name, is_given in given.items():
        if is_given and not takes[name]:
            others = ", ".join(one.name for one in METHODS.values() if _takes(one)[name])
            raise ValueError(f"method {method.name!r} takes no {name}; methods that do: {others}")
    for name in settings:
        if name not in method.settings:
            known = ", ".join(method.settings) or "none"
            raise ValueError(f"method {method.name!r} has no option {name!r}; its options: {known}")


def _takes(method: Method) -> dict[str, bool]:
    return {"layer": method.layered, "head": method.heads, "at": method.per == "query", "target": method.per_class}


def _targets(target: int | Sequence[int] | Tensor | None, pictures: int) -> Tensor | None:
    if target is None:
        return None
    wanted = torch.as_tensor(target, dtype=torch.int64).flatten()
    if len(wanted) not in (1, pictures):
        raise ValueError(f"target must be one class, or one for each of the {pictures} pictures; got {len(wanted)}")
    return wanted.expand(pictures).clone()
