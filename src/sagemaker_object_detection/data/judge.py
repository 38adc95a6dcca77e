"""The verdict on one record: what of it can be trained on, what is dropped, what refuses it."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.boxes import clip, from_px, is_degenerate
from sagemaker_object_detection.data.dataset import Labels, RawRecord
from sagemaker_object_detection.images import ImageError, check, decode, is_truncated_jpeg
from sagemaker_object_detection.platform.errors import ClientError, naming

_OVERHANG = 1e-6
_PIXELS_FROM = 2.0
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
        dropped: the picture, or boxes of it.
        fault: what refuses the record and with it the channel.
        size: (width, height) of the stored picture.
        digest: 64 bits of a hash of the encoded picture.
        image: uint8 (h, w, 3), RGB, for who asked to keep it.
    """

    labels: Labels | None = None
    declared_boxes: int = 0
    clipped: int = 0
    dropped: list[Dropped] = field(default_factory=list)
    fault: Dropped | None = None
    size: tuple[int, int] | None = None
    digest: int = 0
    image: NDArray[Any] | None = None


def judge(
    name: str, read: Callable[[], RawRecord], num_classes: int, keep_image: bool = False
) -> Verdict:
    """Read a record and check its label, its picture and its boxes, in this order.

    Args:
        name: what messages call the record.
        read: gives the record, or raises ClientError for a label that cannot be understood.
        num_classes: class ids must be in 0..num_classes-1.
        keep_image: whether the decoded picture is wanted.

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
    if not _check_image(raw, name, verdict, keep_image):
        return verdict
    _check_boxes(raw, name, verdict)
    digest = hashlib.sha1(raw.image, usedforsecurity=False).digest()  # the fastest there is
    verdict.digest = int.from_bytes(digest[:8], "little")
    return verdict


def _check_image(raw: RawRecord, name: str, verdict: Verdict, keep_image: bool) -> bool:
    """Whether the picture is usable."""
    try:
        if keep_image:
            verdict.image = decode(raw.image, "it")
            height, width = verdict.image.shape[:2]
        else:
            width, height = check(raw.image, "it")
    except ImageError as error:
        reason = "truncated" if is_truncated_jpeg(raw.image) else "undecodable"
        verdict.dropped.append(Dropped(name, reason, str(error)))
        return False
    if raw.declared_size == (height, width) != (width, height):
        detail = (
            f"the annotation says {height} x {width}, the stored picture is {width} x {height}: it "
            "was turned by its orientation tag when it was labelled"
        )
        verdict.dropped.append(Dropped(name, "rotated_size", detail))
        return False
    verdict.size = (width, height)
    return True


def _check_boxes(raw: RawRecord, name: str, verdict: Verdict) -> None:
    boxes = raw.boxes
    if not len(boxes):
        verdict.labels = _no_labels()
        return
    assert verdict.size is not None
    if raw.declared_size is not None:
        boxes = from_px(boxes, *raw.declared_size)
    boxes = boxes.astype(np.float32)  # first, so that no kept box loses its area by rounding
    clipped = clip(boxes)
    flat = is_degenerate(boxes)
    outside = ~flat & is_degenerate(clipped)
    good = ~flat & ~outside
    if not good.all():
        shown = np.round(boxes * np.tile(verdict.size, 2), 1)
        for kind, rows in (("zero_area", flat), ("outside", outside)):
            for row in np.flatnonzero(rows):
                detail = f"box {row}, class {raw.class_ids[row]}, {shown[row].tolist()} px"
                if raw.declared_size is None and np.abs(boxes[row]).max() > _PIXELS_FROM:
                    corners = ", ".join(f"{value:g}" for value in boxes[row])
                    detail = (
                        f"box {row}, class {raw.class_ids[row]}: corners [{corners}] are not in "
                        "0..1; pixels must be divided by the picture's width and height"
                    )
                verdict.dropped.append(Dropped(name, kind, detail))
    verdict.clipped = int((np.abs(clipped - boxes).max(axis=1) > _OVERHANG)[good].sum())
    verdict.labels = Labels(
        clipped[good], raw.class_ids[good].astype(np.int32), raw.difficult[good]
    )


def _no_labels() -> Labels:
    return Labels(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, np.bool_))
