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
    # A class at a time: the number of classes is small, and an argmax over a short axis is slow.
    best = scores[:, 1].copy()
    class_ids = np.zeros(len(best), np.float32)
    for class_id in range(1, scores.shape[1] - 1):
        column = scores[:, class_id + 1]
        better = column > best
        best[better] = column[better]
        class_ids[better] = class_id
    kept = np.flatnonzero(best >= np.float32(rule.threshold))
    if rule.suppresses:
        kept = kept[np.argsort(-best[kept], kind="stable")]
        if rule.nms_topk > 0:
            kept = kept[: rule.nms_topk]
    boxes = decode_boxes(offsets[kept], anchors[kept], rule)
    class_ids = class_ids[kept]
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
    alive = np.ones(len(boxes), bool)
    for start in range(0, len(boxes), _CHUNK):  # bounds the memory, and ends early in few steps
        chunk = slice(start, start + _CHUNK)
        before = np.flatnonzero(alive[:start])
        if len(before):
            rivals = _rivals(boxes[before], groups[before], boxes[chunk], groups[chunk], threshold)
            alive[chunk] &= ~rivals.any(axis=0)
        rivals = _rivals(boxes[chunk], groups[chunk], boxes[chunk], groups[chunk], threshold)
        living = alive[chunk]
        np.fill_diagonal(rivals, False)
        for i in np.flatnonzero(rivals.any(axis=1)):
            if living[i]:
                living[i + 1 :] &= ~rivals[i, i + 1 :]
    return ~alive


def _rivals(
    a: Floats, a_groups: npt.NDArray[Any], b: Floats, b_groups: npt.NDArray[Any], threshold: float
) -> npt.NDArray[np.bool_]:
    """Pairs (n, m) of one group whose IoU reaches the threshold.

    In the operator's own order of operations. Where there is no area at all its IoU is 0; one box
    inside out makes an area negative.
    """
    left, top = (np.maximum(a[:, i, None], b[None, :, i]) for i in (0, 1))
    right, bottom = (np.minimum(a[:, i, None], b[None, :, i]) for i in (2, 3))
    intersection = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    area_a = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1])
    area_b = (b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1])
    union = area_a[:, None] + area_b[None] - intersection
    positive = union > 0
    share = np.divide(intersection, union, out=np.zeros_like(union), where=positive)
    of_one_group = a_groups[:, None] == b_groups[None]
    rivals: npt.NDArray[np.bool_] = (share >= np.float32(threshold)) & of_one_group
    return rivals
