"""The FIFOs of a channel in Pipe mode, read ahead without ever blocking, and the samples in them.

The platform makes `<channel>_0`, `<channel>_1` and so on, one for each pass over the data. One may
appear late, stay silent, or be left before its end: its writer then gets EPIPE and continues.

Of an augmented manifest the platform sends a record for each of the request's AttributeNames: the
bytes of the image, then the JSON text of the annotation, then, where asked for, of its metadata.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from sagemaker_object_detection.data.recordio import STREAM, Frames, Record, where
from sagemaker_object_detection.data.sharding import Share
from sagemaker_object_detection.platform.errors import ClientError, PlatformError, naming

log = logging.getLogger(__name__)

TIME_LIMIT = 900.0
"""Seconds to wait for a FIFO or for its next byte."""
ATTRIBUTES = (
    "AttributeNames must name the image first and then the attribute that holds the boxes, as in "
    '["source-ref", "bounding-box"], and every line of the manifest must have them.'
)

_CHUNK = 2**20
_SLICE = 0.1
_LOG_EVERY = 10.0
_IMAGE = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP|GIF8|II\*\0|MM\0\*"
    # A BMP by the size of its second header, as a label of 19,778 numbers begins with BM too.
    rb"|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    re.DOTALL,
)
# A count of labels, as im2rec has it there, holds a NUL among its four bytes; no JSON does.
_JSON = re.compile(
    rb'(?=[^\0]{4}|[^\0]{0,3}\Z)(?:\xef\xbb\xbf)?[ \t\r\n]*(?:[\[{"]|-?\d|true|false|null)'
)


class Stopped(Exception):
    """Reading ended since it was asked to, not at the end of the data."""


def fifo(path: Path, number: int) -> Path:
    """The FIFO of a pass; `path` is without number."""
    return path.with_name(f"{path.name}_{number}")


def records(
    path: Path,
    stop: Callable[[], bool],
    wanted: Callable[[], bool] = lambda: True,
    time_limit: float = TIME_LIMIT,
) -> Generator[Record, None, None]:
    """The records of a FIFO as they come, until a writer was there and has gone.

    Args:
        stop: asked ten times a second while nothing comes; ends reading with Stopped.
        wanted: whether somebody waits for the data; time counts only while somebody does.
        time_limit: seconds without a FIFO or without a byte, before PlatformError is raised.
    """
    since = logged = time.monotonic()

    def check(what: str) -> None:
        nonlocal since, logged
        if stop():
            raise Stopped
        now = time.monotonic()
        if not wanted():
            since = logged = now
        if now - since >= time_limit:
            raise PlatformError(
                f"{path}: {what} within {now - since:.0f} seconds. Whatever feeds this FIFO has "
                "stopped: check that the channel's S3 prefix or manifest holds data, and start "
                "the job again; File mode needs no FIFO."
            )
        if now - logged >= _LOG_EVERY:
            logged = now
            log.info("Waiting for the FIFO %s: %s for %.0f seconds.", path, what, now - since)

    while True:
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            break
        check("it did not appear")
        time.sleep(_SLICE)
    frames = Frames(path, STREAM)
    try:
        with suppress(OSError, AttributeError):  # refused beyond pipe-max-size; Linux only
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _CHUNK)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while True:
            since = logged = time.monotonic()
            # A FIFO that has had no writer yet reports nothing, one whose writers left POLLHUP.
            while not poll.poll(_SLICE * 1000):
                check("no byte came")
            if stop():
                raise Stopped
            with suppress(BlockingIOError):
                with naming(path):
                    data = os.read(descriptor, _CHUNK)
                if not data:
                    break
                yield from frames.feed(data)
    finally:
        os.close(descriptor)
    frames.finish()


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled image of a stream: its number, its name in messages, and its bytes.

    parts: one record of im2rec, or an image and one or more JSON texts.
    """

    position: int
    name: str
    parts: tuple[bytes, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of all parts."""
        return sum(map(len, self.parts))


def samples(path: Path, records: Iterable[Record]) -> Iterator[Sample]:
    """Group the records of a FIFO to samples; its beginning decides which of the two formats it is.

    A manifest's first record is an image, or its second one JSON: the first image may be damaged.
    Raises ClientError for JSON before the first image, and for an image without JSON after it.
    """
    source = iter(records)
    first = next(source, None)
    if first is None:
        return
    begun = [first]
    if not _IMAGE.match(first.payload) and not _JSON.match(first.payload):
        begun += islice(source, 1)
    source = chain(begun, source)
    if _IMAGE.match(first.payload) or (begun[1:] and _JSON.match(begun[1].payload)):
        yield from _manifest(path, source)
    elif _JSON.match(first.payload):
        name = where(path, first.number, first.offset)
        raise ClientError(f"{name}: the stream begins with JSON, not with an image. {ATTRIBUTES}")
    else:
        for number, offset, payload in source:
            yield Sample(number, where(path, number, offset), (payload,))


def _manifest(path: Path, records: Iterable[Record]) -> Iterator[Sample]:
    """Samples that begin with their image: after JSON, whatever is no JSON counts as the next."""
    position = start = 0
    parts: list[bytes] = []

    def sample() -> Sample:
        span = f"records {start} to {start + len(parts) - 1}"
        return Sample(position, f"{path}, sample {position} ({span})", tuple(parts))

    for record in records:
        if not _IMAGE.match(record.payload) and _JSON.match(record.payload) and parts:
            parts.append(record.payload)
            continue
        if len(parts) == 1:
            raise ClientError(
                f"{where(path, record.number, record.offset)}: here must be the annotation of the "
                f"image in record {start}, as JSON; it begins with {record.payload[:8]!r}. "
                f"{ATTRIBUTES}"
            )
        if parts:
            yield sample()
            position += 1
        parts = [record.payload]
        start = record.number
    if len(parts) == 1:
        raise ClientError(
            f"{path}, record {start}: the stream ends after this image, its annotation is "
            f"missing. {ATTRIBUTES}"
        )
    yield sample()


class ReadAhead:
    """A thread that reads `<path>_0` and, as soon as that ends, `<path>_1`, ahead of its taker.

    Reading begins when the first sample is asked for: before that a FIFO might stand open, unread,
    for hours (the one of a test channel), which the platform may take for a failure. At most
    `bound` bytes wait, or one larger sample; `beside` are those that the taker holds, for `peak`.
    """

    def __init__(
        self,
        path: Path,
        passes: int,
        bound: int,
        share: Share,
        stop: Callable[[], bool],
        beside: Callable[[], int],
        time_limit: float,
    ) -> None:
        self._path, self._passes, self._bound, self._share = path, passes, bound, share
        self._stop, self._beside, self._time_limit = stop, beside, time_limit
        self._changed = threading.Condition()
        self._queue: deque[tuple[int, Sample]] = deque()
        self._held = self.peak = 0  # bytes; the peak includes those beside
        self._ended = self._left = -1  # the last pass that was read to its end, that is not taken
        self._taking = self._closed = False
        self._error: BaseException | None = None
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
        """The samples of one pass, or as many as come before `stop`; leaving closes its FIFO."""
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
            self._taking = True
            try:
                while number > self._left and not self.interrupted:
                    if self._queue and self._queue[0][0] == number:
                        return self._pop()
                    if self._ended >= number:
                        break
                    if self._error is not None:
                        raise self._error
                    self._changed.wait(_SLICE)
            finally:
                self._taking = False
        return None

    def _pop(self) -> Sample:
        _, sample = self._queue.popleft()
        self._held -= sample.nbytes
        self._changed.notify_all()
        return sample

    def _leave(self, number: int) -> None:
        with self._changed:
            self._left = max(self._left, number)
            while self._queue and self._queue[0][0] <= self._left:
                self._pop()

    def _run(self) -> None:
        for number in range(self._passes):
            try:
                self._read(number)
            except Stopped:
                if self.interrupted:
                    return
            except BaseException as error:  # noqa: BLE001 - raised again in `samples`
                if number > self._left:
                    with self._changed:
                        self._error = error
                        self._changed.notify_all()
                    return

    def _read(self, number: int) -> None:
        path = fifo(self._path, number)

        def unwanted() -> bool:
            return self.interrupted or number <= self._left

        with closing(records(path, unwanted, lambda: self._taking, self._time_limit)) as found:
            for sample in samples(path, found):
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
