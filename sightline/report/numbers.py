"""Numbers as a reader meets them: percent, points, p-values, counts in one unit a column; and Wilson's interval."""

import math
from collections.abc import Iterable
from statistics import NormalDist

NONE = "–"
MINUS = "−"


def percent(share: float | None, digits: int = 1) -> str:
    """0.9861 -> "98.6%"."""
    return NONE if share is None else f"{100 * share:.{digits}f}%"


def points(difference: float | None) -> str:
    """A difference of shares in percentage points, with its sign: -0.0083 -> "−0.8"."""
    if difference is None:
        return NONE
    text = f"{abs(100 * difference):.1f}"
    if text == "0.0":
        return "0.0"
    return ("+" if difference > 0 else MINUS) + text


def p_value(p: float | None) -> str:
    """Two digits that matter; below 0.001 only that."""
    if p is None:
        return NONE
    if p < 0.001:
        return "< 0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def significant(value: float, digits: int = 3) -> str:
    """At least `digits` digits that matter, no exponent, thousands parted: 0.01234 -> "0.0123", 98765.4 -> "98,765"."""
    if value == 0:
        return "0"
    after = max(0, digits - 1 - _exponent(abs(value)))
    return f"{value:,.{after}f}"


def unit(values: Iterable[float | None], steps: Iterable[tuple[float, str]]) -> tuple[float, str]:
    """The largest step (factor, name) that keeps the largest value at 1 or more; the last step otherwise."""
    largest = max((value for value in values if value is not None), default=0.0)
    chosen = (1.0, "")
    for chosen in steps:
        if largest >= chosen[0]:
            break
    return chosen


THOUSANDS = ((1e9, "billion"), (1e6, "million"), (1e3, "thousand"), (1.0, ""))
BYTES = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"))


def column(values: list[float | None], steps: Iterable[tuple[float, str]] = ((1.0, ""),)) -> tuple[str, list[str]]:
    """The unit of a column and its cells, all in that unit and with the same number of decimals, so that they align."""
    factor, name = unit(values, steps)
    known = [abs(value) / factor for value in values if value]
    digits = max(2 - _exponent(max(known)), -_exponent(min(known)), 0) if known else 0
    return name, [NONE if value is None else f"{value / factor:,.{min(digits, 3)}f}" for value in values]


def _exponent(value: float) -> int:
    return math.floor(math.log10(value))


def wilson(right: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share (1927): stays inside 0..1 and holds for small sets and shares near 0 and 1.

    Raises:
        ValueError: total is not positive, or right is not within 0..total.
    """
    if not 0 <= right <= total or total < 1:
        raise ValueError(f"need 0 <= right <= total and total >= 1; got right={right}, total={total}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = right / total, z * z / total
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / total + weight / (4 * total))
    return max(0.0, centre - half), min(1.0, centre + half)


WORDS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")


def opening(count: int) -> str:
    """A count that opens a sentence: in words up to ten."""
    return WORDS[count] if count < len(WORDS) else f"{count:,}"


def enumeration(words: list[str]) -> str:
    """["a", "b", "c"] -> "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
