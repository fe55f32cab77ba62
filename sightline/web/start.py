"""What the page has to know before anything else: nets, their layers, example pictures, colours, limits."""

from typing import Any

from sightline import __version__
from sightline.report.build import MARKERS
from sightline.report.colours import SIGNED, WEIGHTS
from sightline.web.house import House
from sightline.web.methods import described
from sightline.web.nets import Net
from sightline.web.pictures import TYPES, Picture
from sightline.web.session import Session

MOST_AT_ONCE = 8
FEWEST_AT_ONCE = 2


def start(house: House, session: Session) -> dict[str, Any]:
    """As JSON, for one visitor."""
    nets = list(house.nets.values())
    own = [(name, house.sessions.picture(session, name)) for name in house.sessions.pictures_of(session)]
    return {
        "version": __version__,
        "nets": [_net(net) for net in nets],
        "methods": described(nets),
        "pictures": [_picture(house, name, one.title, one.picture) for name, one in house.examples.items()]
        + [_picture(house, name, f"Your picture {i}", one) | {"own": True} for i, (name, one) in enumerate(own, 1)],
        "colours": {"weights": WEIGHTS, "signed": SIGNED},
        "nets_at_once": [FEWEST_AT_ONCE, MOST_AT_ONCE],
        "upload": {"bytes": house.limits.upload_bytes, "pixels": house.limits.upload_pixels, "types": list(TYPES)},
    }


def _picture(house: House, name: str, title: str, one: Picture) -> dict[str, Any]:
    return {"title": title} | told(house, name, one)


def told(house: House, name: str, one: Picture) -> dict[str, Any]:
    """What the page has to know of a picture: the sides of what it shows and of the picture as it came, and what nets see of it."""
    sides = {"height": one.height, "width": one.width, "sides": [one.rows, one.cols]}
    return {"name": name, **sides, "boxes": house.boxes(one)}


def _net(net: Net) -> dict[str, Any]:
    family = net.family
    return {
        "name": net.name,
        "label": net.label,
        "family": family.name,
        "light": family.light,
        "dark": family.dark,
        "marker": MARKERS[family.marker],
        "origin": net.origin,
        "trained": net.trained,
        "classes": list(net.meta.classes),
        "input": list(net.meta.image_size),
        "first": _first(net),
        "layers": [
            {"title": one.title, "op": one.op, "groups": one.groups, "tokens": one.tokens, "grid": list(one.grid)}
            for one in net.layers
        ],
    }


def _first(net: Net) -> int:
    """The layer that is shown first: one in the middle, of a recurrent layer all its passes."""
    whole = [number for number, one in enumerate(net.layers) if one.passes == 1 or one.passed is None]
    return whole[(len(whole) - 1) // 2] if whole else 0
