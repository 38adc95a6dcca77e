"""What the verdicts of a channel add up to: for the gate, which sees all records before training,
and for a stream, which sees them as they come.

Numbers lie in flat arrays: a record takes some 24 bytes and 21 for each of its boxes.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.data.judge import Dropped, Verdict
from sagemaker_object_detection.data.reasons import BOX_REASONS
from sagemaker_object_detection.data.refusal import SHOWN_OFFENDERS, refusal
from sagemaker_object_detection.platform.errors import ClientError

EARLIEST_REFUSAL = 200
"""Records of a stream that must have come before it is refused for what was dropped of it."""
KEPT_ROWS = 10_000
"""Dropped records and boxes that are kept by name; of more only the first of each reason are."""


@dataclass(frozen=True)
class Limits:
    """Shares, in 0..1, of a channel's images and boxes that may be dropped."""

    images: float = 0.1
    boxes: float = 0.1


class Tally:
    """Verdicts of one channel, added in the order of its records.

    Attributes:
        channel: its name, for messages.
        records: verdicts added, images without annotation included.
        declared_boxes: boxes of the pictures that were not dropped, before boxes were.
        declared_boxes_max: of the fullest of them.
        clipped: boxes cut off at the picture's edge.
        dropped: the first KEPT_ROWS, by name, and beyond them the first few of each reason.
        dropped_counts: all, by reason.
        noted, noted_counts: the same of images that are odd and used all the same.
        faults: the first KEPT_ROWS records that refuse the channel; fault_count counts all.
    """

    def __init__(self, channel: str, num_classes: int, limits: Limits | None = None) -> None:
        self.channel = channel
        self.num_classes = num_classes
        self.limits = limits or Limits()
        self.records = 0
        self.declared_boxes = 0
        self.declared_boxes_max = 0
        self.clipped = 0
        self.dropped: list[Dropped] = []
        self.dropped_counts: Counter[str] = Counter()
        self.noted: list[Dropped] = []
        self.noted_counts: Counter[str] = Counter()
        self.faults: list[Dropped] = []
        self.fault_count = 0
        self._dropped_images = 0
        self._indices = array("i")
        self._ends = array("i")
        self._ends.append(0)
        self._boxes = array("f")
        self._class_ids = array("i")
        self._difficult = array("b")
        self._sizes = array("i")
        self._digests = array("Q")

    def add(self, verdict: Verdict) -> None:
        """Count the verdict on the next record."""
        index = self.records
        self.records += 1
        if verdict.fault is not None:
            self.fault_count += 1
            if len(self.faults) < KEPT_ROWS:
                self.faults.append(verdict.fault)
            return
        _keep(verdict.dropped, self.dropped, self.dropped_counts)
        _keep(verdict.noted, self.noted, self.noted_counts)
        if verdict.labels is None:
            self._dropped_images += 1
            return
        assert verdict.size is not None
        self.declared_boxes += verdict.declared_boxes
        self.declared_boxes_max = max(self.declared_boxes_max, verdict.declared_boxes)
        self.clipped += verdict.clipped
        labels = verdict.labels
        self._indices.append(index)
        if len(labels.boxes):
            self._boxes.frombytes(labels.boxes.astype(np.float32).tobytes())
            self._class_ids.frombytes(labels.class_ids.astype(np.int32).tobytes())
            self._difficult.frombytes(labels.difficult.tobytes())
        self._ends.append(len(self._class_ids))
        self._sizes.append(verdict.size[0])
        self._sizes.append(verdict.size[1])
        self._digests.append(verdict.digest)

    def add_unannotated(self, names: Iterable[str]) -> None:
        """Count images that the source left out, once all its records were added."""
        rows = [Dropped(n, "no_annotation", "nothing annotates this image") for n in names]
        self.records += len(rows)
        self._dropped_images += len(rows)
        _keep(rows, self.dropped, self.dropped_counts)

    @property
    def images(self) -> int:
        """Pictures that passed."""
        return len(self._indices)

    @property
    def boxes_kept(self) -> int:
        """Boxes that passed."""
        return len(self._class_ids)

    @property
    def indices(self) -> NDArray[Any]:
        """int32 (images,), the place of each passed record among all."""
        return np.array(self._indices)

    @property
    def offsets(self) -> NDArray[Any]:
        """int32 (images + 1,), picture i owns boxes[offsets[i]:offsets[i + 1]]."""
        return np.array(self._ends)

    @property
    def boxes(self) -> NDArray[Any]:
        """float32 (boxes_kept, 4), xyxy in 0..1."""
        return np.array(self._boxes).reshape(-1, 4)

    @property
    def class_ids(self) -> NDArray[Any]:
        """int32 (boxes_kept,)."""
        return np.array(self._class_ids)

    @property
    def difficult(self) -> NDArray[Any]:
        """bool (boxes_kept,)."""
        return np.array(self._difficult).view(np.bool_)

    @property
    def sizes(self) -> NDArray[Any]:
        """int32 (images, 2), width and height of the stored pictures."""
        return np.array(self._sizes).reshape(-1, 2)

    @property
    def digests(self) -> NDArray[Any]:
        """uint64 (images,), equal for pictures of equal bytes."""
        return np.array(self._digests)

    @property
    def boxes_per_class(self) -> NDArray[Any]:
        """int64 (num_classes,)."""
        return np.bincount(self.class_ids, minlength=self.num_classes)

    @property
    def images_without_boxes(self) -> int:
        """Pictures that passed and have no box left, or never had one."""
        return int((np.diff(self.offsets) == 0).sum())

    @property
    def label_width(self) -> int:
        """Numbers that the fullest picture's label has in RecordIO of object_width 5."""
        return 2 + 5 * self.declared_boxes_max

    def refuse(self) -> None:
        """Raises ClientError when the channel, now complete, cannot be trained on."""
        self.refuse_faults()
        self.refuse_shares()
        self.refuse_empty()
        if self.channel == "train" and not self.boxes_kept:
            raise ClientError(
                f"The channel 'train' has {self.images} images and not one box: there is nothing "
                "to learn. Check that its annotations are the right ones."
            )

    def refuse_faults(self) -> None:
        """Raises ClientError, which lists up to ten offenders, when a record is refused."""
        if self.faults:
            what = f"The channel '{self.channel}' has records that cannot be used"
            raise refusal(what, [fault.detail for fault in self.faults], self.fault_count)

    def refuse_shares(self) -> None:
        """Raises ClientError when more images or boxes were dropped than the limits allow."""
        boxes = self.declared_boxes - self.boxes_kept
        self._refuse_share("images", self._dropped_images, self.records, self.limits.images)
        self._refuse_share("boxes", boxes, self.declared_boxes, self.limits.boxes)

    def refuse_early(self, expected_records: int) -> None:
        """Raises ClientError when the rest of a stream cannot bring the shares under the limits.

        Args:
            expected_records: records that will come in all, as far as it is known. Of a number
                that is too small nothing is concluded before EARLIEST_REFUSAL records were seen.
        """
        if not self.records:
            return
        growth = max(1.0, max(expected_records, EARLIEST_REFUSAL) / self.records)
        boxes = self.declared_boxes - self.boxes_kept
        if self._dropped_images > self.limits.images * self.records * growth or (
            boxes > self.limits.boxes * self.declared_boxes * growth
        ):
            self.refuse_shares()

    def refuse_empty(self) -> None:
        """Raises ClientError when no record is left."""
        if not self.images:
            raise ClientError(
                f"The channel '{self.channel}' holds no usable image: {self.records} records were "
                "read. Check that the channel's data is the right one."
            )

    def _refuse_share(self, what: str, dropped: int, total: int, limit: float) -> None:
        if dropped <= limit * total:
            return
        of_boxes = what == "boxes"
        reasons = Counter(
            {r: n for r, n in self.dropped_counts.items() if (r in BOX_REASONS) == of_boxes}
        )
        counts = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
        examples = [
            f"{d.record}: {d.reason}, {d.detail}"
            for d in self.dropped
            if (d.reason in BOX_REASONS) == of_boxes
        ]
        raise refusal(
            f"{dropped} of {total} {what} of the channel '{self.channel}' cannot be used, more "
            f"than {100 * limit:g}% ({counts}). Fix or remove them, or allow more with the "
            f"hyperparameter max_dropped_{what} (--max-dropped-{what} of a command). They are",
            examples,
            reasons.total(),
        )


def _keep(rows: Iterable[Dropped], kept: list[Dropped], counts: Counter[str]) -> None:
    for row in rows:
        counts[row.reason] += 1
        first = counts[row.reason] <= SHOWN_OFFENDERS  # what a refusal shows
        if first or len(kept) < KEPT_ROWS:
            kept.append(row)


def refusals(tallies: Iterable[Tally]) -> list[str]:
    """Why channels, now complete, cannot be trained on: one text for each of them at most."""
    texts: list[str] = []
    for tally in tallies:
        try:
            tally.refuse()
        except ClientError as error:
            texts.extend(error.faults)
    return texts
