"""Precision-recall curves, and the score to cut detections off at."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.evaluation.average_precision import (
    Ranking,
    area_under_curve,
    rank,
)
from sagemaker_object_detection.evaluation.results import Results


@dataclass(frozen=True)
class Curve:
    """One class as its detections are taken in one after another, the best score first.

    Attributes:
        recall: (n,), share of the boxes found so far; NaN where there are none to find.
        precision: (n,), share of the detections so far that are right, not made monotone.
        scores: (n,), of the detections.
        average_precision: as `score` has it; NaN for a class without a box.
        positives: boxes that are there to be found.
    """

    recall: NDArray[Any]
    precision: NDArray[Any]
    scores: NDArray[Any]
    average_precision: float
    positives: int


@dataclass(frozen=True)
class BestThreshold:
    """Detections with a score of at least `score` have the best F1, with these parts, in 0..1."""

    score: float
    f1: float
    precision: float
    recall: float


def curves(results: Results, num_classes: int, overlap_threshold: float) -> tuple[Curve, ...]:
    """The curve of every class; arguments and errors as of `average_precision.score`.

    Detections that count neither way, of boxes marked difficult, are left out.
    """
    return tuple(_curve(one) for one in rank(results, num_classes, overlap_threshold))


def best_threshold(curve: Curve) -> BestThreshold | None:
    """Where F1 is best; of several such scores the highest.

    None for a class without boxes, or of which nothing is found.
    """
    if not curve.positives:
        return None
    scores = curve.scores
    # Detections of one score stand or fall together.
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)[: len(scores)])
    precision, recall = curve.precision[ends], curve.recall[ends]
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    if not f1.any():
        return None
    best = int(f1.argmax())
    return BestThreshold(
        float(scores[ends[best]]), float(f1[best]), float(precision[best]), float(recall[best])
    )


def _curve(ranking: Ranking) -> Curve:
    true = np.cumsum(ranking.right)
    return Curve(
        recall=true / (ranking.positives or math.nan),
        precision=true / np.arange(1, len(true) + 1),
        scores=ranking.scores,
        average_precision=area_under_curve(ranking.right, ranking.positives),
        positives=ranking.positives,
    )
