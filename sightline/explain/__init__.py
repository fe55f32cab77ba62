"""See what a model looks at: attention maps under any kernel, and the maps of a run folder."""

from sightline.explain.capture import AttentionMap, Capture, capture, taps
from sightline.explain.maps import LayerMaps, layer_maps

__all__ = ["AttentionMap", "Capture", "LayerMaps", "capture", "layer_maps", "taps"]
