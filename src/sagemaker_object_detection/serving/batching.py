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
from concurrent.futures import Future
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from sagemaker_object_detection.inference.predictor import Engine, Rows

log = logging.getLogger(__name__)

Picture = npt.NDArray[Any]
_Job = tuple[Picture, "Future[Rows]"]


class BatchEngine(Engine, Protocol):
    """An engine that knows which batch sizes suit it."""

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Ascending; the last is the most that is put together."""

    def warm_up(self) -> None:
        """Run every batch size once."""


class Overloaded(RuntimeError):
    """More pictures wait than are taken on."""


class TooSlow(RuntimeError):
    """The engine did not answer in time."""


class Batcher:
    """Owns the thread that loads an engine and then runs what is waiting, batch by batch.

    A picture that comes alone is run at once; what has come in during a run goes into the next
    one together, as far as the engine's batch sizes reach.

    load: makes the engine; called in the thread.
    max_waiting: pictures that may wait before Overloaded is raised.
    patience: seconds that a caller waits before TooSlow is raised.
    delay: seconds that a picture waits for others to make up a batch.
    """

    def __init__(
        self,
        load: Callable[[], BatchEngine],
        max_waiting: int = 64,
        patience: float = 60.0,
        delay: float = 0.0,
    ) -> None:
        self._load = load
        self._delay = delay
        self._patience = patience
        self._jobs: queue.Queue[_Job | None] = queue.Queue(max_waiting)
        self._loaded: Future[BatchEngine] = Future()
        self._healthy = False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    def start(self) -> None:
        """Start the thread; it begins with loading."""
        self._thread.start()

    def wait_loaded(self, timeout: float | None = None) -> bool:
        """Whether the engine is loaded and has run, waiting for it up to `timeout` seconds.

        Raises what loading raised.
        """
        try:
            self._loaded.result(timeout)
        except TimeoutError:
            if not self._loaded.done():
                return False
            raise
        return True

    @property
    def is_healthy(self) -> bool:
        """Whether the engine's last run succeeded and its thread is there for another."""
        return self._healthy and self._thread.is_alive()

    @property
    def image_shape(self) -> int:
        """The engine's; waits until it is loaded. Raises TooSlow when that takes too long."""
        try:
            return self._loaded.result(self._patience).image_shape
        except TimeoutError:
            raise TooSlow("the model is still being loaded") from None

    def detect(self, planes: Picture) -> Rows:
        """Rows (B, N, 6) of pictures (B, 3, S, S), from any thread; each waits for its turn.

        Raises Overloaded, TooSlow, or what the engine raised.
        """
        answers = [self._submit(picture) for picture in planes]
        return np.stack([self._wait(answer) for answer in answers])

    def close(self, timeout: float = 5.0) -> None:
        """Let what waits finish and end the thread; idempotent."""
        if not self._thread.is_alive():
            return
        with contextlib.suppress(queue.Full):
            self._jobs.put(None, timeout=timeout)
        self._thread.join(timeout)

    def _submit(self, picture: Picture) -> Future[Rows]:
        answer: Future[Rows] = Future()
        try:
            self._jobs.put_nowait((picture, answer))
        except queue.Full:
            raise Overloaded(f"{self._jobs.maxsize} images are waiting already") from None
        return answer

    def _wait(self, answer: Future[Rows]) -> Rows:
        try:
            return answer.result(self._patience)
        except TimeoutError:
            if answer.done():
                return answer.result()
            if not answer.cancel():
                self._healthy = False  # it hangs in the engine, not in the queue
            raise TooSlow(f"no answer within {self._patience:g} seconds") from None

    def _run(self) -> None:
        try:
            engine = self._load()
            engine.warm_up()
        except BaseException as error:  # noqa: BLE001 - raised again by wait_loaded
            self._loaded.set_exception(error)
            return
        self._healthy = True
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
        wanted = [job for job in batch if job[1].set_running_or_notify_cancel()]
        if not wanted:
            return
        try:
            rows = engine.detect(np.stack([picture for picture, _ in wanted]))
        except Exception as error:
            log.exception("The model failed on a batch of %d.", len(wanted))
            self._healthy = False
            for _, answer in wanted:
                answer.set_exception(error)
            return
        self._healthy = True
        for (_, answer), picture_rows in zip(wanted, rows, strict=True):
            answer.set_result(picture_rows)
