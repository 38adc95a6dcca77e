"""One FIFO of Pipe mode: its bytes, read without ever blocking, and the records framed in them.

The platform makes `<channel>_0`, `<channel>_1` and so on, one for each pass over the data. One may
appear late, stay silent, or be left before its end: its writer then gets EPIPE and goes on.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import select
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from sagemaker_object_detection.data import recordio
from sagemaker_object_detection.data.recordio import RecordIOError
from sagemaker_object_detection.platform.errors import PlatformError, naming

log = logging.getLogger(__name__)

TIME_LIMIT = 900.0
"""Seconds to wait for a FIFO or for its next byte."""
LARGEST_RECORD = 2**28
"""Bytes; a record that declares more is damaged."""

_CHUNK = 2**20
_SLICE = 0.1
_LOG_EVERY = 10.0
_SEND_AGAIN = (
    "The data in S3 is damaged or was cut off, or the transfer was: write it again, then start the "
    "job again."
)
_WRAP = (
    "The channel must come as RecordIO: .rec files made by im2rec and nothing else under the "
    "prefix, where an .idx or .lst file would be sent as well, or an augmented manifest with "
    'RecordWrapperType "RecordIO".'
)
_TOO_LARGE = f"{_SEND_AGAIN} Or a RecordIO file was wrapped once more. {recordio.UNWRAP}"


class Stopped(Exception):
    """Reading ended since it was asked to, not at the end of the data."""


def _always() -> bool:
    return True


def fifo(path: Path, number: int) -> Path:
    """The FIFO of a pass; `path` is without number."""
    return path.with_name(f"{path.name}_{number}")


def chunks(
    path: Path,
    stop: Callable[[], bool],
    wanted: Callable[[], bool] = _always,
    time_limit: float = TIME_LIMIT,
) -> Generator[bytes, None, None]:
    """The bytes of a FIFO as they come, up to 1 MiB at a time; a regular file is read too.

    Ends when a writer was there and has gone. Closing the iterator closes the FIFO.

    Args:
        stop: asked ten times a second while nothing comes.
        wanted: whether somebody waits for the data; time counts only while somebody does.
        time_limit: seconds without a FIFO or without a byte.

    Raises:
        Stopped: `stop` said so; PlatformError: the time limit; OSError as the system gives it.
    """
    silence = _Silence(path, stop, wanted, time_limit)
    descriptor = _open(path, silence)
    try:
        with suppress(OSError, AttributeError):  # refused beyond pipe-max-size; Linux only
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _CHUNK)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while True:
            silence.begin()
            # A FIFO that has had no writer yet reports nothing, one whose writers left POLLHUP.
            while not poll.poll(_SLICE * 1000):
                silence.check("no byte came")
            if stop():
                raise Stopped
            try:
                with naming(path):
                    data = os.read(descriptor, _CHUNK)
            except BlockingIOError:
                continue
            if not data:
                return
            yield data
    finally:
        os.close(descriptor)


def _open(path: Path, silence: _Silence) -> int:
    silence.begin()
    while True:
        try:
            return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
        silence.check("it did not appear")
        time.sleep(_SLICE)


class _Silence:
    """How long nothing has come."""

    def __init__(
        self, path: Path, stop: Callable[[], bool], wanted: Callable[[], bool], time_limit: float
    ) -> None:
        self._path = path
        self._stop = stop
        self._wanted = wanted
        self._limit = time_limit
        self.begin()

    def begin(self) -> None:
        """From now on."""
        self._since = self._logged = time.monotonic()

    def check(self, what: str) -> None:
        """Raises Stopped or PlatformError where it is time to; else now and then a log line."""
        if self._stop():
            raise Stopped
        if not self._wanted():
            self.begin()
            return
        now = time.monotonic()
        waited = now - self._since
        if waited >= self._limit:
            raise PlatformError(
                f"{self._path}: {what} within {waited:.0f} seconds. Whatever feeds this FIFO has "
                "stopped: check that the channel's S3 prefix or manifest holds data, and start "
                "the job again; File mode needs no FIFO."
            )
        if now - self._logged >= _LOG_EVERY:
            self._logged = now
            log.info("Waiting for the FIFO %s: %s for %.0f seconds.", self._path, what, waited)


class Record(NamedTuple):
    """One payload of a stream; `offset` is where its first frame begins."""

    number: int
    offset: int
    payload: bytes


class Frames:
    """Takes the RecordIO framing off a stream that comes in chunks of any size.

    Args:
        path: what errors call the stream.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._buffer = bytearray()
        self._parts: list[bytes] = []  # of the present record
        self._size = 0  # of them
        self._number = 0
        self._start = 0  # where the present record begins in the stream
        self._offset = 0  # where the buffer does

    def feed(self, data: bytes) -> list[Record]:
        """The records that are whole with this chunk.

        Raises RecordIOError for a wrong magic number, a broken sequence of frames and a record that
        declares more than LARGEST_RECORD.
        """
        buffer = self._buffer
        buffer += data
        found: list[Record] = []
        position = 0
        while len(buffer) - position >= recordio.FRAME.size:
            flag, length = self._check_header(position)
            begin = position + recordio.FRAME.size
            end = begin + recordio.padded(length)
            if end > len(buffer):
                break
            with memoryview(buffer) as view:
                self._parts.append(bytes(view[begin : begin + length]))
            self._size += length + len(recordio.MAGIC_BYTES)
            position = end
            if flag in (recordio.WHOLE, recordio.LAST):
                payload = recordio.MAGIC_BYTES.join(self._parts)
                found.append(Record(self._number, self._start, payload))
                self._parts.clear()
                self._size = 0
                self._number += 1
                self._start = self._offset + position
        del buffer[:position]
        self._offset += position
        return found

    def _check_header(self, position: int) -> tuple[int, int]:
        """Kind and length of the frame at this place of the buffer, once they make sense."""
        offset = self._offset + position
        magic, word = recordio.FRAME.unpack_from(self._buffer, position)
        if magic != recordio.MAGIC:
            what = f"a record must begin with 0x{recordio.MAGIC:08x}, here is 0x{magic:08x}"
            raise self._error(offset, what, _SEND_AGAIN if offset else _WRAP)
        flag, length = word >> recordio.LENGTH_BITS, word & recordio.LENGTH_MASK
        inside = bool(self._parts)
        recordio.check_sequence(self._path, self._number, offset, flag, inside)
        declared = self._size + length
        if declared > LARGEST_RECORD:
            what = f"{declared} bytes are declared, a record has at most {LARGEST_RECORD}"
            raise self._error(self._start, what, _TOO_LARGE)
        return flag, length

    def finish(self) -> None:
        """The stream is at its end. Raises RecordIOError when that lies inside a record."""
        if self._buffer or self._parts:
            end = self._offset + len(self._buffer)
            what = f"the stream ends inside this record, at byte {end}"
            raise self._error(self._start, what, _SEND_AGAIN)

    def _error(self, offset: int, what: str, cure: str) -> RecordIOError:
        return RecordIOError(recordio.where(self._path, self._number, offset), what, cure)


def records(
    path: Path,
    stop: Callable[[], bool],
    wanted: Callable[[], bool] = _always,
    time_limit: float = TIME_LIMIT,
) -> Generator[Record, None, None]:
    """The records of a FIFO as they come; see `chunks` and `Frames` for arguments and errors."""
    frames = Frames(path)
    with closing(chunks(path, stop, wanted, time_limit)) as data:
        for chunk in data:
            yield from frames.feed(chunk)
    frames.finish()
