"""What a detector found on a data set, beside what is there: the material of every score.

Everything is in columns, image after image, so that a score is a few operations on long arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.data.dataset import Labels


@dataclass(frozen=True)
class Results:
    """Detections and boxes of I images.

    Attributes:
        records: int64 (I,), positions in the data set, see Loader.name.
        sizes: int32 (I, 2), width and height of each picture in pixels.
        detections: float32 (D, 6), rows [class_id, score, xmin, ymin, xmax, ymax] in 0..1, those of
            an image best first; suppressed rows are left out.
        detection_offsets: int64 (I + 1,), image i has detections[offsets[i]:offsets[i + 1]].
        boxes: float32 (T, 4), xyxy in 0..1: the truth.
        class_ids: int32 (T,). difficult: bool (T,).
        box_offsets: int64 (I + 1,).
    """

    records: NDArray[Any]
    sizes: NDArray[Any]
    detections: NDArray[Any]
    detection_offsets: NDArray[Any]
    boxes: NDArray[Any]
    class_ids: NDArray[Any]
    difficult: NDArray[Any]
    box_offsets: NDArray[Any]

    def __len__(self) -> int:
        return len(self.records)

    @property
    def detection_images(self) -> NDArray[Any]:
        """int64 (D,): which image each detection is of."""
        return np.repeat(np.arange(len(self)), np.diff(self.detection_offsets))

    @property
    def box_images(self) -> NDArray[Any]:
        """int64 (T,): which image each box is of."""
        return np.repeat(np.arange(len(self)), np.diff(self.box_offsets))

    def found(self, image: int) -> NDArray[Any]:
        """Detections (d, 6) of one image, best first."""
        span = slice(self.detection_offsets[image], self.detection_offsets[image + 1])
        return self.detections[span]

    def labels(self, image: int) -> Labels:
        """What is in one image."""
        span = slice(self.box_offsets[image], self.box_offsets[image + 1])
        return Labels(self.boxes[span], self.class_ids[span], self.difficult[span])

    def only(self, chosen: NDArray[Any]) -> Results:
        """Of the images where bool (I,) `chosen` is true."""
        builder = ResultsBuilder()
        for image in np.flatnonzero(chosen):
            builder.add(
                int(self.records[image]), self.sizes[image], self.found(image), self.labels(image)
            )
        return builder.build()


class ResultsBuilder:
    """Collects images one by one."""

    def __init__(self) -> None:
        self._records: list[int] = []
        self._sizes: list[NDArray[Any]] = []
        self._detections: list[NDArray[Any]] = []
        self._labels: list[Labels] = []

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: int, size: NDArray[Any], rows: NDArray[Any], labels: Labels) -> None:
        """One image.

        Args:
            size: (2,), width and height in pixels.
            rows: (N, 6) as an engine gives them; class_id below 0 in suppressed ones.
        """
        kept = rows[rows[:, 0] >= 0]
        self._detections.append(kept[np.argsort(-kept[:, 1], kind="stable")])
        self._records.append(record)
        self._sizes.append(size)
        self._labels.append(labels)

    def build(self) -> Results:
        """All images added so far."""
        labels = self._labels
        return Results(
            records=np.array(self._records, np.int64),
            sizes=np.array(self._sizes, np.int32).reshape(-1, 2),
            detections=np.concatenate([np.zeros((0, 6), np.float32), *self._detections]),
            detection_offsets=_offsets([len(rows) for rows in self._detections]),
            boxes=np.concatenate([np.zeros((0, 4), np.float32), *(x.boxes for x in labels)]),
            class_ids=np.concatenate([np.zeros(0, np.int32), *(x.class_ids for x in labels)]),
            difficult=np.concatenate([np.zeros(0, bool), *(x.difficult for x in labels)]),
            box_offsets=_offsets([len(x.boxes) for x in labels]),
        )


def _offsets(counts: list[int]) -> NDArray[Any]:
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
