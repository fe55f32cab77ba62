"""Who has which pictures and maps: sessions in memory, bounded, forgotten when unused. Nothing is ever written to a disk."""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from sightline.web.limits import Limits, Refused
from sightline.web.pictures import Picture
from sightline.web.shelf import Shelf

HOUSE = ""  # the owner of the example pictures and their maps, which all sessions share


@dataclass
class Session:
    """One visitor: a name nobody guesses, its pictures (oldest first), when it was last heard of."""

    name: str
    used: float
    pictures: list[str] = field(default_factory=list)


class Sessions:
    """All visitors. Used from one event loop.

    Args:
        limits: how many, how long, how much.
        clock: seconds that only grow.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._known: OrderedDict[str, Session] = OrderedDict()
        self._pictures = Shelf(limits.picture_bytes, limits.picture_bytes)
        self._maps = Shelf(limits.map_bytes // 2, limits.map_bytes_each)
        self._shared = Shelf(limits.map_bytes // 2, limits.map_bytes // 2)

    def __len__(self) -> int:
        return len(self._known)

    @property
    def bytes(self) -> int:
        """Bytes of all pictures and maps that are kept."""
        return self._pictures.bytes + self._maps.bytes + self._shared.bytes

    def begin(self) -> Session:
        """A new session; the one unused for longest goes when there are too many."""
        self.sweep()
        while len(self._known) >= self._limits.sessions:
            self.end(next(iter(self._known)))
        session = Session(secrets.token_urlsafe(24), self._clock())
        self._known[session.name] = session
        return session

    def find(self, name: str) -> Session | None:
        """The session of that name, which counts as used now."""
        session = self._known.get(name)
        if session is None or self._clock() - session.used > self._limits.idle_seconds:
            self.end(name)
            return None
        session.used = self._clock()
        self._known.move_to_end(name)
        return session

    def end(self, name: str) -> None:
        """Forget a session and all it has."""
        if self._known.pop(name, None) is not None:
            self._pictures.forget(name)
            self._maps.forget(name)

    def sweep(self) -> None:
        """Forget the sessions that were not used for long."""
        latest = self._clock() - self._limits.idle_seconds
        for name in [name for name, session in self._known.items() if session.used < latest]:
            self.end(name)

    def kept(self, owner: str, key: Hashable) -> Any:
        """What is kept of a session's maps, or of the house's, under a key; None when nothing is."""
        return self._shelf(owner).get(key)

    def keep(self, owner: str, key: Hashable, size: int, value: Any) -> None:
        """Keep a map for a session or the house; a session that ended meanwhile gets nothing more."""
        if owner == HOUSE or owner in self._known:
            self._shelf(owner).put(key, owner, size, value)

    def _shelf(self, owner: str) -> Shelf:
        return self._shared if owner == HOUSE else self._maps

    def add(self, session: Session, picture: Picture) -> str:
        """Keep a picture for a session and return its name; the session's oldest goes when it has too many.

        Raises:
            Refused: 401, the session ended meanwhile.
        """
        if session.name not in self._known:
            raise Refused(401, "your session has ended meanwhile; load the page again")
        name = secrets.token_urlsafe(12)
        session.pictures.append(name)
        self._pictures.put(name, session.name, picture.bytes, picture)
        while len(session.pictures) > self._limits.pictures_each:
            self._pictures.drop(session.pictures.pop(0))
        return name

    def pictures_of(self, session: Session) -> list[str]:
        """Names of a session's pictures that are still kept, oldest first."""
        return [name for name in session.pictures if self._pictures.get(name) is not None]

    def picture(self, session: Session, name: str) -> Picture:
        """A picture of this session.

        Raises:
            Refused: 404, there is none of that name, or it has been forgotten.
        """
        found = self._pictures.get(name) if name in session.pictures else None
        if found is None:
            raise Refused(404, "this picture is not known here (any more); choose or drop it again")
        return found
