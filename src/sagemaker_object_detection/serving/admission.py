"""Which requests are taken on, and the threads that decode their images."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from sagemaker_object_detection.images import header_size
from sagemaker_object_detection.inference.predictor import Detections, Predictor
from sagemaker_object_detection.serving.batching import Batcher, NotReady, Overloaded, TooSlow
from sagemaker_object_detection.serving.trace import Trace

LARGE_PIXELS = 2**24
"""Images of more (50 MB decoded), or that do not tell their size, are decoded one at a time."""

_T = TypeVar("_T")


class Admission:
    """The requests of one process that are being decoded, wait for a model or are run.

    Args:
        most: requests at work; one more is refused at once, before anything is done for it.
        decoders: images that are decoded at a time, besides one large one, so that large ones do
            not keep small ones waiting.
        patience: seconds until a request whose image is not decoded is given up, whatever the
            decoder does.
    """

    def __init__(self, most: int = 64, decoders: int = 2, patience: float = 60.0) -> None:
        self.most = most
        self._patience = patience
        self._free = threading.BoundedSemaphore(most)
        self._decoders = ThreadPoolExecutor(decoders, "decoder")
        self._large_decoder = ThreadPoolExecutor(1, "large-decoder")
        self._busy: dict[int, float] = {}
        """Of decoder threads: since when each decodes the image that it has."""

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Count a request as at work. Raises Overloaded when there are too many."""
        if not self._free.acquire(blocking=False):
            raise Overloaded(f"{self.most} images are waiting already")
        try:
            yield
        finally:
            self._free.release()

    def decode(self, data: bytes, decode: Callable[[bytes], _T], trace: Trace) -> _T:
        """decode(data), computed by a decoder thread; sets queue and decode of the trace.

        Raises TooSlow, and what `decode` raises.
        """
        size = header_size(data)
        is_large = size is None or size[0] * size[1] > LARGE_PIXELS
        submitted = time.perf_counter()

        def run() -> _T:
            begun = self._busy[threading.get_ident()] = time.perf_counter()
            trace.add("queue", begun - submitted)
            try:
                return decode(data)
            finally:
                del self._busy[threading.get_ident()]
                trace.add("decode", time.perf_counter() - begun)

        job = (self._large_decoder if is_large else self._decoders).submit(run)
        try:
            return job.result(self._patience)
        except TimeoutError:
            if job.cancel():
                trace.add("queue", time.perf_counter() - submitted)
            raise TooSlow(f"the image was not decoded within {self._patience:g} seconds") from None

    def check_ready(self) -> None:
        """Raise NotReady when a decoder is stuck; what GET /ping asks."""
        now = time.perf_counter()
        if any(now - since > self._patience for since in tuple(self._busy.values())):
            raise NotReady(f"decoding an image takes more than {self._patience:g} seconds")


class TracedPredictor(Predictor):
    """A predictor on a batcher, which notes in a request's trace where its time goes."""

    def __init__(
        self,
        batcher: Batcher,
        class_names: Sequence[str],
        admission: Admission | None = None,
        thresholds: Sequence[float] = (),
    ) -> None:
        super().__init__(batcher, class_names, thresholds)
        self._batcher = batcher
        self.admission = admission or Admission()

    def predict_traced(self, data: bytes, name: str, trace: Trace) -> Detections:
        """As predict; sets image_size and the stages queue to encode of the trace.

        Raises images.ImageError when the bytes are no image, Overloaded when too many requests
        are at work, TooSlow, and what the engine raises.
        """
        with self.admission.admitted():
            planes, size = self.admission.decode(data, lambda data: self.prepare(data, name), trace)
            trace.image_size = size
            rows = self._batcher.detect_traced(planes, trace)
        with trace.stage("encode"):
            return self.finish(rows, size)
