"""What the routes work with: nets, example pictures, sessions, the pool of threads; and the questions that can be asked of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sightline.data import seen_box
from sightline.explain import METHODS
from sightline.web.examples import Example
from sightline.web.limits import Limits, Refused
from sightline.web.maps import Look, predict
from sightline.web.methods import layered, look_by
from sightline.web.nets import Net
from sightline.web.pack import archive, pack, written_out
from sightline.web.pictures import Picture, read_picture
from sightline.web.pool import Pool
from sightline.web.session import HOUSE, Session, Sessions

MOST_CLASSES = 10  # named in an answer


@dataclass(frozen=True)
class Asked:
    """Maps that are asked for: of a net, by a method, in a layer, about a class, of a head, from a query (None: from all)."""

    net: str
    method: str = "attention"
    layer: int = 0
    target: int | None = None
    head: str | None = None
    query: int | None = None


class House:
    """All that one server has. Used from its event loop.

    Args:
        nets: by name.
        examples: by name.
        limits: of everything.
    """

    def __init__(self, nets: Mapping[str, Net], examples: Mapping[str, Example], limits: Limits) -> None:
        self.nets, self.examples, self.limits = dict(nets), dict(examples), limits
        self.sessions = Sessions(limits)
        self.pool = Pool(limits)
        self._eyes = tuple({net.eye: None for net in self.nets.values()})

    async def take(self, session: Session, data: bytes) -> tuple[str, Picture]:
        """Read an upload and keep it for its session; its name and what came of it. Raises Refused."""
        picture = await self.pool.run(object(), session.name, lambda: read_picture(data, self._eyes, self.limits))
        return self.sessions.add(session, picture), picture

    def picture(self, session: Session, name: str) -> tuple[str, Picture]:
        """A picture by its name, and whose it is. Raises Refused (404)."""
        if name in self.examples:
            return HOUSE, self.examples[name].picture
        return session.name, self.sessions.picture(session, name)

    def boxes(self, picture: Picture) -> dict[str, list[float]]:
        """What each net sees of a picture: top, left, bottom, right, in shares of its sides."""
        sides = (picture.rows, picture.cols) * 2
        return {
            net.name: [edge / side for edge, side in zip(seen_box(sides[:2], *_eye(net)), sides, strict=True)]
            for net in self.nets.values()
        }

    async def predictions(self, session: Session, picture: str, net: Net) -> list[dict[str, Any]]:
        """The most probable classes."""
        ranked = await self._kept(
            session, picture, net, ("predictions",), lambda image: predict(net, image)[:MOST_CLASSES]
        )
        return [{"class": name, "probability": value} for name, value in ranked]

    async def maps(self, session: Session, picture: str, asked: Asked) -> bytes:
        """All maps of a layer, packed; of one head where one is named. Raises Refused (404, 422)."""
        net, most = self.net(asked.net), self.limits.answer_bytes
        return await self._kept(
            session, picture, net, ("maps", asked), lambda image: pack(self._look(net, image, asked), most)
        )

    async def data(self, session: Session, picture: str, wanted: list[Asked]) -> bytes:
        """The maps of every position, as one .npz file. Raises Refused."""
        return await self._together(session, picture, wanted, archive)

    async def numbers(self, session: Session, picture: str, wanted: list[Asked]) -> bytes:
        """The maps of one position, as JSON. Raises Refused."""
        return await self._together(session, picture, wanted, written_out)

    def net(self, name: str) -> Net:
        """A net by its name. Raises Refused (404)."""
        if name not in self.nets:
            raise Refused(404, f"there is no net {name[:80]!r} here; there are {', '.join(self.nets)}")
        return self.nets[name]

    async def _together(
        self,
        session: Session,
        name: str,
        wanted: list[Asked],
        write: Callable[[list[tuple[dict[str, Any], Look]]], bytes],
    ) -> bytes:
        nets = [self.net(asked.net) for asked in wanted]
        _, picture = self.picture(session, name)

        def work() -> bytes:
            looks, size = [], 0
            for net, asked in zip(nets, wanted, strict=True):
                found = self._look(net, picture.seen[net.eye], asked)
                looks.append((_about(net, asked, found), found))
                size += found.weights.nbytes
                if size > self.limits.download_bytes:
                    raise Refused(
                        413, f"these maps are more than {self.limits.download_bytes} bytes; choose fewer nets"
                    )
            return write(looks)

        return await self.pool.run(object(), session.name, work)

    def _look(self, net: Net, image: Tensor, asked: Asked) -> Look:
        return look_by(asked.method, net, image, asked.layer, asked.target, asked.head, self.limits.answer_bytes)

    async def _kept(
        self, session: Session, name: str, net: Net, what: tuple[Any, ...], work: Callable[[Tensor], Any]
    ) -> Any:
        owner, picture = self.picture(session, name)
        key = (owner, name, net.name, *what)
        found = self.sessions.kept(owner, key)
        if found is None:
            image = picture.seen[net.eye]
            found = await self.pool.run(key, session.name, lambda: work(image))
            self.sessions.keep(owner, key, len(found) if isinstance(found, bytes) else 100 * len(found), found)
        return found


def _eye(net: Net) -> tuple[Any, Any]:
    return net.eye.size, net.eye.view


def _about(net: Net, asked: Asked, found: Look) -> dict[str, Any]:
    about = {
        "net": net.name,
        "model": net.meta.name,
        "weights": net.origin,
        "method": asked.method,
        "target": None if asked.target is None else net.meta.classes[asked.target],
        "input": list(net.meta.image_size),
        "query": asked.query,
    }
    if layered(METHODS[asked.method]) and asked.layer < len(net.layers):
        layer = net.layers[asked.layer]
        about |= {"layer": layer.title, "op": layer.op}
    return about
