"""The gate of a stream: its records are judged as they come, and turned into views at once."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from sagemaker_object_detection.data.dataset import Labels
from sagemaker_object_detection.data.judge import Verdict, judge
from sagemaker_object_detection.data.pipe import fifo
from sagemaker_object_detection.data.stream import Sample, SampleReader
from sagemaker_object_detection.data.tally import Limits, Tally


class View(NamedTuple):
    """What a batch takes of a record.

    pixels (side, side, 3), boxes (n, 4), class ids (n,), (width, height) of the picture in pixels.
    """

    pixels: NDArray[Any]
    boxes: NDArray[Any]
    class_ids: NDArray[Any]
    size: tuple[int, int]


class Row(NamedTuple):
    """A record that passed: its position in the stream, all its labels, and its view."""

    position: int
    labels: Labels
    view: View


MakeView = Callable[[NDArray[Any], Labels, int], View]
"""Of the decoded picture, its labels and its position."""


class StreamGate:
    """Judges the samples of one pass after the other, in threads.

    A fault ends a pass with the error that the gate of files gives. So does a share of dropped
    images or boxes that is over its limit: at the end of the pass, or as soon as the records still
    to come cannot bring it back under it.

    Args:
        path: of the FIFOs, without number; channel: its name; both for messages.
        num_classes: class ids must be in 0..num_classes-1.
        limits: shares that may be dropped.
        expected_records: records of a pass, as far as known; 0 where it is not.
        threads: samples that are worked on at a time.
        interrupted: whether the stream ended since it was told to.
    """

    def __init__(
        self,
        path: Path,
        channel: str,
        num_classes: int,
        limits: Limits | None,
        expected_records: int,
        threads: int,
        interrupted: Callable[[], bool],
    ) -> None:
        self._channel = channel
        self._num_classes = num_classes
        self._limits = limits
        self._expected = expected_records
        self._interrupted = interrupted
        self.samples = SampleReader()
        self.first_pass: Tally | None = None
        """What the first pass added up to; it grows while that pass lasts."""
        self._first_fifo = fifo(path, 0)
        self._first_order = array("q")
        self._unit = "record"
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"stream-{channel}")

    def close(self) -> None:
        """Stop the threads; samples not yet begun are dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def record_name(self, index: int) -> str:
        """What to call the record that the first pass counted as number `index`."""
        return self.name(self._first_order[index])

    def name(self, position: int) -> str:
        """What to call the record at a position of the first pass."""
        return f"{self._first_fifo}, {self._unit} {position}"

    def rows(
        self, samples: Iterable[Sample], make_view: MakeView, ahead: int
    ) -> Generator[Row, None, None]:
        """What passed of these samples, in their order; so many are worked on ahead.

        Ends early, without an error, when the stream was interrupted.

        Raises:
            ClientError: a label that cannot be understood, a class_id out of range, more images or
                boxes dropped than the limits allow, no usable image at all.
        """

        def work(sample: Sample) -> _Judged:
            verdict = judge(
                sample.name, lambda: self.samples.parse(sample), self._num_classes, True
            )
            view = None
            if verdict.labels is not None and verdict.image is not None:
                view = make_view(verdict.image, verdict.labels, sample.position)
            verdict.image = None  # a view is all that stays of it
            return _Judged(sample.position, verdict, view)

        tally = Tally(self._channel, self._num_classes, self._limits)
        if self.first_pass is None:
            self.first_pass = tally
        waiting: deque[Future[_Judged]] = deque()
        try:
            for sample in samples:
                if self._interrupted():
                    return
                self._unit = sample.unit
                waiting.append(self._pool.submit(work, sample))
                if len(waiting) > ahead:
                    yield from self._next(waiting, tally)
            while waiting and not self._interrupted():
                yield from self._next(waiting, tally)
            if not self._interrupted():
                tally.refuse_shares()
                tally.refuse_empty()
        finally:
            for future in waiting:
                future.cancel()

    def _next(self, waiting: deque[Future[_Judged]], tally: Tally) -> Iterator[Row]:
        """The first that waits, unless it is dropped."""
        position, verdict, view = self._count(waiting.popleft(), tally)
        if verdict.fault is not None:
            for future in waiting:  # the error is to name what else is wrong, as far as is known
                self._count(future, tally)
            tally.refuse_faults()
        if verdict.dropped:
            tally.refuse_early(self._expected)
        if verdict.labels is not None and view is not None:
            yield Row(position, verdict.labels, view)

    def _count(self, future: Future[_Judged], tally: Tally) -> _Judged:
        judged = future.result()
        tally.add(judged.verdict)
        if tally is self.first_pass:
            self._first_order.append(judged.position)
        return judged


class _Judged(NamedTuple):
    position: int
    verdict: Verdict
    view: View | None
