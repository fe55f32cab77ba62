"""What a model costs: counted in closed form, measured on this machine."""

from sightline.cost.count import ModelCost, OpCall, count
from sightline.cost.entries import Entry, count_entry, known_counts
from sightline.cost.measure import peak_memory, throughput

__all__ = ["Entry", "ModelCost", "OpCall", "count", "count_entry", "known_counts", "peak_memory", "throughput"]
