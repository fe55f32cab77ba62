"""Training: `train` runs a recipe into a run folder. One loop on Accelerate, for the CPU and GPUs, one process or several."""

from sightline.train.finetune import Loaded, load_pretrained
from sightline.train.interrupt import TrainingInterrupted
from sightline.train.loop import train
from sightline.train.nonfinite import NonFiniteLossError
from sightline.train.objectives import Objective
from sightline.train.pretrain import pretrain
from sightline.train.progress import TrainingProgress

__all__ = [
    "Loaded",
    "NonFiniteLossError",
    "Objective",
    "TrainingInterrupted",
    "TrainingProgress",
    "load_pretrained",
    "pretrain",
    "train",
]
