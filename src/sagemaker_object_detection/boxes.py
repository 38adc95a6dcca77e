"""Arithmetic on boxes.

A box is `xyxy`: left, top, right, bottom. Coordinates are in 0..1 of the image's width and height
unless a name ends in `_px`. Boxes come as arrays of shape (n, 4), n may be 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]


def check_boxes(boxes: npt.ArrayLike) -> Array:
    """Return `boxes` as a float array of shape (n, 4); an empty sequence becomes (0, 4).

    Integers become float64, floats keep their precision.
    Raises ValueError on another shape and on a coordinate that is not a finite number.
    """
    array = np.asarray(boxes)
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(np.float64)
    if array.shape == (0,):
        array = array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"expected boxes of shape (n, 4), got {array.shape}")
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise ValueError(f"expected finite coordinates, box {row} is {array[row].tolist()}")
    return array


def area(boxes: Array) -> Array:
    """Area of every box (n, 4) -> (n,); 0 where a box is inverted, never negative."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    product: Array = sides[:, 0] * sides[:, 1]
    return product


def is_degenerate(boxes: Array) -> npt.NDArray[np.bool_]:
    """(n, 4) -> (n,): True where a box has no area: right <= left or bottom <= top."""
    return (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])


def clip(boxes: Array, width: float = 1.0, height: float = 1.0) -> Array:
    """Cut boxes (n, 4) off at the image's edges: 0..1, or 0..width and 0..height for `_px` boxes.

    A box wholly outside becomes one without area.
    """
    limits = np.array([width, height, width, height], dtype=boxes.dtype)
    clipped: Array = np.clip(boxes, np.zeros(4, dtype=boxes.dtype), limits)
    return clipped


def iou(a: Array, b: Array) -> Array:
    """Intersection over union of all pairs, (n, 4) and (m, 4) -> (n, m), each in 0..1.

    Areas are of continuous coordinates (no "+ 1"); a pair without any area has 0.
    """
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(bottom_right - top_left, 0)
    intersection: Array = sides[..., 0] * sides[..., 1]
    union = area(a)[:, None] + area(b)[None, :] - intersection
    result = np.zeros_like(intersection)
    np.divide(intersection, union, out=result, where=union > 0)
    return result


def to_px(boxes: Array, width: float, height: float) -> Array:
    """Boxes in 0..1 (n, 4) -> pixels of an image of `width` x `height`, not rounded."""
    return boxes * _scale(boxes, width, height)


def from_px(boxes_px: Array, width: float, height: float) -> Array:
    """Boxes in pixels (n, 4) of an image of `width` x `height` -> 0..1."""
    return boxes_px / _scale(boxes_px, width, height)


def _scale(boxes: Array, width: float, height: float) -> Array:
    if width <= 0 or height <= 0:
        raise ValueError(f"expected an image of positive size, got {width} x {height}")
    kind = boxes.dtype if np.issubdtype(boxes.dtype, np.floating) else np.dtype(np.float64)
    return np.array([width, height, width, height], dtype=kind)
