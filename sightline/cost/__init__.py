"""What a model costs: counted in closed form, measured on this machine."""

from sightline.cost.count import ModelCost, OpCall, count
from sightline.cost.measure import peak_memory, throughput

__all__ = ["ModelCost", "OpCall", "count", "peak_memory", "throughput"]
