"""Axes of the page's figures: round ticks, linear and logarithmic scales from values to places in a drawing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Scale:
    """Maps low .. high to start .. end, places in the units of a drawing; logarithmic when `log`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value, rounded to tenths of a unit."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        share = (at - low) / (high - low) if high > low else 0.5
        return round(self.start + share * (self.end - self.start), 1)


def linear_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values (1, 2 or 5 times a power of ten apart) inside low .. high, at most `most` of them."""
    if not high > low:
        return [low]
    for step in _steps(10.0 ** math.floor(math.log10((high - low) / most))):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            return [round(i * step, 12) for i in range(first, last + 1)]
    return [low, high]


def _steps(power: float) -> list[float]:
    return [factor * power for factor in (1, 2, 5, 10, 20, 50)]


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values inside low .. high for a logarithmic axis: the densest set of digits that leaves at most `most` ticks."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 3, 4, 6, 8), (1, 2, 5), (1, 3), (1,)):
        ticks = [digit * 10.0**power for power in powers for digit in digits if low <= digit * 10.0**power <= high]
        if len(ticks) <= most:
            break
    return ticks


def padded(values: Sequence[float], share: float = 0.08) -> tuple[float, float]:
    """The range of the values with a margin on both sides; a single value gets a range around it."""
    low, high = min(values), max(values)
    margin = (high - low) * share or abs(high) * share or 1.0
    return low - margin, high + margin


def tick_text(value: float, ticks: Sequence[float]) -> str:
    """A tick with no more decimals than its axis needs."""
    step = min((b - a for a, b in pairwise(ticks)), default=abs(value) or 1.0)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{digits}f}"
