"""Batches from a channel in Pipe mode: the gate and the loader in one, as the records come.

A pass reads one FIFO. Its records are shuffled within a window, judged, decoded once and augmented
by threads. What a batch holds depends on the stream, the seed and the epoch alone.
"""

from __future__ import annotations

import logging
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.data import pipe
from sagemaker_object_detection.data.augment import Augmentation
from sagemaker_object_detection.data.dataset import Labels
from sagemaker_object_detection.data.judge import Verdict, judge
from sagemaker_object_detection.data.loader import Batch, draws, empty_batch, put, training_view
from sagemaker_object_detection.data.read_ahead import ReadAhead
from sagemaker_object_detection.data.sharding import WHOLE, Share
from sagemaker_object_detection.data.shuffle import ShuffleWindow
from sagemaker_object_detection.data.stream import Sample, SampleReader
from sagemaker_object_detection.data.tally import Limits, Tally
from sagemaker_object_detection.images import resize_square

log = logging.getLogger(__name__)

BUFFER_BYTES = 256 * 2**20

_QUEUE_SHARE = 8
_BATCHES_HELD = 3

View = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
"""Pixels (side, side, 3), boxes (n, 4) and class ids (n,)."""


class _Row(NamedTuple):
    position: int
    verdict: Verdict
    view: View | None


