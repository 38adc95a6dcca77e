"""Batches from a channel in Pipe mode, filled by threads as the records come.

A pass reads one FIFO. Its records are shuffled within a window, checked and augmented. What a batch
holds depends on the stream, the seed and the epoch alone, not on time or threads.
"""

from __future__ import annotations

import logging
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.data import annotations as notes
from sagemaker_object_detection.data import loader
from sagemaker_object_detection.data.augment import Augmentation
from sagemaker_object_detection.data.class_names import AnnotatedNames, FoundNames
from sagemaker_object_detection.data.dataset import Labels, RawRecord
from sagemaker_object_detection.data.judge import Verdict, judge
from sagemaker_object_detection.data.labels import from_annotation, from_payload
from sagemaker_object_detection.data.pipe import ATTRIBUTES, TIME_LIMIT, ReadAhead, Sample, fifo
from sagemaker_object_detection.data.sharding import WHOLE, Share
from sagemaker_object_detection.data.tally import Limits, Tally
from sagemaker_object_detection.images import resize_square
from sagemaker_object_detection.platform.errors import ClientError

log = logging.getLogger(__name__)

_BATCHES_HELD = 3


def parse(sample: Sample, names: FoundNames) -> RawRecord:
    """The record of a sample; the class names that it holds are added to `names`.

    Raises ClientError for a label or annotation that cannot be understood.
    """
    image, *texts = sample.parts
    if not texts:
        return from_payload(image, sample.name)
    found: list[object] = []
    class_map: dict[int, str] = {}
    for text in texts:
        content = notes.load(text, sample.name)
        if isinstance(content, dict) and "annotations" in content:
            found.append(content)
        elif isinstance(content, dict) and "class-map" in content:
            class_map |= notes.class_map_names(content)
        else:
            raise ClientError(
                f"{sample.name}: holds the JSON {notes.shown(content)}, which is neither "
                f'an annotation (it has "annotations") nor its metadata (it has "class-map"). '
                f"{ATTRIBUTES}"
            )
    if len(found) != 1:
        raise ClientError(
            f"{sample.name}: {len(found)} of its attributes hold annotations, it must be one. "
            f"{ATTRIBUTES}"
        )
    annotation = notes.from_object(found[0], sample.name)
    listed = annotation.categories | class_map
    names.add(listed, annotation.class_ids.tolist(), sample.position, sample.name)
    return from_annotation(image, annotation)


