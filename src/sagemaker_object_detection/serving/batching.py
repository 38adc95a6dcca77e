"""One thread that owns an engine, and a queue through which all others use it.

MXNet may be touched by one thread of a process only. A batcher is an engine itself, so that a
predictor on it can be used from any thread.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sagemaker_object_detection.inference.predictor import Engine, Rows
from sagemaker_object_detection.serving.metrics import Metrics
from sagemaker_object_detection.serving.trace import Trace

log = logging.getLogger(__name__)

Image = npt.NDArray[Any]


class BatchEngine(Engine, Protocol):
    """An engine that knows which batch sizes suit it."""

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Ascending; the last is the most that is put together."""

    def warm_up(self) -> None:
        """Run every batch size once."""


class NotReady(RuntimeError):
    """Predictions cannot be expected to succeed; the message says why."""


class Overloaded(RuntimeError):
    """More images wait than are taken on."""


class TooSlow(RuntimeError):
    """The engine did not answer in time."""


class UnusableModel(ValueError):
    """An artifact that cannot be served, or a request to load one that cannot be read."""


class InsufficientMemory(RuntimeError):
    """Memory does not suffice for a model."""


class ModelFailed(RuntimeError):
    """The process of a model failed or ended; the next image starts it again."""


@dataclass(frozen=True)
class _Job:
    """An image (3, S, S) that waits for its rows, and the trace of the request it came with."""

    image: Image
    trace: Trace
    answer: Future[Rows] = field(default_factory=Future)
    since: float = field(default_factory=time.perf_counter)


class Batcher:
    """Owns the thread that loads an engine and then runs what is waiting, batch by batch.

    An image that comes alone is run at once; what has come in during a run goes into the next
    one together, as far as the engine's batch sizes reach.

    load: makes the engine; called in the thread.
    max_waiting: images that may wait before Overloaded is raised.
    patience: seconds of waiting, with those before an image was decoded, until TooSlow is raised.
    delay: seconds that an image waits for others to make up a batch.
    metrics: count the images that wait, and batches.
    """

    def __init__(
        self,
        load: Callable[[], BatchEngine],
        max_waiting: int = 64,
        patience: float = 60.0,
        delay: float = 0.0,
        metrics: Metrics | None = None,
    ) -> None:
        self._load = load
        self._delay = delay
        self._patience = patience
        self._metrics = metrics
        self._jobs: queue.Queue[_Job | None] = queue.Queue(max_waiting)
        self._loaded: Future[BatchEngine] = Future()
        self._failed = False
        self._running_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        """Start the thread; it begins with loading."""
        self._thread.start()

    def wait_loaded(self, timeout: float | None = None) -> bool:
        """Whether the engine is loaded and has run, waiting for it up to `timeout` seconds.

        Raises what loading raised.
        """
        if not wait([self._loaded], timeout).done:
            return False
        self._loaded.result()
        return True

    def check_ready(self) -> None:
        """Return if the engine is loaded and warmed up, its last run succeeded, and its thread is
        there for another; what GET /ping asks.

        Raises NotReady with the reason.
        """
        if not self._loaded.done():
            raise NotReady("the model is still being loaded")
        if self._loaded.exception() is not None:
            raise NotReady("the model could not be loaded")
        if not self._thread.is_alive():
            raise NotReady("the thread that runs the model has ended")
        since = self._running_since
        if since is not None and time.perf_counter() - since > self._patience:
            raise NotReady(f"a run of the model takes more than {self._patience:g} seconds")
        if self._failed:
            raise NotReady("the last run of the model failed")

    @property
    def image_shape(self) -> int:
        """The engine's; waits until it is loaded. Raises TooSlow when that takes too long."""
        try:
            return self._loaded.result(self._patience).image_shape
        except TimeoutError:
            raise TooSlow("the model is still being loaded") from None

    def detect(self, planes: Image) -> Rows:
        """Rows (B, N, 6) of images (B, 3, S, S), from any thread; each waits for its turn.

        Raises Overloaded, TooSlow, or what the engine raised.
        """
        jobs = [self._submit(image, Trace()) for image in planes]
        return np.stack([self._wait(job.answer, self._patience) for job in jobs])

    def detect_traced(self, planes: Image, trace: Trace) -> Rows:
        """Rows (N, 6) of one image (3, S, S); tells its trace how long it waited and ran, and
        in how large a batch. From any thread.

        Raises Overloaded, TooSlow, or what the engine raised.
        """
        spent = trace.seconds.get("queue", 0.0) + trace.seconds.get("decode", 0.0)
        return self._wait(self._submit(planes, trace).answer, self._patience - spent)

    def close(self, timeout: float = 5.0) -> None:
        """Let what waits finish and end the thread; idempotent."""
        if not self._thread.is_alive():
            return
        with contextlib.suppress(queue.Full):
            self._jobs.put(None, timeout=timeout)
        self._thread.join(timeout)

    def _submit(self, image: Image, trace: Trace) -> _Job:
        job = _Job(image, trace)
        self._tell_queued(+1)  # before it can be taken out, or the length would be -1
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self._tell_queued(-1)
            raise Overloaded(f"{self._jobs.maxsize} images are waiting already") from None
        return job

    def _wait(self, answer: Future[Rows], seconds: float) -> Rows:
        try:
            return answer.result(max(0.0, seconds))
        except TimeoutError:
            if answer.done():
                return answer.result()
            answer.cancel()  # if it still is in the queue, it need not be run
            raise TooSlow(f"no answer within {self._patience:g} seconds") from None

    def _run(self) -> None:
        try:
            engine = self._load()
            engine.warm_up()
        except BaseException as error:  # noqa: BLE001 - raised again by wait_loaded
            self._loaded.set_exception(error)
            return
        self._loaded.set_result(engine)
        while (first := self._jobs.get()) is not None:
            batch = self._with_more(first, engine.batch_sizes[-1])
            self._run_batch(engine, batch)

    def _with_more(self, first: _Job, most: int) -> list[_Job]:
        """What waits besides, or comes within the delay."""
        batch = [first]
        until = time.monotonic() + self._delay
        while len(batch) < most:
            left = until - time.monotonic()
            try:
                job = self._jobs.get(block=left > 0, timeout=max(0.0, left) or None)
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)  # the end is for the outer loop to see
                break
            batch.append(job)
        return batch

    def _run_batch(self, engine: BatchEngine, batch: list[_Job]) -> None:
        self._tell_queued(-len(batch))
        wanted = [job for job in batch if job.answer.set_running_or_notify_cancel()]
        if not wanted:
            return
        start = self._running_since = time.perf_counter()
        try:
            rows = engine.detect(np.stack([job.image for job in wanted]))
        except Exception as error:
            log.exception("The model failed on a batch of %d.", len(wanted))
            self._ran(wanted, start, failed=True)
            for job in wanted:
                job.answer.set_exception(error)
            return
        self._ran(wanted, start, failed=False)
        for job, image_rows in zip(wanted, rows, strict=True):
            job.answer.set_result(image_rows)

    def _ran(self, jobs: list[_Job], start: float, failed: bool) -> None:
        """Note how a run went, before anyone has its result."""
        end = time.perf_counter()
        for job in jobs:
            job.trace.add("queue", start - job.since)
            job.trace.add("model", end - start)
            job.trace.batch = len(jobs)
        if self._metrics is not None:
            self._metrics.ran(len(jobs))
        self._failed, self._running_since = failed, None

    def _tell_queued(self, change: int) -> None:
        if self._metrics is not None:
            self._metrics.queued(change)