class StreamLoader:
    """Reads one channel's FIFOs into batches, with the methods of `loader.Loader`.

    Args:
        path: of the FIFOs, without their number.
        channel: its name, for messages.
        image_shape: side S of the square images.
        threads: decoding threads.
        num_classes: class ids must be in 0..num_classes-1.
        epochs: FIFOs that are read at most, one for each pass.
        expected_records: records of a pass, as far as known; 0 where it is not.
        label_rows: rows that labels have at least.
        limits: shares that may be dropped.
        buffer_bytes: encoded records that are held at most: an eighth as they come, the rest to be
            shuffled. A single record larger than the eighth is held on top.
        share: which records of the stream are this loader's.
        stop: asked all the time; once it says so, a pass ends where it is, without an error.
        batches_ahead: batches that may wait, decoded, for the step; at least 3.
        time_limit: seconds to wait for a FIFO or for its next byte.
    """

    def __init__(
        self,
        path: Path,
        channel: str,
        image_shape: int,
        threads: int,
        num_classes: int,
        *,
        epochs: int,
        expected_records: int = 0,
        label_rows: int = 1,
        limits: Limits | None = None,
        buffer_bytes: int = BUFFER_BYTES,
        share: Share = WHOLE,
        stop: Callable[[], bool] = lambda: False,
        batches_ahead: int = 3,
        time_limit: float = pipe.TIME_LIMIT,
    ) -> None:
        cv2.setNumThreads(0)
        self._channel = channel
        self._side = image_shape
        self._num_classes = num_classes
        self._expected = expected_records
        self._label_rows = max(1, label_rows)
        self._declared_rows = self._label_rows
        self._limits = limits
        self._window_bytes = buffer_bytes - buffer_bytes // _QUEUE_SHARE
        self._in_flight = max(1, batches_ahead - _BATCHES_HELD + 1)
        self._window: ShuffleWindow[Sample] | None = None
        self._samples = SampleReader()
        self._pass = 0
        self.first_pass: Tally | None = None
        """What the first pass added up to; it grows while that pass lasts."""
        self._first_fifo = pipe.fifo(path, 0)
        self._first_order = array("q")
        self._unit = "record"
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"stream-{channel}")
        self._ahead = ReadAhead(
            path,
            epochs,
            buffer_bytes // _QUEUE_SHARE,
            share,
            stop,
            lambda: self._window.held if self._window is not None else 0,
            time_limit,
        )

    @property
    def class_names(self) -> dict[int, set[str]]:
        """Names that the records read so far give to a class id."""
        return {class_id: set(names) for class_id, names in self._samples.class_names.items()}

    def record_name(self, index: int) -> str:
        """What to call the record that the first pass counted as number `index`."""
        return f"{self._first_fifo}, {self._unit} {self._first_order[index]}"

    @property
    def buffered_bytes_peak(self) -> int:
        """Most bytes of encoded records that were held at a time."""
        return self._ahead.peak

    def close(self) -> None:
        """Stop the threads, whatever they wait for; records not yet begun are dropped."""
        self._ahead.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def training_epoch(
        self,
        batch_size: int,
        seed: int,
        epoch: int,
        augmentation: Augmentation | None,
        first_batch: int = 0,
    ) -> Iterator[Batch]:
        """Every record of the next FIFO once, shuffled within the window and augmented.

        Batches are full but for the last three, which differ by one record at most. Which FIFO it
        is does not depend on `epoch`: a job that resumes is given them from 0 again.

        Raises:
            ClientError: as the gate does, and for a broken stream; PlatformError for a silent one.
        """

        def view(verdict: Verdict, position: int) -> View:
            random = draws(seed, epoch, position + 1)
            image, labels = _passed(verdict)
            return training_view(image, labels, self._side, augmentation, random)

        window = ShuffleWindow[Sample](self._window_bytes, draws(seed, epoch, 0))
        self._window = window
        with closing(self._rows(window, view, self._in_flight * batch_size)) as rows:
            for number, group in enumerate(_groups(rows, batch_size)):
                if number >= first_batch:
                    yield self._batch(group)

    def evaluation_pass(self, batch_size: int) -> Iterator[Batch]:
        """Every record of the next FIFO once, in order, with its truth; the last batch is filled.

        Raises:
            ClientError and PlatformError as `training_epoch`.
        """

        def view(verdict: Verdict, position: int) -> View:
            image, labels = _passed(verdict)
            return resize_square(image, self._side), labels.boxes, labels.class_ids

        with closing(self._rows(iter, view, _BATCHES_HELD * batch_size)) as rows:
            while group := list(islice(rows, batch_size)):
                batch = self._batch(group, batch_size)
                truth = [row.verdict.labels for row in group]
                truth += [None] * (batch_size - len(group))
                yield replace(batch, truth=tuple(truth))

    def _rows(
        self,
        order: Callable[[Iterable[Sample]], Iterable[Sample]],
        view: Callable[[Verdict, int], View],
        in_flight: int,
    ) -> Generator[_Row, None, None]:
        """What passed of the next FIFO, in the order given; so many are worked on ahead."""

        def work(sample: Sample) -> _Row:
            verdict = judge(
                sample.name, lambda: self._samples.parse(sample), self._num_classes, True
            )
            made = None if verdict.labels is None else view(verdict, sample.position)
            verdict.image = None
            return _Row(sample.position, verdict, made)

        tally = Tally(self._channel, self._num_classes, self._limits)
        if self.first_pass is None:
            self.first_pass = tally
        number, self._pass = self._pass, self._pass + 1
        waiting: deque[Future[_Row]] = deque()
        try:
            with closing(self._ahead.samples(number)) as samples:
                for sample in order(samples):
                    if self._ahead.interrupted:
                        return
                    self._unit = sample.unit
                    waiting.append(self._pool.submit(work, sample))
                    if len(waiting) > in_flight:
                        yield from self._counted(waiting, tally)
            while waiting and not self._ahead.interrupted:
                yield from self._counted(waiting, tally)
            if not self._ahead.interrupted:
                tally.refuse_shares()
                tally.refuse_empty()
        finally:
            for future in waiting:
                future.cancel()

    def _counted(self, waiting: deque[Future[_Row]], tally: Tally) -> Iterator[_Row]:
        """The first of the rows, unless it was dropped; raises ClientError as the gate does."""
        row = waiting.popleft().result()
        self._count(row, tally)
        if row.verdict.fault is not None:
            for future in waiting:
                self._count(future.result(), tally)
            tally.refuse_faults()
        if row.verdict.image_dropped and self._expected:
            tally.refuse_shares(self._expected)
        if row.view is not None:
            yield row

    def _count(self, row: _Row, tally: Tally) -> None:
        tally.add(row.verdict)
        if tally is self.first_pass:
            self._first_order.append(row.position)

    def _batch(self, rows: list[_Row], size: int = 0) -> Batch:
        records = np.full(max(size, len(rows)), -1, dtype=np.int64)
        records[: len(rows)] = [row.position for row in rows]
        views = [row.view for row in rows if row.view is not None]
        self._make_room(max(len(boxes) for _, boxes, _ in views))
        batch = empty_batch(records, self._side, self._label_rows)
        for index, made in enumerate(views):
            put(batch, index, *made)
        return batch

    def _make_room(self, boxes: int) -> None:
        """Doubles the rows of labels, so that their number seldom changes."""
        if boxes <= self._label_rows:
            return
        if self._label_rows == self._declared_rows:
            log.warning(
                "Channel '%s': an image has %d boxes, label_width makes room for %d. Nothing is "
                "lost: the labels get more rows. Set label_width to %d or more.",
                self._channel,
                boxes,
                self._declared_rows,
                2 + 5 * boxes,
            )
        while self._label_rows < boxes:
            self._label_rows *= 2


def _passed(verdict: Verdict) -> tuple[NDArray[Any], Labels]:
    assert verdict.image is not None
    assert verdict.labels is not None
    return verdict.image, verdict.labels


def _groups(rows: Iterable[_Row], batch_size: int) -> Iterator[list[_Row]]:
    """Rows for each batch, the last near equal, so that none is too small for BatchNorm."""
    held: list[_Row] = []
    for row in rows:
        held.append(row)
        if len(held) == _BATCHES_HELD * batch_size:
            yield held[:batch_size]
            del held[:batch_size]
    count = -(-len(held) // batch_size)
    for part in range(count):
        yield held[len(held) * part // count : len(held) * (part + 1) // count]
