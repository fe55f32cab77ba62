"""The methods of `sightline.explain` as the page offers them, and their maps in the page's form."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from sightline.explain import METHODS, Explanation, Geometry, Method, explain, methods_for
from sightline.explain.methods.rollout import rolled_out, up_to
from sightline.explain.record import record
from sightline.web.layers import Layer
from sightline.web.limits import Refused
from sightline.web.maps import MEAN, Look, look, measured, sampled, seen
from sightline.web.nets import Net

ATTENTION = "attention"
MOST_ROLLED = 1024  # positions that are followed through all layers at once
MOST_ASKED = 36  # positions of a method that is asked for one position at a time
QUICKER: dict[str, dict[str, Any]] = {"receptive_field": {"draws": 2}}


def described(nets: list[Net]) -> list[dict[str, Any]]:
    """The methods as JSON, each with the nets it does not apply to."""
    apply = {net.name: {method.name for method in methods_for(net.model)} for net in nets}
    return [
        {
            "name": method.name,
            "title": method.title,
            "about": method.about,
            "source": method.source,
            "unit": method.unit,
            "layered": layered(method),
            "heads": method.heads,
            "target": method.per_class,
            "by_position": method.per == "query",
            "not_for": [name for name, known in apply.items() if method.name not in known],
        }
        for method in METHODS.values()
    ]


def look_by(
    name: str, net: Net, image: Tensor, layer: int, target: int | None, head: str | None, most_cells: int
) -> Look:
    """The maps of a method.

    Args:
        name: of the method.
        net, image: what looks at what, (3, H, W) uint8.
        layer: number among `net.layers`; without meaning to methods that ask the whole net.
        target: class that is asked about; None: the predicted.
        head: name of a group; None: all, or where those are too many or dear, their mean.
        most_cells: see `look`.

    Raises:
        Refused: 404, there is no such method, layer, head or class; 422, the method does not apply.
    """
    if name not in METHODS:
        raise Refused(404, f"there is no method {name[:80]!r}; there are {', '.join(METHODS)}")
    method = METHODS[name]
    one = _layer(net, method, layer)
    if target is not None and not 0 <= target < len(net.meta.classes):
        raise Refused(404, f"{net.name} has {len(net.meta.classes)} classes; there is no class {target}")
    try:
        if name == ATTENTION and one is not None:
            found = look(net, image, one, most_cells)
        elif name == "rollout" and one is not None:
            found = _all_rollouts(net, image, one)
        else:
            found = _asked(method, net, image, one, target)
        return found if head is None else found.group(head)
    except KeyError as error:
        raise Refused(404, f"this layer has no head {str(head)[:20]!r}") from error
    except ValueError as error:
        raise Refused(422, str(error)) from error


def _layer(net: Net, method: Method, layer: int) -> Layer | None:
    if not net.layers:
        if method.needs_attention:
            raise Refused(422, f"{net.name} has no attention layer; {method.title} needs one")
        return None
    if not layered(method):
        return None
    if not 0 <= layer < len(net.layers):
        raise Refused(404, f"{net.name} has {len(net.layers)} things to look at; there is no layer {layer}")
    return net.layers[layer]


def layered(method: Method) -> bool:
    """Whether the page's layers, which are attention layers, mean something to a method: Grad-CAM has a better one of its own."""
    return method.layered and method.name != "grad_cam"


def _all_rollouts(net: Net, image: Tensor, layer: Layer) -> Look:
    """Rollout from every position of a layer, followed through the layers at once."""
    with net.lock, torch.no_grad():
        with record(net.model) as calls:
            net.model(seen(net, image))
        calls = up_to(calls, layer.name)
        if layer.passed is not None:
            calls = calls[: len(calls) - (layer.passes - 1 - layer.passed)]
        last, first = calls[-1].query_geometry, calls[0].geometry
        queries, chosen = sampled(last, MOST_ROLLED)
        mass = torch.eye(last.prefix + last.rows * last.cols)[chosen][None]
        mass = rolled_out(calls, mass, METHODS["rollout"].settings["residual"])
    return replace(measured(mass, None, queries, first, (MEAN,)), unit=METHODS["rollout"].unit)


def _asked(method: Method, net: Net, image: Tensor, layer: Layer | None, target: int | None) -> Look:
    """The answers of `explain`: one for all positions, or one for each of some."""
    given: dict[str, Any] = dict(QUICKER.get(method.name, {}))
    if layer is not None:
        given["layer"] = layer.name
    if target is not None and method.per_class:
        given["target"] = target
    images = seen(net, image)
    with net.lock:
        if method.per != "query":
            return _one(explain(net.model, images, method.name, **given))
        grid = layer.geometry if layer is not None else explain(net.model, images, method.name, **given).geometry
        queries, _ = sampled(grid, MOST_ASKED)
        places = [*queries.tokens, *_pixels(queries)]
        answers = [explain(net.model, images, method.name, at=place, **given) for place in places]
    weights = torch.stack([one.map.flatten() for one in answers])[None]  # 1, Q, K
    keys = replace(answers[0].geometry, tokens=())
    return replace(measured(weights, None, queries, keys, (MEAN,)), unit=answers[0].unit)


def _one(answer: Explanation) -> Look:
    """One map for all positions: its query is no place, so it has no distance."""
    nowhere = replace(answer.geometry, rows=0, cols=0, tokens=("class",))
    keys = replace(answer.geometry, tokens=())
    found = measured(answer.map.flatten()[None, None], None, nowhere, keys, (MEAN,))
    return replace(found, by_position=False, unit=answer.unit)


def _pixels(grid: Geometry) -> list[tuple[int, int]]:
    """The pixel in the middle of every cell of a grid."""
    boxes = [grid.box(row, col) for row in range(grid.rows) for col in range(grid.cols)]
    return [((top + bottom) // 2, (left + right) // 2) for top, left, bottom, right in boxes]
