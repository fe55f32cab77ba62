"""Silence Pillow's warnings, and nobody else's, from any thread.

`warnings.catch_warnings` saves and restores the whole list of filters, which goes wrong when two threads overlap. Here one
filter is put in when the first picture is being opened and taken out after the last; everything else stays untouched.
"""

import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_FROM_PILLOW = r"PIL\."
_FILTER = ("ignore", None, Warning, re.compile(_FROM_PILLOW), 0)
_lock = threading.Lock()
_inside = 0


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Within the context, warnings issued by Pillow's own modules are ignored. May be nested and used in threads."""
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside
    with _lock:
        _inside += 1
        if _FILTER not in warnings.filters:
            warnings.filterwarnings("ignore", module=_FROM_PILLOW)


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0:
            with suppress(ValueError):  # somebody else's catch_warnings has already restored the list
                warnings.filters.remove(_FILTER)  # type: ignore[attr-defined]