class ShuffleWindow:
    """Gives the samples of a stream in another order, each exactly once.

    They are drawn at random from a window of `bound` bytes, or one larger sample. Until it is full
    two are read for each one given, then as many are given as it takes to make room for the next:
    the order depends on the stream and the generator alone, not on time.
    """

    def __init__(self, bound: int, random: np.random.Generator) -> None:
        self._bound, self._random = bound, random
        self._window: list[Sample] = []
        self.held = 0
        """Bytes in the window."""

    def __call__(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        try:
            for count, sample in enumerate(samples, 1):
                while self._window and self.held + sample.nbytes > self._bound:
                    yield self._draw()
                self._window.append(sample)
                self.held += sample.nbytes
                if count % 2 == 0:
                    yield self._draw()
            while self._window:
                yield self._draw()
        finally:
            self._window.clear()
            self.held = 0

    def _draw(self) -> Sample:
        window = self._window
        chosen = int(self._random.integers(len(window)))
        window[chosen], window[-1] = window[-1], window[chosen]
        sample = window.pop()
        self.held -= sample.nbytes
        return sample


class _Row(NamedTuple):
    """A checked sample: its position in the stream, and its view where it passed."""

    position: int
    verdict: Verdict
    view: loader.View | None


class StreamLoader:
    """Reads one channel's FIFOs into batches, with the methods of `loader.Loader`.

    Args:
        path: of the FIFOs, without their number; channel: its name, for messages.
        image_shape, threads, share: as `loader.Loader` has them.
        num_classes, limits: as `gate.pass_gate` has them.
        epochs: FIFOs that are read at most, one for each pass.
        expected_records: records of a pass, as far as known; 0 where it is not.
        declared_boxes: boxes of the fullest image, as label_width has it; more is a warning.
        buffer_bytes: encoded records that are held at most: an eighth as they come, the rest to be
            shuffled. A single record larger than the eighth is held on top.
        stop: asked all the time; once it says so, a pass ends where it is, without an error.
        batches_ahead: batches that may wait, decoded, for the step; at least 3.
        time_limit: as `pipe.records` has it.
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
        buffer_bytes: int = 2**28,
        share: Share = WHOLE,
        stop: Callable[[], bool] = lambda: False,
        batches_ahead: int = 3,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        cv2.setNumThreads(0)
        self._first_fifo, self._channel = fifo(path, 0), channel
        self._side, self._ahead = image_shape, batches_ahead
        self._expected, self._declared_boxes = expected_records, max(1, declared_boxes)
        self._new_tally = partial(Tally, channel, num_classes, limits)
        self._judge = partial(judge, num_classes=num_classes, keep_image=True)
        self._pass = 0
        self.first_pass: Tally | None = None
        """What the first pass added up to; it grows while that pass lasts."""
        self._first_order = array("q")  # positions, as they were counted
        self._unit = "record"
        self._names = FoundNames()
        queue_bytes = buffer_bytes // 8
        self._window_bytes = buffer_bytes - queue_bytes
        self._window = ShuffleWindow(self._window_bytes, loader.draws(0, 0, 0))
        self._reader = ReadAhead(
            path, epochs, queue_bytes, share, stop, lambda: self._window.held, time_limit
        )
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"stream-{channel}")

    @property
    def found_names(self) -> AnnotatedNames:
        """What the records read so far call their classes."""
        return self._names.so_far()

    @property
    def buffered_bytes_peak(self) -> int:
        """Most bytes of encoded records that were held at a time."""
        return self._reader.peak

    def record_name(self, index: int) -> str:
        """What to call the record that the first pass counted as number `index`."""
        return self.name(self._first_order[index])

    def name(self, record: int) -> str:
        """What to call a record of `Batch.records` in a message."""
        return f"{self._first_fifo}, {self._unit} {record}"

    def close(self) -> None:
        """Stop the threads, whatever they wait for; records not yet begun are dropped."""
        self._reader.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def training_epoch(
        self,
        batch_size: int,
        seed: int,
        epoch: int,
        augmentation: Augmentation | None,
        first_batch: int = 0,
    ) -> Iterator[loader.Batch]:
        """Every record of the next FIFO once, shuffled within the window and augmented.

        Batches are full but for the last three, which differ by one record at most. Which FIFO it
        is does not depend on `epoch`: a job that resumes is given them from 0 again.

        Raises ClientError for a broken stream and for what the data checks refuse (shares of
        dropped images as soon as the rest cannot change them), PlatformError for a silent stream.
        """

        def view(image: NDArray[Any], labels: Labels, position: int) -> loader.View:
            random = loader.draws(seed, epoch, position + 1)
            return loader.training_view(image, labels, self._side, augmentation, random)

        window = self._window = ShuffleWindow(self._window_bytes, loader.draws(seed, epoch, 0))
        ahead = max(1, self._ahead - _BATCHES_HELD + 1) * batch_size
        with closing(self._next_pass(window, view, ahead)) as rows:
            for number, group in enumerate(_groups(rows, batch_size)):
                if number >= first_batch:
                    yield self._batch(group, len(group))

    def evaluation_pass(self, batch_size: int) -> Iterator[loader.Batch]:
        """Every record of the next FIFO once, in order, with its truth; the last batch is full."""

        def view(image: NDArray[Any], labels: Labels, _: int) -> loader.View:
            return resize_square(image, self._side), labels.boxes, labels.class_ids

        with closing(self._next_pass(iter, view, self._ahead * batch_size)) as rows:
            while group := list(islice(rows, batch_size)):
                truth = [row.verdict.labels for row in group]
                filling = [None] * (batch_size - len(group))
                yield replace(self._batch(group, batch_size), truth=(*truth, *filling))

    def _next_pass(
        self,
        order: Callable[[Iterable[Sample]], Iterator[Sample]],
        view: Callable[[NDArray[Any], Labels, int], loader.View],
        ahead: int,
    ) -> Generator[_Row, None, None]:
        """What passes of the next FIFO, checked and viewed by threads so many samples ahead.

        Ends early, without an error, when the stream was interrupted.
        """

        def check(sample: Sample) -> _Row:
            verdict = self._judge(sample.name, partial(parse, sample, self._names))
            image, verdict.image = verdict.image, None  # a view is all that stays of it
            if verdict.labels is None or image is None:
                return _Row(sample.position, verdict, None)
            return _Row(sample.position, verdict, view(image, verdict.labels, sample.position))

        def first() -> Iterator[_Row]:
            row = self._count(waiting.popleft(), tally)
            if row.verdict.fault is not None:
                for future in waiting:  # the error is to list what else is wrong
                    self._count(future, tally)
                tally.refuse_faults()
            if row.verdict.dropped:
                tally.refuse_early(self._expected)
            if row.view is not None:
                yield row

        number, self._pass = self._pass, self._pass + 1
        tally = self._new_tally()
        self.first_pass = self.first_pass or tally
        waiting: deque[Future[_Row]] = deque()
        with closing(self._reader.samples(number)) as samples:
            try:
                for sample in order(samples):
                    if self._reader.interrupted:
                        return
                    self._unit = "sample" if sample.parts[1:] else "record"
                    waiting.append(self._pool.submit(check, sample))
                    if len(waiting) > ahead:
                        yield from first()
                while waiting and not self._reader.interrupted:
                    yield from first()
            finally:
                for future in waiting:
                    future.cancel()
        if not self._reader.interrupted:
            tally.refuse_shares()
            tally.refuse_empty()
            if tally is self.first_pass and tally.declared_boxes_max > self._declared_boxes:
                # All boxes of a label count, as in File mode, though a view may show fewer.
                log.warning(
                    f"Channel '{self._channel}': an image has {tally.declared_boxes_max} boxes, "
                    f"label_width has room for {self._declared_boxes}. Nothing is lost, but the "
                    "service's own algorithm would fail. Set label_width to "
                    f"{tally.label_width} or more."
                )

    def _count(self, future: Future[_Row], tally: Tally) -> _Row:
        row = future.result()
        tally.add(row.verdict)
        if tally is self.first_pass:
            self._first_order.append(row.position)
        return row

    def _batch(self, rows: list[_Row], size: int) -> loader.Batch:
        records = np.full(size, -1, dtype=np.int64)
        records[: len(rows)] = [row.position for row in rows]
        batch = loader.empty_batch(records, self._side)
        objects = [loader.NO_OBJECTS] * size
        for index, row in enumerate(rows):
            assert row.view is not None
            pixels, boxes, class_ids = row.view
            objects[index] = boxes, class_ids
            loader.put(batch, index, pixels)
            batch.sizes[index] = row.verdict.size
        return replace(batch, labels=loader.pad_labels(objects))


def _groups(rows: Iterable[_Row], batch_size: int) -> Iterator[list[_Row]]:
    """Rows for each batch, the last near equal, so that none is too small for BatchNorm."""
    held: list[_Row] = []
    for row in rows:
        held.append(row)
        if len(held) == _BATCHES_HELD * batch_size:
            yield held[:batch_size]
            del held[:batch_size]
    count = -(-len(held) // batch_size)
    for batch in range(count):
        yield held[batch::count]
