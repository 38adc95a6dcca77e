"""Who is taken on: a bound to the requests at work, and to the memory that decoding takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sagemaker_object_detection.images import header_size
from sagemaker_object_detection.serving.batching import Overloaded, TooSlow

LARGE_PIXELS = 2**24
"""Pictures of more (50 MB decoded), or that do not tell their size, are decoded one at a time."""


class Admission:
    """The requests of one process that are being decoded, wait for a model or are run.

    Args:
        most: requests at work; one more is refused at once, before anything is done for it.
        decoders: pictures that are decoded at a time, of which one at most is large, so that large
            ones do not keep small ones waiting.
        patience: seconds that a request waits to be decoded.
    """

    def __init__(self, most: int = 64, decoders: int = 2, patience: float = 60.0) -> None:
        self.most = most
        self._patience = patience
        self._free = threading.BoundedSemaphore(most)
        self._decoders = threading.BoundedSemaphore(decoders)
        self._large = threading.Lock()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Count a request as at work. Raises Overloaded when there are too many."""
        if not self._free.acquire(blocking=False):
            raise Overloaded(f"{self.most} images are waiting already")
        try:
            yield
        finally:
            self._free.release()

    @contextmanager
    def decoding(self, data: bytes) -> Iterator[None]:
        """Wait for the turn of an encoded picture and hold it. Raises TooSlow."""
        until = time.monotonic() + self._patience
        size = header_size(data)
        with ExitStack() as held:
            if size is None or size[0] * size[1] > LARGE_PIXELS:
                self._wait_for(self._large, until, held)
            self._wait_for(self._decoders, until, held)
            yield

    def _wait_for(
        self, lock: threading.Lock | threading.Semaphore, until: float, held: ExitStack
    ) -> None:
        if not lock.acquire(timeout=max(0.0, until - time.monotonic())):
            raise TooSlow(f"the image was not decoded within {self._patience:g} seconds")
        held.callback(lock.release)
