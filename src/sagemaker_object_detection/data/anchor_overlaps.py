"""How well the anchors of a network fit the boxes of a data set.

Training makes an anchor positive for a box when their IoU is above MATCH_IOU, and the best anchor
of every box in any case (MultiBoxTarget). A box that only has that one forced anchor is learnt
badly: mostly it is smaller than the smallest anchors.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.boxes import area
from sagemaker_object_detection.model.anchors import make_anchors
from sagemaker_object_detection.model.specs import Spec

MATCH_IOU = 0.5
_CHUNK = 8192


def best_overlaps(boxes: NDArray[Any], spec: Spec) -> NDArray[Any]:
    """The largest IoU of every box with any anchor of the network.

    Among anchors of one shape the one whose centre is nearest to the box's is the best: the
    overlap in x and the overlap in y only shrink with the distance, each for itself, and the
    centres form a grid. So one cell of each feature map is looked at and not thousands.

    Args:
        boxes: (n, 4), xyxy in 0..1.

    Returns:
        float32 (n,), in 0..1.
    """
    anchors = make_anchors(spec)[0]
    best = np.zeros(len(boxes), dtype=np.float32)
    for start in range(0, len(boxes), _CHUNK):
        chunk = boxes[start : start + _CHUNK].astype(np.float32)
        areas = area(chunk)
        centres = (chunk[:, :2].astype(np.float64) + chunk[:, 2:]) / 2
        found = best[start : start + _CHUNK]
        offset = 0
        for side, shapes in zip(spec.map_sides, spec.anchors_per_cell, strict=True):
            column, row = np.clip((centres * side).astype(np.int64), 0, side - 1).T
            first = offset + (row * side + column) * shapes
            for shape in range(shapes):
                np.maximum(found, _paired_iou(chunk, areas, anchors[first + shape]), out=found)
            offset += side * side * shapes
    return best


def _paired_iou(a: NDArray[Any], areas_a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """IoU of row i of `a` with row i of `b`; no box of `b` is without area."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    np.maximum(sides, 0, out=sides)
    intersection = sides[:, 0] * sides[:, 1]
    result: NDArray[Any] = intersection / (areas_a + area(b) - intersection)
    return result


def anchor_sizes(spec: Spec) -> tuple[float, ...]:
    """The square roots of the anchors' areas in 0..1 of the image side, ascending.

    The ratio of an anchor does not change its area, so there are two a feature map.
    """
    steps = zip(spec.sizes, spec.sizes[1:], strict=False)
    return tuple(sorted({size for pair in steps for size in (pair[0], sqrt(pair[0] * pair[1]))}))
