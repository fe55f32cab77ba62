"""Benchmarks: the operators, layers and nets against what they replace, correctness first."""

from sightline.bench.sections import SECTIONS, Progress, case_names, run
from sightline.bench.settings import Settings

__all__ = ["SECTIONS", "Progress", "Settings", "case_names", "run"]
