"""The FIFOs of a channel, read by a thread ahead of who takes their samples."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path

from sagemaker_object_detection.data import pipe
from sagemaker_object_detection.data.pipe import Stopped
from sagemaker_object_detection.data.sharding import WHOLE, Share
from sagemaker_object_detection.data.stream import Sample, samples

_SLICE = 0.1


class ReadAhead:
    """Reads `<path>_0` and, as soon as that ends, `<path>_1`, up to a number of bytes ahead.

    Reading begins when the first sample is asked for: before that a FIFO might stand open, unread,
    for hours (the one of a test channel), which the platform may take for a failure.

    Args:
        path: of the FIFOs, without number.
        passes: how many of them there are to be.
        bound: bytes that may wait; one sample larger than that waits alone.
        share: which samples are kept.
        stop: asked all the time; once it says so, reading ends.
        beside: bytes of samples that the taker still holds, for `peak`.
        time_limit: seconds without a FIFO or a byte while the taker waits.
    """

    def __init__(
        self,
        path: Path,
        passes: int,
        bound: int,
        share: Share = WHOLE,
        stop: Callable[[], bool] = lambda: False,
        beside: Callable[[], int] = lambda: 0,
        time_limit: float = pipe.TIME_LIMIT,
    ) -> None:
        self._path = path
        self._passes = passes
        self._bound = bound
        self._share = share
        self._stop = stop
        self._beside = beside
        self._time_limit = time_limit
        self._changed = threading.Condition()
        self._queue: deque[tuple[int, Sample]] = deque()
        self._held = 0  # bytes, with the sample that was taken last
        self._in_hand = 0  # bytes of that one
        self._ended = -1  # the last pass that was read to its end
        self._left = -1  # the last pass that nobody takes samples of any more
        self._taking = False
        self._closed = False
        self._error: BaseException | None = None
        self.peak = 0
        """Most bytes that were held at a time, what the taker holds included."""
        self._thread = threading.Thread(target=self._run, name=f"pipe-{path.name}", daemon=True)

    @property
    def interrupted(self) -> bool:
        """Whether reading was ended by `stop` or `close`."""
        return self._closed or self._stop()

    def close(self) -> None:
        """End the thread, whatever it waits for."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def samples(self, number: int) -> Generator[Sample, None, None]:
        """The samples of one pass, in order; whoever leaves early closes its FIFO.

        Ends early when reading is interrupted. A sample counts as waiting until the next is taken.

        Raises:
            ClientError: as `pipe.records` and `stream.samples` do; PlatformError: the time limit.
        """
        if self._closed:
            raise RuntimeError(f"the reader of {self._path} was closed")
        if not self._left < number < self._passes:
            raise ValueError(f"pass {number} of {self._passes}, after pass {self._left}")
        if self._thread.ident is None:
            self._thread.start()
        self._leave(number - 1)
        try:
            while (sample := self._take(number)) is not None:
                yield sample
        finally:
            self._leave(number)

    def _take(self, number: int) -> Sample | None:
        """The next sample of a pass, None at its end."""
        with self._changed:
            if number > self._left:
                self._give_back()
            self._taking = True
            try:
                while not self.interrupted:
                    if self._queue and self._queue[0][0] == number:
                        sample = self._queue.popleft()[1]
                        self._in_hand = sample.nbytes
                        return sample
                    if max(self._ended, self._left) >= number:
                        break
                    if self._error is not None:
                        raise self._error
                    self._changed.wait(_SLICE)
            finally:
                self._taking = False
        return None

    def _give_back(self) -> None:
        self._held -= self._in_hand
        self._in_hand = 0
        self._changed.notify_all()

    def _leave(self, number: int) -> None:
        with self._changed:
            if number <= self._left:
                return
            self._left = number
            while self._queue and self._queue[0][0] <= number:
                self._held -= self._queue.popleft()[1].nbytes
            self._give_back()

    def _run(self) -> None:
        for number in range(self._passes):
            try:
                self._read(number)
            except Stopped:
                if self.interrupted:
                    return
            except BaseException as error:  # noqa: BLE001 - raised again by who takes samples
                if number > self._left:
                    with self._changed:
                        self._error = error
                        self._changed.notify_all()
                    return

    def _read(self, number: int) -> None:
        path = pipe.fifo(self._path, number)

        def unwanted() -> bool:
            return self.interrupted or number <= self._left

        records = pipe.records(path, unwanted, lambda: self._taking, self._time_limit)
        with closing(records):
            for sample in samples(path, records):
                if self._share.has(sample.position):
                    self._put(number, sample, unwanted)
        with self._changed:
            self._ended = number
            self._changed.notify_all()

    def _put(self, number: int, sample: Sample, unwanted: Callable[[], bool]) -> None:
        with self._changed:
            while self._held and self._held + sample.nbytes > self._bound and not unwanted():
                self._changed.wait(_SLICE)
            if unwanted():
                raise Stopped
            self._queue.append((number, sample))
            self._held += sample.nbytes
            self.peak = max(self.peak, self._held + self._beside())
            self._changed.notify_all()
