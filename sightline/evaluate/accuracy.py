"""Evaluate a classifier on a set of images: accuracy, loss, confusion, calibration, and every probability.

Source: expected calibration error with 15 equal bins of confidence, Guo et al. 2017, arXiv 1706.04599, section 2.
Ours: logits are widened to float32 before the softmax; the loss is the plain cross-entropy, whatever the training used; the speed
is that of the model alone, the median over full batches, reading and normalising left out.
Legend: N images, B batch, K classes, H W rows and columns.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightline.backbones.mode import evaluating
from sightline.data import ImageSet, normalise
from sightline.ops.precision import dtype_of

BINS = 15


class NonFiniteLogitsError(RuntimeError):
    """A model answered an image with NaN or infinity."""


@dataclass(frozen=True)
class Result:
    """What a model made of a set of images. Tensors are on the CPU, in the order of the set.

    Args:
        accuracy: share 0..1 of images whose most probable class is right.
        top5: share whose class is among the five most probable (all of them when K <= 5).
        loss: mean cross-entropy, in nats.
        ece: expected calibration error, 0..1.
        confusion: (K, K) int64, row = truth, column = prediction.
        probabilities: (N, K) float32.
        predictions: (N,) int64.
        labels: (N,) int64.
        images_per_second: speed of the model alone on its device.
    """

    accuracy: float
    top5: float
    loss: float
    ece: float
    confusion: Tensor
    probabilities: Tensor
    predictions: Tensor
    labels: Tensor
    images_per_second: float

    def __len__(self) -> int:
        return len(self.labels)

    def summary(self) -> dict[str, object]:
        """The entry "test" or "val" of metrics.json."""
        return {
            "accuracy": self.accuracy,
            "top5": self.top5,
            "loss": self.loss,
            "ece": self.ece,
            "n": len(self),
            "confusion": self.confusion.tolist(),
        }


def evaluate(
    model: nn.Module, images: ImageSet, mean: Sequence[float], std: Sequence[float], batch_size: int = 256
) -> Result:
    """Evaluate `model` on `images`, on the device the model is on, in evaluation mode (its mode is restored after).

    Args:
        model: (B, 3, H, W) floats to logits (B, K).
        images: with labels 0..K-1.
        mean: subtracted from pixels in 0..1, per channel.
        std: divided by.
        batch_size: images at a time.

    Raises:
        NonFiniteLogitsError: NaN or infinity among the logits; the message names the first such image.
        ValueError: the set is empty, or a label is not among the model's classes.
    """
    if len(images) == 0:
        raise ValueError("there are no images to evaluate")
    logits, speed = _all_logits(model, images, mean, std, batch_size)
    labels, classes = images.labels.cpu(), logits.shape[1]
    if int(labels.max()) >= classes:
        raise ValueError(f"label {int(labels.max())} is not among the model's {classes} classes (0 to {classes - 1})")
    broken = (~logits.isfinite().all(dim=1)).nonzero().flatten()
    if len(broken):
        raise NonFiniteLogitsError(
            f"{len(broken)} of {len(labels)} images got logits that are not finite, first {images.names[int(broken[0])]}"
        )
    return score(logits, labels, speed)


def score(logits: Tensor, labels: Tensor, images_per_second: float = 0.0) -> Result:
    """The figures of `Result` from logits (N, K) and labels (N,)."""
    classes = logits.shape[1]
    probabilities, predictions = logits.softmax(dim=1), logits.argmax(dim=1)
    top = logits.topk(min(5, classes), dim=1).indices
    pairs = labels * classes + predictions
    return Result(
        accuracy=(predictions == labels).double().mean().item(),
        top5=(top == labels[:, None]).any(dim=1).double().mean().item(),
        loss=F.cross_entropy(logits.double(), labels).item(),
        ece=calibration_error(probabilities, labels),
        confusion=torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes),
        probabilities=probabilities,
        predictions=predictions,
        labels=labels,
        images_per_second=images_per_second,
    )


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Expected calibration error: the gap between confidence and accuracy, averaged over equal bins of confidence.

    Args:
        probabilities: (N, K), rows sum to 1.
        labels: (N,) int64.
        bins: of equal width over 0..1; a confidence on an edge belongs to the bin below it.
    """
    confidence, predictions = probabilities.double().max(dim=1)
    right = (predictions == labels).double()
    bin_of = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gaps = torch.zeros(bins, dtype=torch.float64).index_add_(0, bin_of, confidence - right)
    return gaps.abs().sum().item() / len(labels)


@torch.inference_mode()
def _all_logits(
    model: nn.Module, images: ImageSet, mean: Sequence[float], std: Sequence[float], batch_size: int
) -> tuple[Tensor, float]:
    """Logits (N, K) in float32 on the CPU, and images a second."""
    device, dtype = device_of(model), dtype_of(model)
    parts, rates = [], []
    with evaluating(model):
        for indices in torch.arange(len(images)).split(batch_size):
            batch = normalise(images.batch(indices).to(device, non_blocking=True), mean, std).to(dtype)
            started = time.perf_counter()
            parts.append(model(batch).float().cpu())  # the copy waits for the device, so the clock does too
            rates.append(len(indices) / (time.perf_counter() - started))
    return torch.cat(parts), median(rates[:-1] or rates)


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's first parameter or buffer; the CPU for a model that has neither."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")
