"""Batches for training and evaluation, filled by threads ahead of the step.

OpenCV releases the GIL, so threads of one process use all cores and nothing is copied between
processes. Every draw is a function of (seed, epoch, record): a run is the same whatever the number
of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.data.augment import Augmentation
from sagemaker_object_detection.data.dataset import Dataset
from sagemaker_object_detection.images import decode, resize_square


@dataclass(frozen=True)
class Batch:
    """One step's data.

    Attributes:
        images: uint8 (B, 3, S, S), RGB.
        labels: float32 (B, M, 5), rows [class_id, xmin, ymin, xmax, ymax] in 0..1, padded with -1.
        records: int64 (B,), positions in the data set; -1 for a row that only fills the batch.
    """

    images: NDArray[Any]
    labels: NDArray[Any]
    records: NDArray[Any]


def draws(seed: int, epoch: int, stream: int) -> np.random.Generator:
    """Random numbers of one stream of an epoch: 0 is the order's, record i has i + 1.

    The stream counts in the counter's second word. The generator counts its steps in the first, so
    that neighbours there would draw the same numbers a few steps apart.
    """
    return np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[0, stream, 0, 0]))


def plan_epoch(num_records: int, batch_size: int, seed: int, epoch: int) -> list[NDArray[Any]]:
    """Which records make which batch: each exactly once, in a new order each epoch.

    Batches differ by one record at most, so that no epoch ends on a batch too small for
    BatchNorm; none is larger than batch_size.
    """
    order = draws(seed, epoch, 0).permutation(num_records)
    return np.array_split(order, -(-num_records // batch_size))


class Loader:
    """Reads one data set into batches.

    Args:
        dataset: records that passed the gate.
        image_shape: side S of the square images.
        threads: decoding threads.
        batches_ahead: batches that may wait, decoded, for the step.
    """

    def __init__(
        self, dataset: Dataset, image_shape: int, threads: int, batches_ahead: int = 3
    ) -> None:
        cv2.setNumThreads(0)
        self._dataset = dataset
        self._side = image_shape
        self._ahead = batches_ahead
        self._label_rows = max(1, dataset.max_boxes)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="loader")

    def close(self) -> None:
        """Stop the threads; batches not yet begun are dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def training_epoch(
        self,
        batch_size: int,
        seed: int,
        epoch: int,
        augmentation: Augmentation | None,
        first_batch: int = 0,
    ) -> Iterator[Batch]:
        """Every record once, shuffled and, where asked for, augmented."""

        def fill(batch: Batch, row: int) -> None:
            record = int(batch.records[row])
            image, boxes, class_ids = self._read(record)
            if augmentation is None:
                view = resize_square(image, self._side)
            else:
                random = draws(seed, epoch, record + 1)
                view, boxes, kept = augmentation(image, boxes, self._side, random)
                class_ids = class_ids[kept]
            _put(batch, row, view, boxes, class_ids)

        plan = plan_epoch(len(self._dataset), batch_size, seed, epoch)[first_batch:]
        return self._run(plan, fill)

    def evaluation_pass(self, batch_size: int) -> Iterator[Batch]:
        """Every record once, in order, resized bilinearly; the last batch is filled with zeros."""

        def fill(batch: Batch, row: int) -> None:
            record = int(batch.records[row])
            if record < 0:
                return
            image, boxes, class_ids = self._read(record)
            _put(batch, row, resize_square(image, self._side), boxes, class_ids)

        count = len(self._dataset)
        padded = np.full(-(-count // batch_size) * batch_size, -1, dtype=np.int64)
        padded[:count] = np.arange(count)
        return self._run(list(padded.reshape(-1, batch_size)), fill)

    def _read(self, record: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """The decoded picture, boxes and class ids of one record."""
        image = decode(self._dataset.image(record), self._dataset.name(record))
        boxes, class_ids, _ = self._dataset.labels(record)
        return image, boxes, class_ids

    def _run(self, plan: list[NDArray[Any]], fill: Callable[[Batch, int], None]) -> Iterator[Batch]:
        waiting: deque[tuple[Batch, list[Future[None]]]] = deque()

        def begin(records: NDArray[Any]) -> None:
            batch = Batch(
                images=np.zeros((len(records), 3, self._side, self._side), dtype=np.uint8),
                labels=np.full((len(records), self._label_rows, 5), -1, dtype=np.float32),
                records=records,
            )
            rows = range(len(records))
            waiting.append((batch, [self._pool.submit(fill, batch, row) for row in rows]))

        try:
            for records in plan:
                begin(records)
                if len(waiting) > self._ahead:
                    yield _finished(*waiting.popleft())
            while waiting:
                yield _finished(*waiting.popleft())
        finally:
            for _, futures in waiting:
                for future in futures:
                    future.cancel()


def _finished(batch: Batch, futures: list[Future[None]]) -> Batch:
    for future in futures:
        future.result()
    return batch


def _put(
    batch: Batch, row: int, view: NDArray[Any], boxes: NDArray[Any], class_ids: NDArray[Any]
) -> None:
    cv2.split(view, list(batch.images[row]))
    batch.labels[row, : len(boxes), 0] = class_ids
    batch.labels[row, : len(boxes), 1:] = boxes
