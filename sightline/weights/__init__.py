"""Weights in and out of the nets: every known format both ways, every tensor accounted for, nothing in a file executed."""

from sightline.weights.errors import WeightsError
from sightline.weights.folder import from_pretrained, meta_of, push_to_hub, save_pretrained
from sightline.weights.load import create_model, load_weights
from sightline.weights.meta import ModelMeta, Preprocessing
from sightline.weights.report import Entry, Report
from sightline.weights.run import load_net, load_run, read_weights, save_weights, weights_file

__all__ = [
    "Entry",
    "ModelMeta",
    "Preprocessing",
    "Report",
    "WeightsError",
    "create_model",
    "from_pretrained",
    "load_net",
    "load_run",
    "load_weights",
    "meta_of",
    "push_to_hub",
    "read_weights",
    "save_pretrained",
    "save_weights",
    "weights_file",
]
