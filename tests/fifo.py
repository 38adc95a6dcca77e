"""FIFOs fed as the platform feeds them, and the streams that it sends through them."""

from __future__ import annotations

import json
import os
import select
import struct
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from sagemaker_object_detection.data.recordio import MAGIC
from tests.data.samples import Sample

CHUNK = 2**16
MAGIC_BYTES = struct.pack("<I", MAGIC)

Step = bytes | float | threading.Event
"""Bytes to write, seconds to wait, or an event to wait for."""


def frame(data: bytes, kind: int = 0) -> bytes:
    """One frame of RecordIO."""
    return MAGIC_BYTES + struct.pack("<I", kind << 29 | len(data)) + data + bytes(-len(data) % 4)


def record(payload: bytes) -> bytes:
    """A record: one frame, or several where the payload holds the magic number."""
    words = np.frombuffer(payload, "<u4", len(payload) // 4)
    cuts = [-4, *(4 * np.flatnonzero(words == MAGIC)).tolist(), len(payload)]
    parts = [payload[start + 4 : end] for start, end in pairwise(cuts)]
    kinds = [0] if len(parts) == 1 else [1, *[2] * (len(parts) - 2), 3]
    return b"".join(map(frame, parts, kinds))


def manifest_stream(samples: Iterable[Sample], metadata: dict[str, Any] | None = None) -> bytes:
    """What an augmented manifest sends: image and annotation of each, and metadata if given."""
    stream = []
    for sample in samples:
        stream.append(record(sample.image))
        stream.append(record(json.dumps(sample.annotation()).encode()))
        if metadata is not None:
            stream.append(record(json.dumps(metadata).encode()))
    return b"".join(stream)


class Feeder:
    """Makes `<path>_0`, `<path>_1` and so on, one when the one before was read or left.

    A context manager; leaving it ends the thread wherever it is.

    Args:
        path: of the FIFOs, without number.
        streams: what to write into each: its bytes, or steps.
        delay: seconds before each FIFO is made.

    Attributes:
        written: bytes that went into each FIFO.
        left: numbers of the FIFOs whose reader went before their end.
    """

    def __init__(
        self, path: Path, streams: Sequence[bytes | Sequence[Step]], delay: float = 0.0
    ) -> None:
        self.path = path
        self.written: list[int] = []
        self.left: list[int] = []
        self._streams = streams
        self._delay = delay
        self._end = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="feeder", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        while self._thread.is_alive():
            for number in range(len(self._streams)):
                with suppress(FileNotFoundError):  # a writer that waits in open needs a reader
                    os.close(os.open(self.fifo(number), os.O_RDONLY | os.O_NONBLOCK))
            self._thread.join(0.02)

    def fifo(self, number: int) -> Path:
        """The FIFO of that number."""
        return self.path.with_name(f"{self.path.name}_{number}")

    def join(self, timeout: float = 10.0) -> None:
        """Wait until all was written or left; fails the test when that takes too long."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"fed {self.written}, left {self.left}"

    def wait_left(self, number: int, timeout: float = 10.0) -> None:
        """Wait until a FIFO was left by its reader."""
        with self._changed:
            assert self._changed.wait_for(lambda: number in self.left, timeout)

    def wait_written(self, number: int, count: int, timeout: float = 10.0) -> None:
        """Wait until so many bytes went into a FIFO."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.written[number:] >= [count], timeout)

    def _run(self) -> None:
        for number, stream in enumerate(self._streams):
            if self._end.wait(self._delay):
                return
            os.mkfifo(self.fifo(number))
            descriptor = os.open(self.fifo(number), os.O_WRONLY)
            self.written.append(0)
            try:
                os.set_blocking(descriptor, False)
                for step in [stream] if isinstance(stream, bytes) else stream:
                    self._take(number, descriptor, step)
            except BrokenPipeError:
                with self._changed:
                    self.left.append(number)
                    self._changed.notify_all()
            finally:
                os.close(descriptor)

    def _take(self, number: int, descriptor: int, step: Step) -> None:
        if isinstance(step, bytes):
            self._write(number, descriptor, memoryview(step))
        elif isinstance(step, threading.Event):
            while not step.wait(0.02) and not self._end.is_set():
                pass
        else:
            self._end.wait(step)

    def _write(self, number: int, descriptor: int, data: memoryview) -> None:
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        while data and not self._end.is_set():
            if not poll.poll(20):
                continue
            try:
                count = os.write(descriptor, data[:CHUNK])
            except BlockingIOError:
                continue
            data = data[count:]
            with self._changed:
                self.written[number] += count
                self._changed.notify_all()
