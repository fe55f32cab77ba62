"""Confusion matrices: a small picture a net, the counts behind it for the pointer and the keys, and the worst pairs in words.

Legend: C classes; rows are truth, columns are answers. Several seeds of a net are added up.
"""

from dataclasses import dataclass

import numpy as np

from sightline.report.examples import class_name
from sightline.report.load import Comparison
from sightline.report.pictures import png
from sightline.runs import METRICS, RunFolderError

MOST_CLASSES = 100  # a larger matrix is neither legible nor small; its worst pairs still are
PAIRS = 4
FAINTEST = 0.3  # opacity that the rarest error approaches, so that it still shows
RIGHT, WRONG = (61, 99, 160), (205, 84, 40)


@dataclass(frozen=True)
class Confusion:
    """One net: its picture (None beyond MOST_CLASSES) and counts (C, C), and its worst pairs (truth, answer, count, of)."""

    model: str
    picture: str | None
    counts: list[list[int]] | None
    pairs: list[tuple[str, str, int, int]]
    seeds: int


def confusions(comparison: Comparison) -> list[Confusion]:
    """A matrix for every net whose runs have one."""
    found = []
    for model in comparison.models:
        runs = [run for run in comparison.of(model) if run.metrics and run.metrics["test"].get("confusion")]
        if runs:
            matrices = [_matrix(run.metrics["test"]["confusion"], run.folder / METRICS) for run in runs if run.metrics]
            found.append(_confusion(model, np.sum(matrices, axis=0), comparison.classes, len(runs)))
    return found


def _matrix(rows: object, path: object) -> np.ndarray:
    try:
        matrix = np.array(rows, dtype=np.int64)
    except (TypeError, ValueError):
        matrix = np.zeros(0, dtype=np.int64)
    if matrix.ndim != 2 or len(set(matrix.shape)) != 1:
        raise RunFolderError(f'{path} is damaged: "confusion" must be a square of whole numbers')
    return matrix


def _confusion(model: str, counts: np.ndarray, classes: list[str], seeds: int) -> Confusion:
    errors = counts - np.diag(np.diag(counts))
    order = np.argsort(-errors, axis=None, kind="stable")[:PAIRS]
    pairs = []
    for place in order:
        truth, answer = divmod(int(place), len(counts))
        if errors[truth, answer]:
            names = class_name(classes, truth), class_name(classes, answer)
            pairs.append((*names, int(errors[truth, answer]), int(counts[truth].sum())))
    small = len(counts) <= MOST_CLASSES
    return Confusion(model, png(_paint(counts)) if small else None, counts.tolist() if small else None, pairs, seeds)


def _paint(counts: np.ndarray) -> np.ndarray:
    """Pixels (C, C, 4): hits in one colour, errors in another; opacity grows from FAINTEST with the root of the row's share."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    pixels = np.zeros((*counts.shape, 4), dtype=np.uint8)
    pixels[..., :3] = np.where(np.eye(len(counts), dtype=bool)[..., None], RIGHT, WRONG)
    strength = np.where(counts > 0, FAINTEST + (1 - FAINTEST) * np.sqrt(share), 0)
    pixels[..., 3] = np.round(255 * strength)
    return pixels
