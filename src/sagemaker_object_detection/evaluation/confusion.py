"""What is taken for what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.boxes import iou
from sagemaker_object_detection.data.dataset import Labels
from sagemaker_object_detection.evaluation.results import Results


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
