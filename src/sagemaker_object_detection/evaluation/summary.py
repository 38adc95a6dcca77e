"""All scores of a data set, computed once for the files and the page of a training job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from sagemaker_object_detection.data.report import class_labels
from sagemaker_object_detection.evaluation.average_precision import mean_over_classes
from sagemaker_object_detection.evaluation.coco import coco_suite
from sagemaker_object_detection.evaluation.confusion import confusion
from sagemaker_object_detection.evaluation.curves import (
    BestThreshold,
    Curve,
    best_threshold,
    curves,
)
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
    """

    overlap_threshold: float
    labels: tuple[str, ...]
    curves: tuple[Curve, ...]
    best: tuple[BestThreshold | None, ...]
    confusion: NDArray[Any]
    coco: Mapping[str, float | None]

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
    )


def _thresholds(best: Sequence[BestThreshold | None]) -> tuple[float, ...]:
    return tuple(DEFAULT_THRESHOLD if one is None else one.score for one in best)
