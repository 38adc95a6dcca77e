"""Records out of what the forms of input hold: an im2rec payload, or an image and annotation."""

from __future__ import annotations

import numpy as np

from sagemaker_object_detection.data.annotations import Annotation
from sagemaker_object_detection.data.dataset import RawRecord
from sagemaker_object_detection.data.labels import parse_label
from sagemaker_object_detection.data.recordio import unpack


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
