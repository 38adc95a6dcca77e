"""Batches from a channel in Pipe mode, filled by threads as the records come.

A pass reads one FIFO. Its records are shuffled within a window, judged, decoded once and augmented.
What a batch holds depends on the stream, the seed and the epoch alone, not on time or threads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Set
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.data import pipe
from sagemaker_object_detection.data.augment import Augmentation
from sagemaker_object_detection.data.dataset import Labels
from sagemaker_object_detection.data.loader import (
    NO_OBJECTS,
    Batch,
    draws,
    empty_batch,
    pad_labels,
    put,
    training_view,
)
from sagemaker_object_detection.data.read_ahead import ReadAhead
from sagemaker_object_detection.data.sharding import WHOLE, Share
from sagemaker_object_detection.data.shuffle import ShuffleWindow
from sagemaker_object_detection.data.stream import Sample
from sagemaker_object_detection.data.stream_gate import Row, StreamGate, View
from sagemaker_object_detection.data.tally import Limits, Tally
from sagemaker_object_detection.images import resize_square

log = logging.getLogger(__name__)

BUFFER_BYTES = 256 * 2**20

_QUEUE_SHARE = 8
_BATCHES_HELD = 3


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
        declared_boxes: boxes of the fullest image, as label_width has it; more is a warning.
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
        declared_boxes: int = 1,
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
        self._declared_boxes = max(1, declared_boxes)
        self._warned = False
        self._window_bytes = buffer_bytes - buffer_bytes // _QUEUE_SHARE
        self._window = ShuffleWindow[Sample](self._window_bytes, draws(0, 0, 0))
        self._ahead = batches_ahead
        self._pass = 0
        self._reader = ReadAhead(
            path,
            epochs,
            buffer_bytes // _QUEUE_SHARE,
            share,
            stop,
            lambda: self._window.held,
            time_limit,
        )
        self._gate = StreamGate(
            path,
            channel,
            num_classes,
            limits,
            expected_records,
            threads,
            lambda: self._reader.interrupted,
        )

    @property
    def first_pass(self) -> Tally | None:
        """What the first pass added up to; it grows while that pass lasts."""
        return self._gate.first_pass

    @property
    def class_names(self) -> Mapping[int, Set[str]]:
        """Names that the records read so far give to a class id."""
        return self._gate.samples.class_names

    @property
    def buffered_bytes_peak(self) -> int:
        """Most bytes of encoded records that were held at a time."""
        return self._reader.peak

    def record_name(self, index: int) -> str:
        """What to call the record that the first pass counted as number `index`."""
        return self._gate.record_name(index)

    def name(self, record: int) -> str:
        """What to call a record of `Batch.records` in a message."""
        return self._gate.name(record)

    def close(self) -> None:
        """Stop the threads, whatever they wait for; records not yet begun are dropped."""
        self._reader.close()
        self._gate.close()

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

        def view(image: NDArray[Any], labels: Labels, position: int) -> View:
            random = draws(seed, epoch, position + 1)
            view = training_view(image, labels, self._side, augmentation, random)
            return View(*view, _size(image))

        window = self._window = ShuffleWindow[Sample](self._window_bytes, draws(seed, epoch, 0))
        ahead = max(1, self._ahead - _BATCHES_HELD + 1) * batch_size
        with (
            closing(self._next_pass()) as samples,
            closing(self._gate.rows(window(samples), view, ahead)) as rows,
        ):
            for number, group in enumerate(_groups(rows, batch_size)):
                if number >= first_batch:
                    yield self._batch(group, len(group))

    def evaluation_pass(self, batch_size: int) -> Iterator[Batch]:
        """Every record of the next FIFO once, in order, with its truth; the last batch is filled.

        Raises:
            ClientError and PlatformError as `training_epoch`.
        """

        def view(image: NDArray[Any], labels: Labels, position: int) -> View:
            pixels = resize_square(image, self._side)
            return View(pixels, labels.boxes, labels.class_ids, _size(image))

        with (
            closing(self._next_pass()) as samples,
            closing(self._gate.rows(samples, view, self._ahead * batch_size)) as rows,
        ):
            while group := list(islice(rows, batch_size)):
                truth = [row.labels for row in group]
                filling = [None] * (batch_size - len(group))
                yield replace(self._batch(group, batch_size), truth=(*truth, *filling))

    def _next_pass(self) -> Generator[Sample, None, None]:
        number, self._pass = self._pass, self._pass + 1
        return self._reader.samples(number)

    def _batch(self, rows: list[Row], size: int) -> Batch:
        records = np.full(size, -1, dtype=np.int64)
        records[: len(rows)] = [row.position for row in rows]
        self._compare_width()
        batch = empty_batch(records, self._side)
        for index, row in enumerate(rows):
            put(batch, index, row.view.pixels)
            batch.sizes[index] = row.view.size
        objects = [(row.view.boxes, row.view.class_ids) for row in rows]
        objects += [NO_OBJECTS] * (size - len(rows))
        return replace(batch, labels=pad_labels(objects))

    def _compare_width(self) -> None:
        """Warn once when an image has more boxes than label_width has room for.

        Those of its label count, as in File mode: a view may show fewer.
        """
        tally = self.first_pass
        if self._warned or tally is None or tally.declared_boxes_max <= self._declared_boxes:
            return
        self._warned = True
        log.warning(
            "Channel '%s': an image has %d boxes, label_width has room for %d. Nothing is "
            "lost, but the service's own algorithm would fail. Set label_width to %d or more.",
            self._channel,
            tally.declared_boxes_max,
            self._declared_boxes,
            tally.label_width,
        )


def _size(image: NDArray[Any]) -> tuple[int, int]:
    return image.shape[1], image.shape[0]


def _groups(rows: Iterable[Row], batch_size: int) -> Iterator[list[Row]]:
    """Rows for each batch, the last near equal, so that none is too small for BatchNorm."""
    held: list[Row] = []
    for row in rows:
        held.append(row)
        if len(held) == _BATCHES_HELD * batch_size:
            yield held[:batch_size]
            del held[:batch_size]
    count = -(-len(held) // batch_size)
    while held:
        size = -(-len(held) // count)
        yield held[:size]
        del held[:size]
        count -= 1
