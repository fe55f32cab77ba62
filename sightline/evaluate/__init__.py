"""Evaluation: load a run, evaluate it on images, and say how sure its figures are."""

from sightline.evaluate.accuracy import NonFiniteLogitsError, Result, calibration_error, evaluate, score
from sightline.evaluate.calibration import Bin, reliability
from sightline.evaluate.robustness import Robustness, Settings, robustness
from sightline.evaluate.statistics import (
    Interval,
    Paired,
    accuracy_interval,
    mcnemar,
    paired_bootstrap,
    paired_t,
    paired_test,
    t_interval,
    wilson_interval,
)
from sightline.weights import ModelMeta, load_net, load_run, read_weights, save_weights, weights_file

__all__ = [
    "Bin",
    "Interval",
    "ModelMeta",
    "NonFiniteLogitsError",
    "Paired",
    "Result",
    "Robustness",
    "Settings",
    "accuracy_interval",
    "calibration_error",
    "evaluate",
    "load_net",
    "load_run",
    "mcnemar",
    "paired_bootstrap",
    "paired_t",
    "paired_test",
    "read_weights",
    "reliability",
    "robustness",
    "save_weights",
    "score",
    "t_interval",
    "weights_file",
    "wilson_interval",
]
