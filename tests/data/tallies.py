"""Tallies of channels that were never on a disk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sagemaker_object_detection.data.dataset import Labels
from sagemaker_object_detection.data.judge import Dropped, Verdict
from sagemaker_object_detection.data.report import Checked
from sagemaker_object_detection.data.tally import Tally

Box = tuple[float, float, float, float]
MIDDLE: Box = (0.25, 0.25, 0.75, 0.75)


def verdict(
    boxes: Sequence[Box] = (MIDDLE,),
    class_ids: Sequence[int] | None = None,
    size: tuple[int, int] = (640, 480),
    digest: int = 0,
    dropped: Sequence[Dropped] = (),
    clipped: int = 0,
) -> Verdict:
    """A picture that passed; `dropped` are boxes of it."""
    ids = [0] * len(boxes) if class_ids is None else class_ids
    labels = Labels(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(ids, np.int32),
        np.zeros(len(boxes), np.bool_),
    )
    return Verdict(
        labels, len(boxes) + len(dropped), clipped, list(dropped), size=size, digest=digest
    )


def lost(record: str, reason: str = "truncated", detail: str = "it was cut short") -> Verdict:
    """A picture that was dropped."""
    return Verdict(dropped=[Dropped(record, reason, detail)])


def refused(record: str, detail: str = "its class_id is 7") -> Verdict:
    """A record that refuses its channel."""
    return Verdict(fault=Dropped(record, "class_id", detail))


def checked(channel: str, verdicts: Sequence[Verdict], num_classes: int = 1) -> Checked:
    """A channel of these, whose records are called `<channel>/0.jpg` and so on."""
    tally = Tally(channel, num_classes)
    for one in verdicts:
        tally.add(one)
    return Checked(tally, lambda index: f"{channel}/{index}.jpg")
