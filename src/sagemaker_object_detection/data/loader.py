"""Batches for training and evaluation, filled by threads ahead of the step.

OpenCV releases the GIL, so threads of one process use all cores and nothing is copied between
processes. Every draw is a function of (seed, epoch, record): a run is the same whatever the number
of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.data.augment import Augmentation
from sagemaker_object_detection.data.dataset import Dataset, Labels
from sagemaker_object_detection.data.sharding import WHOLE, Share
from sagemaker_object_detection.images import ImageError, decode, resize_square
from sagemaker_object_detection.platform.errors import ClientError, naming


@dataclass(frozen=True)
class Batch:
    """One step's data.

    Attributes:
        images: uint8 (B, 3, S, S), RGB.
        labels: float32 (B, M, 5), rows [class_id, xmin, ymin, xmax, ymax] in 0..1, padded with -1;
            see `pad_labels`.
        records: int64 (B,), positions in the data set; -1 for a row that only fills the batch.
        sizes: int32 (B, 2), width and height in pixels of each picture as it is stored; 0 in a row
            that only fills the batch.
        truth: labels of each row, None where it only fills the batch; for evaluation, else empty.
    """

    images: NDArray[Any]
    labels: NDArray[Any]
    records: NDArray[Any]
    sizes: NDArray[Any]
    truth: tuple[Labels | None, ...] = ()


Objects = tuple[NDArray[Any], NDArray[Any]]
"""What a view shows: boxes (n, 4) in 0..1 and class ids (n,)."""
View = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""Pixels (side, side, 3) to train on, and its objects: boxes and class ids."""
NO_OBJECTS: Objects = (np.zeros((0, 4), np.float32), np.zeros(0, np.int32))


def draws(seed: int, epoch: int, stream: int) -> np.random.Generator:
    """Random numbers of one stream of an epoch: 0 is the order's, record i has i + 1.

    The stream counts in the counter's second word. The generator counts its steps in the first, so
    that neighbours there would draw the same numbers a few steps apart.
    """
    return np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[0, stream, 0, 0]))


