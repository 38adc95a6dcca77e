"""Detection rows from a network's heads in numpy: what MXNet's MultiBoxDetection computes.

Bit for bit in nearly all numbers, so that an engine without MXNet finds the same boxes. The
operator: apache/mxnet, src/operator/contrib/multibox_detection.cc, release 1.9.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sagemaker_object_detection.inference.predictor import Rows
from sagemaker_object_detection.model.detection import DetectionRule

Floats = npt.NDArray[np.float32]

_CHUNK = 512


def decode(scores: Floats, offsets: Floats, anchors: Floats, rule: DetectionRule) -> Rows:
    """Detections of a batch, see predictor.Engine.detect.

    Args:
        scores: float32 (B, N, C + 1), softmax over the classes, background first.
        offsets: float32 (B, N, 4), the second head.
        anchors: float32 (N, 4) or (1, N, 4), xyxy in 0..1.

    Returns:
        Rows (B, N, 6), the best first; those that are left over hold -1 everywhere.

    Raises:
        ValueError: shapes that do not fit together.
    """
    anchors = anchors.reshape(-1, 4)
    batch, count = scores.shape[:2]
    if scores.ndim != 3 or scores.shape[2] < 2 or len(anchors) != count:
        raise ValueError(f"scores {scores.shape} do not fit {len(anchors)} anchors")
    if offsets.shape != (batch, count, 4):
        raise ValueError(f"offsets {offsets.shape} do not fit scores {scores.shape}")
    rows = np.full((batch, count, 6), -1, np.float32)
    for image, into in enumerate(rows):
        found = _detect(scores[image], offsets[image], anchors, rule)
        into[: len(found)] = found
    return rows


def _detect(scores: Floats, offsets: Floats, anchors: Floats, rule: DetectionRule) -> Rows:
    """Rows of one image, suppressed ones included: their class_id is -1."""
    best = np.ascontiguousarray(scores.T)[1:].max(axis=0)  # by class: three times faster
    kept = np.flatnonzero(best >= np.float32(rule.threshold))
    if rule.suppresses:
        kept = kept[np.argsort(-best[kept], kind="stable")]
        if rule.nms_topk > 0:
            kept = kept[: rule.nms_topk]
    boxes = decode_boxes(offsets[kept], anchors[kept], rule)
    class_ids = scores[kept, 1:].argmax(axis=1).astype(np.float32)
    if rule.suppresses and len(kept):
        groups = np.zeros_like(class_ids) if rule.force_suppress else class_ids
        class_ids[suppressed(boxes, groups, rule.nms_threshold)] = -1
    return np.column_stack([class_ids, best[kept], boxes])


def decode_boxes(offsets: Floats, anchors: Floats, rule: DetectionRule) -> Floats:
    """Offsets (n, 4) from anchors (n, 4) -> boxes (n, 4), xyxy."""
    variances = np.array(rule.variances, np.float32)
    size = anchors[:, 2:] - anchors[:, :2]
    centre = (anchors[:, :2] + anchors[:, 2:]) / np.float32(2)
    scaled = offsets * variances
    centre = scaled[:, :2] * size + centre
    # The C library's exp is right to the last place, numpy's in single precision is not.
    growth = np.exp(scaled[:, 2:].astype(np.float64)).astype(np.float32)
    half = growth * size / np.float32(2)
    boxes: Floats = np.concatenate([centre - half, centre + half], axis=1)
    return boxes.clip(0, 1) if rule.clip else boxes


def suppressed(boxes: Floats, groups: npt.NDArray[Any], threshold: float) -> npt.NDArray[np.bool_]:
    """Which boxes (n, 4) overlap a better one of their group that is not suppressed itself.

    Args:
        boxes: the best first.
        groups: (n,), boxes of different groups leave each other alone.
        threshold: IoU from which on a box is suppressed.
    """
    result = np.zeros(len(boxes), bool)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        if len(members) > 1:
            result[members] = ~_survivors(boxes[members], np.float32(threshold))
    return result


def _survivors(boxes: Floats, threshold: np.float32) -> npt.NDArray[np.bool_]:
    """Which boxes (n, 4) of one group stay."""
    alive = np.ones(len(boxes), bool)
    for start in range(0, len(boxes), _CHUNK):  # bounds the memory
        chunk = boxes[start : start + _CHUNK]
        living = alive[start : start + _CHUNK]
        before = boxes[:start][alive[:start]]
        if len(before):
            living &= ~_rivals(before, chunk, threshold).any(axis=0)
        rivals = np.triu(_rivals(chunk, chunk, threshold), 1)
        for i in np.flatnonzero(rivals.any(axis=1)):
            if living[i]:
                living &= ~rivals[i]
    return alive


def _rivals(a: Floats, b: Floats, threshold: np.float32) -> npt.NDArray[np.bool_]:
    """Pairs (n, m) whose IoU reaches the threshold.

    In the operator's own order of operations. Where there is no area at all its IoU is 0.
    """
    width = np.minimum(a[:, 2, None], b[:, 2])
    width -= np.maximum(a[:, 0, None], b[:, 0])
    height = np.minimum(a[:, 3, None], b[:, 3])
    height -= np.maximum(a[:, 1, None], b[:, 1])
    intersection = np.maximum(width, 0, out=width)
    intersection *= np.maximum(height, 0, out=height)
    union = np.add(_area(a)[:, None], _area(b), out=height)
    union -= intersection
    share = np.divide(intersection, union, out=intersection, where=union > 0)
    reached: npt.NDArray[np.bool_] = np.greater_equal(share, threshold)
    return reached & (union > 0)


def _area(boxes: Floats) -> Floats:
    sides = boxes[:, 2:] - boxes[:, :2]
    area: Floats = np.multiply(sides[:, 0], sides[:, 1])
    return area
