"""Which box each detection of a data set finds.

A detection is held against the boxes of its class in its image. It looks at the one it overlaps
best, and no other; of the detections that look at one box the best-scored finds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.evaluation.results import Results

_PAIRS_AT_ONCE = 2**20


@dataclass(frozen=True)
class Rules:
    """Where definitions of average precision differ; ours unless something is set.

    Attributes:
        at_least: an IoU equal to the threshold is enough (VOC's program asks for more than it).
        whole_pixels: a box holds the pixels of both its edges, so that each side, measured in
            pixels of the picture, is one longer (VOC's "+ 1").
        eleven_points: mean of the best precision at recall 0, 0.1, ... 1 (VOC 2007) instead of the
            area under the whole curve.
    """

    at_least: bool = False
    whole_pixels: bool = False
    eleven_points: bool = False


OURS = Rules()


@dataclass(frozen=True)
class Matches:
    """What became of each detection of `Results`, in its order.

    Attributes:
        right: bool (D,), it finds a box.
        counted: bool (D,), it counts at all: not those that look at a box marked difficult.
        positives: int64 (num_classes,), boxes of each class that are there to be found.
    """

    right: NDArray[Any]
    counted: NDArray[Any]
    positives: NDArray[Any]


def match(
    results: Results, num_classes: int, overlap_threshold: float, rules: Rules = OURS
) -> Matches:
    """Hold every detection against the boxes.

    Args:
        num_classes: class ids are 0..num_classes-1.
        overlap_threshold: IoU to exceed, in 0..1.

    Raises ValueError on a class_id that is not below num_classes.
    """
    for what, ids in (("detection", results.detections[:, 0]), ("box", results.class_ids)):
        if len(ids) and ids.max() >= num_classes:
            raise ValueError(f"a {what} has class_id {ids.max():g}, not in 0..{num_classes - 1}")
    best, overlap = _best_boxes(results, num_classes, rules.whole_pixels)
    near = overlap >= overlap_threshold if rules.at_least else overlap > overlap_threshold
    hits = np.flatnonzero(near & (best >= 0))
    _, first = np.unique(best[hits], return_index=True)
    right = np.zeros(len(best), dtype=bool)
    right[hits[first]] = True
    counted = np.ones(len(best), dtype=bool)
    counted[hits] = ~results.difficult[best[hits]]
    positives = np.bincount(results.class_ids[~results.difficult], minlength=num_classes)
    return Matches(right, counted, positives)


def _best_boxes(
    results: Results, num_classes: int, whole_pixels: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Of each detection the box that it overlaps best and their IoU; -1 and 0 without a box.

    Of several alike it is the first. Only pairs of one image and class are looked at, laid out in
    long arrays, so many at a time that memory stays bounded.
    """
    places, truth = results.detections[:, 2:6].astype(np.float64), results.boxes.astype(np.float64)
    images, truth_images = results.detection_images, results.box_images
    if whole_pixels:
        sides = np.tile(results.sizes.astype(np.float64), 2)
        places, truth = places * sides[images], truth * sides[truth_images]
    groups = truth_images * num_classes + results.class_ids
    order = np.argsort(groups, kind="stable")
    wanted = images * num_classes + results.detections[:, 0].astype(np.int64)
    start = np.searchsorted(groups[order], wanted, side="left")
    count = np.searchsorted(groups[order], wanted, side="right") - start

    best = np.full(len(places), -1, dtype=np.int64)
    overlap = np.zeros(len(places))
    for part in _parts(count):
        lengths = count[part]
        begins = np.cumsum(lengths) - lengths
        rows = np.repeat(part, lengths)
        boxes = order[np.arange(len(rows)) + np.repeat(start[part] - begins, lengths)]
        pairs = _paired_iou(places[rows], truth[boxes], 1.0 if whole_pixels else 0.0)
        overlap[part] = np.maximum.reduceat(pairs, begins)
        ties = np.flatnonzero(pairs == overlap[rows])
        _, first = np.unique(rows[ties], return_index=True)
        best[part] = boxes[ties[first]]
    return best, overlap


def _parts(count: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Cut the detections that have boxes to look at, `count` each, into parts of bounded pairs."""
    those = np.flatnonzero(count)
    ends = np.cumsum(count[those])
    cuts = np.searchsorted(ends, np.arange(_PAIRS_AT_ONCE, ends[-1:].sum(), _PAIRS_AT_ONCE))
    return (part for part in np.split(those, np.unique(cuts)) if len(part))


def _paired_iou(a: NDArray[Any], b: NDArray[Any], edge: float) -> NDArray[Any]:
    """Intersection over union of boxes side by side, (n, 4) and (n, 4) -> (n,).

    edge: what each side is longer by than its coordinates say. A pair without any area has 0.
    """
    shared = np.hstack([np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])])
    both = _areas(shared, edge)
    union = _areas(a, edge) + _areas(b, edge) - both
    result = np.zeros_like(both)
    np.divide(both, union, out=result, where=union > 0)
    return result


def _areas(boxes: NDArray[Any], edge: float) -> NDArray[Any]:
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2] + edge, 0)
    areas: NDArray[Any] = sides[:, 0] * sides[:, 1]
    return areas
