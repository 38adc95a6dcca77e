"""Mean average precision: all-point interpolated, as PASCAL VOC 2010 and later define it.

Everingham et al. 2015, "The Pascal Visual Object Classes Challenge: A Retrospective", section 4.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.evaluation.matching import OURS, Rules, match
from sagemaker_object_detection.evaluation.results import Results


@dataclass(frozen=True)
class AveragePrecision:
    """A score over a data set.

    Attributes:
        mean: mean over the classes that occur, 0..1; 0 when none does.
        per_class: one value per class id; NaN for a class without a box.
    """

    mean: float
    per_class: tuple[float, ...]


@dataclass(frozen=True)
class Ranking:
    """The detections of one class that count, from the best score down.

    Attributes:
        scores: (n,). right: bool (n,).
        positives: boxes that are there to be found.
    """

    scores: NDArray[Any]
    right: NDArray[Any]
    positives: int


def score(
    results: Results, num_classes: int, overlap_threshold: float, rules: Rules = OURS
) -> AveragePrecision:
    """Average precision of every class.

    A detection is right when its best-overlapping box of its class has an IoU above the threshold
    and no better-scored detection of the image took that box. Detections of a box marked difficult
    count neither way, and such boxes need not be found. All images' detections of a class are
    ranked together; of equal scores the earlier image's comes first.

    Args:
        num_classes: class ids are 0..num_classes-1.
        overlap_threshold: IoU to exceed, in 0..1.
        rules: those of another definition, to compare with its figures.

    Raises ValueError on a class_id that is not below num_classes.
    """
    area = eleven_points if rules.eleven_points else area_under_curve
    per_class = tuple(
        area(ranking.right, ranking.positives)
        for ranking in rank(results, num_classes, overlap_threshold, rules)
    )
    return AveragePrecision(mean_over_classes(per_class), per_class)


def mean_over_classes(per_class: Iterable[float]) -> float:
    """Mean of what is not NaN: of the classes that have boxes. 0 without any."""
    present = [value for value in per_class if not math.isnan(value)]
    return float(np.mean(present)) if present else 0.0


def rank(
    results: Results, num_classes: int, overlap_threshold: float, rules: Rules = OURS
) -> tuple[Ranking, ...]:
    """The detections of each class in order; arguments and errors as of `score`."""
    matches = match(results, num_classes, overlap_threshold, rules)
    kept = results.detections[matches.counted]
    order = np.lexsort((-kept[:, 1], kept[:, 0]))
    scores, right = kept[order, 1], matches.right[matches.counted][order]
    ends = np.searchsorted(kept[order, 0], np.arange(num_classes), side="right")
    starts = np.concatenate([[0], ends[:-1]])
    return tuple(
        Ranking(scores[start:end], right[start:end], int(positives))
        for start, end, positives in zip(starts, ends, matches.positives, strict=True)
    )


def area_under_curve(right: NDArray[Any], positives: int) -> float:
    """Area under the precision-recall curve, precision made monotone.

    Args:
        right: bool (d,), detections from the best score down.
        positives: boxes there are to find; without any the area is NaN.
    """
    if not positives:
        return math.nan
    true = np.cumsum(right)
    recall = np.concatenate([[0.0], true / positives])
    return float(np.sum(np.diff(recall) * _best_precision(true)))


def eleven_points(right: NDArray[Any], positives: int) -> float:
    """Mean of the best precision at recall 0, 0.1, ... 1 or more, as VOC 2007; arguments as above.

    Recall is compared in whole numbers: 3 of 10 boxes reach 0.3, which is 0.30000000000000004 in
    programs that count in floats by steps of 0.1.
    """
    if not positives:
        return math.nan
    true = np.cumsum(right)
    reached = np.searchsorted(10 * true, positives * np.arange(11))
    return float(np.concatenate([_best_precision(true), [0.0]])[reached].sum() / 11)


def _best_precision(true: NDArray[Any]) -> NDArray[Any]:
    """Best precision from each rank down, `true` being how many are right so far."""
    precision = true / np.arange(1, len(true) + 1)
    return np.maximum.accumulate(precision[::-1])[::-1]
