"""A bounded memory: values with owners and sizes; the least recently used go first, an owner's own before those of others."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any


class Shelf:
    """Keep values up to a number of bytes, in all and for each owner. Used from one thread.

    Args:
        total: bytes in all.
        each: bytes of one owner.
    """

    def __init__(self, total: int, each: int) -> None:
        self._total, self._each = total, each
        self._kept: OrderedDict[Hashable, tuple[str, int, Any]] = OrderedDict()
        self._bytes_of: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """Bytes kept."""
        return sum(self._bytes_of.values())

    def bytes_of(self, owner: str) -> int:
        """Bytes kept for one owner."""
        return self._bytes_of.get(owner, 0)

    def get(self, key: Hashable) -> Any:
        """The value, which counts as used now; None when it is not kept."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][2]

    def put(self, key: Hashable, owner: str, size: int, value: Any) -> None:
        """Keep a value, and let go of what does not fit beside it; one too large for its owner is not kept at all."""
        self.drop(key)
        if size > min(self._each, self._total):
            return
        self._kept[key] = (owner, size, value)
        self._bytes_of[owner] = self.bytes_of(owner) + size
        while self.bytes_of(owner) > self._each:
            self.drop(next(old for old, (whose, _, _) in self._kept.items() if whose == owner))
        while self.bytes > self._total:
            self.drop(next(iter(self._kept)))

    def forget(self, owner: str) -> None:
        """Let go of all that an owner has."""
        for key in [key for key, (whose, _, _) in self._kept.items() if whose == owner]:
            self.drop(key)

    def drop(self, key: Hashable) -> None:
        """Let go of one value, if it is there."""
        if key not in self._kept:
            return
        owner, size, _ = self._kept.pop(key)
        left = self._bytes_of[owner] - size
        if left:
            self._bytes_of[owner] = left
        else:
            del self._bytes_of[owner]
