"""Mean average precision: all-point interpolated, as PASCAL VOC 2010 and later define it.

Everingham et al. 2015, "The Pascal Visual Object Classes Challenge: A Retrospective", section 4.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.boxes import iou


@dataclass(frozen=True)
class AveragePrecision:
    """A score over a data set.

    Attributes:
        mean: mean over the classes that occur, 0..1; 0 when none does.
        per_class: one value per class id; NaN for a class without a box.
    """

    mean: float
    per_class: tuple[float, ...]


class MeanAveragePrecision:
    """Collects images by `update` and scores them by `compute`; `reset` forgets them.

    A detection is right when its best-overlapping box of its class has an IoU above the threshold
    and no better-scored detection of the image took that box. Detections of a box marked difficult
    count neither way, and such boxes need not be found.

    Args:
        num_classes: class ids are 0..num_classes-1.
        overlap_threshold: IoU to exceed, in 0..1.
    """

    def __init__(self, num_classes: int, overlap_threshold: float = 0.5) -> None:
        self.num_classes = num_classes
        self.overlap_threshold = overlap_threshold
        self.reset()

    def reset(self) -> None:
        """Forget every image."""
        self._positives = np.zeros(self.num_classes, dtype=np.int64)
        self._class_ids: list[NDArray[Any]] = []
        self._scores: list[NDArray[Any]] = []
        self._right: list[NDArray[Any]] = []

    def update(
        self,
        detections: NDArray[Any],
        boxes: NDArray[Any],
        class_ids: NDArray[Any],
        difficult: NDArray[Any] | None = None,
    ) -> None:
        """Add one image.

        Args:
            detections: (d, 6), rows [class_id, score, xmin, ymin, xmax, ymax]; rows with class_id
                below 0 are left out.
            boxes: (n, 4) xyxy, in the same unit.
            class_ids, difficult: (n,).
        """
        if difficult is None:
            difficult = np.zeros(len(boxes), dtype=bool)
        self._positives += np.bincount(class_ids[~difficult], minlength=self.num_classes)
        found = detections[detections[:, 0] >= 0]
        found = found[np.argsort(-found[:, 1], kind="stable")]
        found_ids = found[:, 0].astype(np.int64)
        right = np.zeros(len(found), dtype=bool)
        counted = np.ones(len(found), dtype=bool)
        if len(found) and len(boxes):
            overlap = iou(found[:, 2:6].astype(np.float64), boxes.astype(np.float64))
            overlap[found_ids[:, None] != class_ids[None]] = -1.0
            best = overlap.argmax(axis=1)
            hit = overlap[np.arange(len(found)), best] > self.overlap_threshold
            hits = np.flatnonzero(hit)
            _, first = np.unique(best[hits], return_index=True)
            right[hits[first]] = True
            counted = ~(hit & difficult[best])
        self._class_ids.append(found_ids[counted])
        self._scores.append(found[counted, 1])
        self._right.append(right[counted])

    def compute(self) -> AveragePrecision:
        """Score all images seen since the last reset."""
        class_ids = np.concatenate([np.zeros(0, np.int64), *self._class_ids])
        scores = np.concatenate([np.zeros(0), *self._scores])
        right = np.concatenate([np.zeros(0, bool), *self._right])
        order = np.argsort(-scores, kind="stable")
        class_ids, right = class_ids[order], right[order]
        per_class = tuple(
            float(area_under_curve(right[class_ids == c], int(self._positives[c])))
            for c in range(self.num_classes)
        )
        present = [value for value in per_class if not math.isnan(value)]
        return AveragePrecision(float(np.mean(present)) if present else 0.0, per_class)


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
    precision = true / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope))
