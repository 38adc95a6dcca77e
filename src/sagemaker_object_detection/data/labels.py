"""The label vector of a detection record: ``[header_width, object_width, extra..., objects...]``.

It is what MXNet's im2rec writes with ``--pack-label``.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sagemaker_object_detection.data.annotations import Annotation
from sagemaker_object_detection.data.dataset import RawRecord
from sagemaker_object_detection.data.recordio import PACK_AGAIN, RecordIOError, unpack

_LARGEST = 1e7
_WIDEST = 1000


class DetectionLabel(NamedTuple):
    """Objects of one image: corners (n, 4) float32 in 0..1, ids (n,) int64, flags (n,) bool."""

    boxes: npt.NDArray[np.float32]
    class_ids: npt.NDArray[np.int64]
    difficult: npt.NDArray[np.bool_]


def parse_label(label: npt.NDArray[np.float32], name: str) -> DetectionLabel:
    """Read ``[header_width, object_width, extra..., objects...]``.

    An object is ``class_id, xmin, ymin, xmax, ymax``, then ``difficult`` if object_width is 6 or
    more; further numbers are ignored. Rows of class -1 without area are padding (MXNet's iterators
    need one for an image without objects) and left out. Raises RecordIOError for widths that make
    no sense, numbers that are not finite or beyond 1e7, and class ids that are not whole.
    """
    if label.size < 2:
        what = f"the label has {label.size} numbers, a detection label begins with two widths"
        raise RecordIOError(name, what, PACK_AGAIN)
    header_width = _width(label, 0, "header_width", 2, name)
    object_width = _width(label, 1, "object_width", 5, name)
    body = label.size - header_width
    if body < 0 or body % object_width:
        what = (
            f"a label of {label.size} numbers cannot be a header of {header_width} "
            f"and objects of {object_width} each"
        )
        raise RecordIOError(name, what, PACK_AGAIN)
    rows = label[header_width:].reshape(-1, object_width)
    difficult = rows[:, 5] != 0 if object_width > 5 else np.zeros(len(rows), np.bool_)
    bad = ~(np.abs(rows[:, :5]) <= _LARGEST).all(axis=1) | (rows[:, 0] != np.round(rows[:, 0]))
    if bad.any():
        row = int(np.argmax(bad))
        values = ", ".join(f"{value:g}" for value in rows[row, :5])
        what = f"object {row} is [{values}], not a whole class_id and four corners"
        raise RecordIOError(name, what, PACK_AGAIN)
    empty = (rows[:, 3] <= rows[:, 1]) | (rows[:, 4] <= rows[:, 2])
    kept = ~((rows[:, 0] == -1) & empty)
    return DetectionLabel(
        np.ascontiguousarray(rows[kept, 1:5]), rows[kept, 0].astype(np.int64), difficult[kept]
    )


def _width(label: npt.NDArray[np.float32], position: int, what: str, least: int, name: str) -> int:
    value = float(label[position])
    if not value.is_integer() or not least <= value <= _WIDEST:
        shown = ", ".join(f"{number:g}" for number in label[:7])
        text = (
            f"{what} is {value:g}, it must be a whole number from {least} to {_WIDEST}; the label: "
            f"[{shown}]"
        )
        raise RecordIOError(name, text, PACK_AGAIN)
    return int(value)


def pack_label(
    boxes: npt.ArrayLike, class_ids: npt.ArrayLike, difficult: npt.ArrayLike | None = None
) -> npt.NDArray[np.float32]:
    """Label vector of boxes (n, 4) in 0..1; object_width 6 when `difficult` flags are given."""
    columns = [np.asarray(class_ids).reshape(-1, 1), np.asarray(boxes).reshape(-1, 4)]
    if difficult is not None:
        columns.append(np.asarray(difficult).reshape(-1, 1))
    rows = np.hstack(columns).astype(np.float32)
    return np.concatenate([np.array([2, rows.shape[1]], np.float32), rows.ravel()])


def from_payload(payload: bytes, name: str) -> RawRecord:
    """The record that im2rec packed, corners in 0..1; `name` is what errors call it.

    Raises RecordIOError as `unpack` and `parse_label` do.
    """
    packed = unpack(payload, name)
    label = parse_label(packed.label, name)
    return RawRecord(packed.image, label.boxes.astype(np.float64), label.class_ids, label.difficult)


def from_annotation(
    image: bytes, annotation: Annotation, label_name: str | None = None
) -> RawRecord:
    """An image as it is annotated, corners in pixels of the declared size, nothing difficult."""
    return RawRecord(
        image,
        annotation.boxes_px.astype(np.float64),
        annotation.class_ids,
        np.zeros(len(annotation.class_ids), dtype=bool),
        annotation.size,
        label_name,
    )
