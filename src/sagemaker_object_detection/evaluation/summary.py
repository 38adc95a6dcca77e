"""All scores of a data set, computed once for the files and the page of a training job."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.boxes import iou
from sagemaker_object_detection.data.dataset import Labels
from sagemaker_object_detection.data.report import class_labels
from sagemaker_object_detection.evaluation.average_precision import (
    Ranking,
    area_under_curve,
    mean_over_classes,
    rank,
)
from sagemaker_object_detection.evaluation.coco import coco_suite
from sagemaker_object_detection.evaluation.interval import interval, sample_means
from sagemaker_object_detection.evaluation.results import Results

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Summary:
    """Scores of C classes.

    Attributes:
        overlap_threshold: IoU that a right detection exceeds.
        labels: what each class goes by, no two alike: its name, or its id.
        curves: precision over recall, by class.
        best: the score from which on detections have the best F1, by class; None where no
            detection is right.
        confusion: int64 (C + 1, C + 1), see evaluation.confusion, at `thresholds`.
        coco: COCO's twelve figures; None where there is nothing to measure.
        sampled_means: float64 (samples,), mAP of other samples of as many images.
    """

    overlap_threshold: float
    labels: tuple[str, ...]
    curves: tuple[Curve, ...]
    best: tuple[BestThreshold | None, ...]
    confusion: NDArray[Any]
    coco: Mapping[str, float | None]
    sampled_means: NDArray[Any]

    @property
    def interval(self) -> tuple[float, float]:
        """In which mAP would lie with 95 of 100 other samples of as many images."""
        return interval(self.sampled_means)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The score from which on a detection of each class is shown: that of the best F1."""
        return _thresholds(self.best)

    @property
    def mean(self) -> float:
        """Mean average precision over the classes that occur, 0..1; 0 when none does."""
        return mean_over_classes(curve.average_precision for curve in self.curves)


def summarise(
    results: Results,
    class_names: Sequence[str],
    overlap_threshold: float,
    coco: Mapping[str, float | None] | None = None,
) -> Summary:
    """Score results in every way.

    Args:
        class_names: one for each class id; a class without one, or with that of another, goes by
            its id.
        overlap_threshold: IoU that a right detection exceeds.
        coco: COCO's figures, where they come of more than the results tell.
    """
    count = len(class_names)
    found = curves(results, count, overlap_threshold)
    best = tuple(best_threshold(curve) for curve in found)
    return Summary(
        overlap_threshold=overlap_threshold,
        labels=tuple(class_labels(class_names, count)),
        curves=found,
        best=best,
        confusion=confusion(results, count, overlap_threshold, _thresholds(best)),
        coco=coco_suite(results, count) if coco is None else coco,
        sampled_means=sample_means(results, count, overlap_threshold),
    )


def _thresholds(best: Sequence[BestThreshold | None]) -> tuple[float, ...]:
    return tuple(DEFAULT_THRESHOLD if one is None else one.score for one in best)


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


def confusion(
    results: Results, num_classes: int, overlap_threshold: float, thresholds: Sequence[float]
) -> NDArray[np.int64]:
    """How often a box of one class was found as another.

    Here a detection may find a box of any class: of those of its image that no better-scored
    detection has found it takes the one it overlaps best. A box marked difficult is taken only
    where no other is left, by any number of detections, and counts nowhere.

    Args:
        overlap_threshold: IoU to exceed, in 0..1.
        thresholds: score that a detection of each class has to reach to count.

    Returns:
        (num_classes + 1, num_classes + 1): rows are the classes of boxes, columns those of
        detections; the last row is what was found where there is nothing, the last column what was
        missed.

    Raises ValueError when there is not one threshold for each class.
    """
    if len(thresholds) != num_classes:
        raise ValueError(f"expected {num_classes} thresholds, got {len(thresholds)}")
    table = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    reach = np.asarray(thresholds, dtype=np.float64)
    for image in range(len(results)):
        rows = results.found(image)
        rows = rows[rows[:, 1] >= reach[rows[:, 0].astype(np.int64)]]
        labels = results.labels(image)
        partners = _partners(rows, labels, overlap_threshold)
        own = np.append(labels.class_ids, num_classes)
        counted = ~np.append(labels.difficult, False)[partners]
        found = rows[:, 0].astype(np.int64)
        np.add.at(table, (own[partners[counted]], found[counted]), 1)
        missed = ~labels.difficult
        missed[partners[partners >= 0]] = False
        np.add.at(table, (labels.class_ids[missed], num_classes), 1)
    return table


def _partners(rows: NDArray[Any], labels: Labels, overlap_threshold: float) -> NDArray[np.int64]:
    """The box that each detection (d, 6), best first, takes; -1 for none."""
    partners = np.full(len(rows), -1, dtype=np.int64)
    if not len(rows) or not len(labels.boxes):
        return partners
    overlaps = iou(rows[:, 2:6].astype(np.float64), labels.boxes.astype(np.float64))
    overlaps[overlaps <= overlap_threshold] = -1.0
    overlaps[:, labels.difficult] -= 1.0  # behind all others, which are above 0 where they count
    free = np.ones(len(labels.boxes), dtype=bool)
    for row in np.flatnonzero(overlaps.max(axis=1) > -1.0):
        candidates = np.where(free, overlaps[row], -2.0)
        best = int(candidates.argmax())
        if candidates[best] > -1.0:
            partners[row] = best
            free[best] = labels.difficult[best]
    return partners
