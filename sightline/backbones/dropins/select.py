"""Choose modules of a net by name, glob, regular expression or a callable."""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn

Selector = str | re.Pattern[str] | Iterable[str | re.Pattern[str]] | Callable[[str, nn.Module], bool]


def select(what: str, known: Mapping[str, nn.Module], selector: Selector, inside: bool) -> list[str]:
    """Names among `known` that the selector means, in the order of `known`.

    A string is read as the name of a module (with `inside` also as that of one around it), else as a glob, else as a regular
    expression of the whole name: the first reading that finds anything counts. A compiled pattern is searched for in the name.

    Args:
        what: the argument that holds the selector, for errors.
        known: modules by name.
        selector: a string, a compiled pattern, several of them, or a callable (name, module) -> bool.
        inside: a name stands for everything inside the module of that name, and a glob's * crosses dots; without it a name is
            that module alone, and * stays within one level.

    Raises:
        ValueError: one of them finds nothing.
        TypeError: the selector is something else.
    """
    if callable(selector) and not isinstance(selector, (str, re.Pattern)):
        found = {name for name, module in known.items() if selector(name, module)}
        if not found:
            raise ValueError(f"{what}: the callable is true of none of {_some(known)}")
    else:
        found = set()
        for pattern in [selector] if isinstance(selector, (str, re.Pattern)) else _listed(what, selector):
            found |= set(_one(what, known, pattern, inside))
    return [name for name in known if name in found]


def _listed(what: str, selector: Iterable[str | re.Pattern[str]]) -> list[str | re.Pattern[str]]:
    patterns = list(selector) if isinstance(selector, Iterable) else [selector]
    if not all(isinstance(one, (str, re.Pattern)) for one in patterns):
        raise TypeError(
            f"{what} must be names, globs or patterns, or a callable (name, module) -> bool; got {selector!r}"
        )
    if not patterns:
        raise ValueError(f"{what} is empty: it names no module")
    return patterns


def _one(what: str, known: Mapping[str, nn.Module], pattern: str | re.Pattern[str], inside: bool) -> list[str]:
    for reading in _readings(pattern, inside):
        found = [name for name in known if reading(name)]
        if found:
            return found
    shown = pattern.pattern if isinstance(pattern, re.Pattern) else pattern
    close = get_close_matches(shown, known, n=3, cutoff=0.6)
    raise ValueError(f"{what}: nothing matches {shown!r}; there are {', '.join(close) if close else _some(known)}")


def _readings(pattern: str | re.Pattern[str], inside: bool) -> list[Callable[[str], object]]:
    if isinstance(pattern, re.Pattern):
        return [pattern.search]
    readings: list[Callable[[str], object]] = [
        lambda name: _named(name, pattern, inside),
        lambda name: _globbed(name, pattern, inside),
    ]
    with suppress(re.error):  # a glob need not be a regular expression
        readings.append(re.compile(pattern).fullmatch)
    return readings


def _named(name: str, pattern: str, inside: bool) -> bool:
    return name == pattern or (inside and name.startswith(f"{pattern}."))


def _globbed(name: str, pattern: str, inside: bool) -> bool:
    if inside:
        return fnmatchcase(name, pattern)
    levels, wanted = name.split("."), pattern.split(".")
    return len(levels) == len(wanted) and all(map(fnmatchcase, levels, wanted))


def _some(known: Mapping[str, nn.Module]) -> str:
    names = [name for name in known if name]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
