"""The verdict on one record: what of it can be trained on, what is dropped, what refuses it."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.boxes import clip, from_px, is_degenerate
from sagemaker_object_detection.data.dataset import Labels, RawRecord
from sagemaker_object_detection.images import (
    QUARTER_TURNS,
    ImageError,
    check,
    decode,
    ignored_orientation,
    is_truncated_jpeg,
    orientation,
)
from sagemaker_object_detection.platform.errors import ClientError, naming

_OVERHANG = 1e-6
_PIXELS_FROM = 2.0
_SAME_RATIO = 0.01
_FRAMES = {
    "stored_size": " as displayed: it was stored so, and its orientation tag is {tag}",
    "swapped_size": ": width and height are swapped",
    "other_size": ", which has another aspect ratio",
    "resized": ": the boxes were scaled",
}
"""What a declared size that is not that of the displayed image says of it."""
_NO_FILE = (errno.ENOENT, errno.ELOOP)


@dataclass(frozen=True)
class Dropped:
    """A record or a box that was left out, or what refuses a record; reasons are of REASONS."""

    record: str
    reason: str
    detail: str


@dataclass
class Verdict:
    """What one record gives.

    Attributes:
        labels: None when the record is dropped or refused.
        declared_boxes: objects of the annotation, before any was dropped.
        clipped: boxes that were cut off at the picture's edge.
        dropped: the image, or boxes of it.
        noted: what is odd about the image, which is used all the same.
        fault: what refuses the record and with it the channel.
        size: (width, height) of the image as displayed.
        digest: 64 bits of a hash of the encoded picture.
        image: uint8 (h, w, 3), RGB, for who asked to keep it.
    """

    labels: Labels | None = None
    declared_boxes: int = 0
    clipped: int = 0
    dropped: list[Dropped] = field(default_factory=list)
    noted: list[Dropped] = field(default_factory=list)
    fault: Dropped | None = None
    size: tuple[int, int] | None = None
    digest: int = 0
    image: NDArray[Any] | None = None


def judge(
    name: str,
    read: Callable[[], RawRecord],
    num_classes: int,
    keep_image: bool = False,
    turn_boxes: bool = False,
) -> Verdict:
    """Read a record and check its label, its picture and its boxes, in this order.

    Args:
        name: what messages call the record.
        read: gives the record, or raises ClientError for a label that cannot be understood.
        num_classes: class ids must be in 0..num_classes-1.
        keep_image: whether the decoded picture is wanted.
        turn_boxes: whether boxes of the stored image are turned to those of the displayed one; else
            the image is dropped.

    Raises OSError, with a file name, where the system fails to read what is there.
    """
    try:
        with naming(name):
            raw = read()
    except ClientError as error:
        return Verdict(fault=Dropped(name, "unreadable_label", str(error)))
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        detail = f"{error.filename} does not exist, or is a link to nothing. Add the file."
        return Verdict(fault=Dropped(name, "unreadable_label", detail))
    wrong = (raw.class_ids < 0) | (raw.class_ids >= num_classes)
    if wrong.any():
        value = int(raw.class_ids[wrong][0])
        detail = (
            f"{raw.label_name or name}: class_id {value} is not in 0..{num_classes - 1}. "
            f"Correct the label, or set num_classes (now {num_classes}) to the number of classes."
        )
        return Verdict(fault=Dropped(name, "class_id", detail))
    verdict = Verdict(declared_boxes=len(raw.class_ids))
    turned = _check_image(raw, name, verdict, keep_image, turn_boxes)
    if turned is None:
        return verdict
    raw = turned
    _check_boxes(raw, name, verdict)
    digest = hashlib.sha1(raw.image, usedforsecurity=False).digest()  # the fastest there is
    verdict.digest = int.from_bytes(digest[:8], "little")
    return verdict


def _check_image(
    raw: RawRecord, name: str, verdict: Verdict, keep_image: bool, turn_boxes: bool
) -> RawRecord | None:
    """The record, its boxes those of the displayed picture; None where that is not usable."""
    try:
        if keep_image:
            verdict.image = decode(raw.image, "it")
            height, width = verdict.image.shape[:2]
        else:
            width, height = check(raw.image, "it")
    except ImageError as error:
        reason = "truncated" if is_truncated_jpeg(raw.image) else "undecodable"
        verdict.dropped.append(Dropped(name, reason, str(error)))
        return None
    verdict.size = (width, height)
    return _check_frame(raw, name, verdict, turn_boxes)


def _check_frame(raw: RawRecord, name: str, verdict: Verdict, turn_boxes: bool) -> RawRecord | None:
    """The record, if its boxes refer to the image as displayed, or a resized copy of it."""
    assert verdict.size is not None
    tag = orientation(raw.image)
    reason = _wrong_frame(raw.declared_size, verdict.size, tag)
    if reason is not None and raw.declared_size is not None:
        sizes = (f"{width} x {height}" for width, height in (raw.declared_size, verdict.size))
        detail = "declared as {}, the image is {}".format(*sizes) + _FRAMES[reason].format(tag=tag)
        if reason == "stored_size" and turn_boxes:
            detail += "; the boxes were turned"
            verdict.noted.append(Dropped(name, "turned", detail))
            raw = replace(
                raw, boxes=turned(raw.boxes, raw.declared_size, tag), declared_size=verdict.size
            )
        elif reason == "resized":
            verdict.noted.append(Dropped(name, reason, detail))
        else:
            verdict.dropped.append(Dropped(name, reason, detail))
            return None
    if tag != 1:
        verdict.noted.append(Dropped(name, "orientation", f"orientation tag {tag}, applied"))
    elif (other := ignored_orientation(raw.image)) != 1:
        detail = f"orientation tag {other}, not applied"
        verdict.noted.append(Dropped(name, "ignored_orientation", detail))
    return raw


def turned(boxes_px: NDArray[Any], size: tuple[int, int], tag: int) -> NDArray[Any]:
    """Boxes (n, 4) xyxy in pixels of a stored image, as displayed by a tag of QUARTER_TURNS.

    `size` is (width, height) of the stored image.
    """
    left, top, right, bottom = boxes_px.T
    if tag in (7, 8):
        left, right = size[0] - right, size[0] - left
    if tag in (6, 7):
        top, bottom = size[1] - bottom, size[1] - top
    return np.stack([top, left, bottom, right], axis=1)


def _wrong_frame(declared: tuple[int, int] | None, size: tuple[int, int], tag: int) -> str | None:
    """Which of _FRAMES a declared size is; None where it is that of the image, or not declared."""
    if declared is None or declared == size:
        return None
    if declared == size[::-1]:
        return "stored_size" if tag in QUARTER_TURNS else "swapped_size"
    ratio = declared[0] * size[1] / (declared[1] * size[0])
    return "resized" if abs(ratio - 1) <= _SAME_RATIO else "other_size"


def _check_boxes(raw: RawRecord, name: str, verdict: Verdict) -> None:
    boxes = raw.boxes
    if not len(boxes):
        verdict.labels = _no_labels()
        return
    assert verdict.size is not None
    shares = np.zeros(len(boxes), np.bool_)
    if raw.declared_size is not None:
        if min(raw.declared_size) > 1:  # else the first pixel may be all there is
            shares = np.abs(boxes).max(axis=1) <= 1
        boxes = from_px(boxes, *raw.declared_size)
    boxes = boxes.astype(np.float32)  # first, so that no kept box loses its area by rounding
    clipped = clip(boxes)
    flat = is_degenerate(boxes)
    outside = ~flat & is_degenerate(clipped)
    shares &= ~flat & ~outside
    good = ~flat & ~outside & ~shares
    for kind, rows in (("zero_area", flat), ("outside", outside), ("not_in_pixels", shares)):
        for row in np.flatnonzero(rows):
            where = _corners(kind, raw.boxes[row], boxes[row], raw, verdict.size)
            detail = f"box {row}, class {raw.class_ids[row]}{where}"
            verdict.dropped.append(Dropped(name, kind, detail))
    verdict.clipped = int((np.abs(clipped - boxes).max(axis=1) > _OVERHANG)[good].sum())
    verdict.labels = Labels(
        clipped[good], raw.class_ids[good].astype(np.int32), raw.difficult[good]
    )


def _corners(
    kind: str, given: NDArray[Any], box: NDArray[Any], raw: RawRecord, size: tuple[int, int]
) -> str:
    """Where a dropped box is; `given` (4,) as the record has it, `box` (4,) in 0..1."""
    corners = ", ".join(f"{value:g}" for value in given)
    if kind == "not_in_pixels":
        return (
            f": corners [{corners}] are all within one pixel; shares of the picture's sides must "
            "be multiplied by its width and height"
        )
    if raw.declared_size is None and np.abs(box).max() > _PIXELS_FROM:
        return (
            f": corners [{corners}] are not in 0..1; pixels must be divided by the picture's width "
            "and height"
        )
    corners_px = np.round(box * np.tile(size, 2), 1).tolist()
    return f", {corners_px} px"


def _no_labels() -> Labels:
    return Labels(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, np.bool_))
