"""See what a model looks at: attention maps under any kernel, and the maps of a run folder."""

from sightline.explain.capture import AttentionMap, Capture, capture, taps

__all__ = ["AttentionMap", "Capture", "capture", "taps"]
