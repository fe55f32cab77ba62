"""The end of a run: keep the weights, evaluate validation and test images once, write the figures."""

import io
from typing import Any

import numpy as np
import torch

from sightline.data import Splits
from sightline.evaluate import ModelMeta, Result, evaluate, save_weights
from sightline.runs import METRICS, PREDICTIONS, WEIGHTS, RunFolder, atomic_write
from sightline.train.memory import peak_memory
from sightline.train.session import Session


def finish(run: RunFolder, session: Session, splits: Splits, meta: ModelMeta) -> dict[str, Any]:
    """Evaluate the final weights; on the main process write weights, predictions and, last of all, metrics.json.

    This is the only place in which a run touches its test images.
    """
    model, batch = session.weights, max(session.recipe.batch_size, 256)
    val = evaluate(model, splits.val, meta.mean, meta.std, batch)
    test = evaluate(model, splits.test, meta.mean, meta.std, batch)
    metrics = _metrics(session, val, test)
    if session.accelerator.is_main_process:
        save_weights(run.file(WEIGHTS), model, meta)
        atomic_write(run.file(PREDICTIONS), _predictions(test))
        run.write(METRICS, metrics)
    return metrics


def _metrics(session: Session, val: Result, test: Result) -> dict[str, Any]:
    sums = session.sums
    return {
        "finished": True,
        "epochs": session.epoch,
        "test": test.summary(),
        "val": val.summary(),
        "train_seconds": sums.total_seconds,
        "train_images_per_second": sums.total_images / max(sums.total_step_seconds, 1e-9),
        "inference_images_per_second": test.images_per_second,
        "peak_memory_bytes": peak_memory(session.accelerator.device),
    }


def _predictions(result: Result) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        label=result.labels.numpy(),
        predicted=result.predictions.numpy(),
        probability=result.probabilities.to(torch.float16).numpy(),
        index=np.arange(len(result), dtype=np.int64),
    )
    return buffer.getvalue()