def plan_epoch(
    num_records: int,
    batch_size: int,
    seed: int,
    epoch: int,
    share: Share = WHOLE,
    batches: int | None = None,
) -> list[NDArray[Any]]:
    """Which records make which batch: each exactly once, in a new order each epoch.

    Batches differ by one record at most, so that no epoch ends on a batch too small for
    BatchNorm; none is larger than batch_size.

    Args:
        batch_size: of all shares together.
        share: of every batch; so what is trained together does not depend on the number of shares.
        batches: to make, where it is more than these records need.
    """
    order = draws(seed, epoch, 0).permutation(num_records)
    count = max(-(-num_records // batch_size), batches or 0)
    return [batch[share.of(len(batch))] for batch in np.array_split(order, count)]


class Loader:
    """Reads one data set into batches.

    Args:
        dataset: records that passed the gate.
        image_shape: side S of the square images.
        threads: decoding threads.
        share: the records that this process reads.
        batches_ahead: batches that may wait, decoded, for the step.
        shared_by: machines whose batches of training are made of these records together.
        batches: of an epoch at least; where other machines have more records, some are empty.
    """

    def __init__(
        self,
        dataset: Dataset,
        image_shape: int,
        threads: int,
        share: Share = WHOLE,
        batches_ahead: int = 3,
        shared_by: int = 1,
        batches: int | None = None,
    ) -> None:
        cv2.setNumThreads(0)
        self._dataset = dataset
        self._shared_by = shared_by
        self._batches = batches
        self._side = image_shape
        self._share = share
        self._ahead = batches_ahead
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
        """Every record once, shuffled and, where asked for, augmented.

        Args:
            batch_size: of one machine. A batch has this process's share of it, which can be empty.
        """

        def fill(batch: Batch, row: int) -> Objects:
            record = int(batch.records[row])
            image = self._picture(batch, row)
            random = draws(seed, epoch, record + 1)
            labels = self._dataset.labels(record)
            view, boxes, class_ids = training_view(image, labels, self._side, augmentation, random)
            put(batch, row, view)
            return boxes, class_ids

        size = batch_size * self._shared_by
        plan = plan_epoch(len(self._dataset), size, seed, epoch, self._share, self._batches)
        return self._run(plan[first_batch:], fill)

    def evaluation_pass(self, batch_size: int, whole: bool = False) -> Iterator[Batch]:
        """Every record of the share, or of the whole, once, in order, resized bilinearly; the last
        batch is filled with zeros.
        """

        def fill(batch: Batch, row: int) -> Objects:
            record = int(batch.records[row])
            if record < 0:
                return NO_OBJECTS
            put(batch, row, resize_square(self._picture(batch, row), self._side))
            return self._dataset.labels(record)[:2]

        share = WHOLE if whole else self._share
        records = np.arange(len(self._dataset))[share.of(len(self._dataset))]
        padded = np.full(-(-len(records) // batch_size) * batch_size, -1, dtype=np.int64)
        padded[: len(records)] = records
        return self._run(list(padded.reshape(-1, batch_size)), fill, with_truth=True)

    def name(self, record: int) -> str:
        """What to call a record of `Batch.records` in a message."""
        return self._dataset.name(record)

    def image(self, record: int) -> bytes:
        """The encoded picture of a record of `Batch.records`."""
        return self._dataset.image(record)

    def _picture(self, batch: Batch, row: int) -> NDArray[Any]:
        """The decoded picture of one row; its size goes into the batch."""
        record = int(batch.records[row])
        name = self._dataset.name(record)
        try:
            with naming(name):
                data = self._dataset.image(record)
            picture = decode(data, name)
        except (ImageError, FileNotFoundError) as error:
            raise ClientError(
                f"{name} was sound when the channel was checked, and is not any more ({error}). "
                "Leave the channel's files alone while training runs."
            ) from error
        batch.sizes[row] = picture.shape[1], picture.shape[0]
        return picture

    def _run(
        self,
        plan: list[NDArray[Any]],
        fill: Callable[[Batch, int], Objects],
        with_truth: bool = False,
    ) -> Iterator[Batch]:
        waiting: deque[tuple[Batch, list[Future[Objects]]]] = deque()

        def begin(records: NDArray[Any]) -> None:
            batch = empty_batch(records, self._side)
            if with_truth:
                truth = tuple(self._dataset.labels(r) if r >= 0 else None for r in records)
                batch = replace(batch, truth=truth)
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


def empty_batch(records: NDArray[Any], side: int) -> Batch:
    """A batch for these records with black images and no labels yet."""
    return Batch(
        images=np.zeros((len(records), 3, side, side), dtype=np.uint8),
        labels=pad_labels([NO_OBJECTS] * len(records)),
        records=records,
        sizes=np.zeros((len(records), 2), dtype=np.int32),
    )


def training_view(
    image: NDArray[Any],
    labels: Labels,
    side: int,
    augmentation: Augmentation | None,
    random: np.random.Generator,
) -> View:
    """A square view of a record for training."""
    if augmentation is None:
        return resize_square(image, side), labels.boxes, labels.class_ids
    view, boxes, kept = augmentation(image, labels.boxes, side, random)
    return view, boxes, labels.class_ids[kept]


def _finished(batch: Batch, futures: list[Future[Objects]]) -> Batch:
    return replace(batch, labels=pad_labels([future.result() for future in futures]))


def put(batch: Batch, row: int, view: NDArray[Any]) -> None:
    """Write a view into one row of a batch; any thread, one row each."""
    cv2.split(view, list(batch.images[row]))


def pad_labels(objects: Sequence[Objects]) -> NDArray[Any]:
    """The labels of a batch, float32 (B, M, 5): M fits its fullest image, see `label_rows`."""
    most = max((len(boxes) for boxes, _ in objects), default=0)
    labels = np.full((len(objects), label_rows(most), 5), -1, dtype=np.float32)
    for rows, (boxes, class_ids) in zip(labels, objects, strict=True):
        rows[: len(boxes), 0] = class_ids
        rows[: len(boxes), 1:] = boxes
    return labels


def label_rows(boxes: int) -> int:
    """Rows of a batch's labels: 8, 16, 32 and so on, as each new shape costs an allocation."""
    return 8 << ((max(boxes, 1) - 1) // 8).bit_length()


def far_fullest(offsets: NDArray[Any]) -> tuple[int, int, int] | None:
    """An image with so many boxes that the batches with it take more memory than all others.

    Args:
        offsets: (images + 1,), image i owns the boxes offsets[i]:offsets[i + 1].

    Returns:
        its index, its boxes, and how many 99 % of the other images have at most; None where no
        image has more than 100 boxes and 8 times as many as those.
    """
    counts = np.diff(offsets)
    if len(counts) < 2:
        return None
    fullest = int(counts.argmax())
    usual = int(np.percentile(np.delete(counts, fullest), 99, method="higher"))
    most = int(counts[fullest])
    return (fullest, most, usual) if most > max(100, 8 * usual) else None
