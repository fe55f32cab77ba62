"""The fair comparison: every net under one recipe, one data order, one budget; test images touched once; one report."""

from sightline.compare.plan import TWIN, Plan, PlannedRun, make_plan, state
from sightline.compare.run import Progress, compare
from sightline.compare.summary import write_summary

__all__ = ["TWIN", "Plan", "PlannedRun", "Progress", "compare", "make_plan", "state", "write_summary"]
