from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sagemaker_object_detection.serving.batching import Batcher, Overloaded, TooSlow


class _Engine:
    """Answers the mean of each picture, remembers threads and batches, waits while it is held."""

    image_shape = 2

    def __init__(self, batch_sizes: tuple[int, ...] = (1,)) -> None:
        self.batch_sizes = batch_sizes
        self.threads: set[str] = set()
        self.batches: list[int] = []
        self.entered = threading.Semaphore(0)
        self.go = threading.Event()
        self.go.set()
        self.fails = False

    def warm_up(self) -> None:
        self.threads.add(threading.current_thread().name)

    def detect(self, planes: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        self.threads.add(threading.current_thread().name)
        self.batches.append(len(planes))
        self.entered.release()
        assert self.go.wait(10)
        if self.fails:
            raise RuntimeError("no more memory on the device")
        means = planes.astype(np.float32).mean(axis=(1, 2, 3))
        rows: npt.NDArray[np.float32] = np.repeat(means[:, None, None], 6, axis=2)
        return rows


def _picture(value: int) -> npt.NDArray[np.uint8]:
    return np.full((1, 3, 2, 2), value, np.uint8)


@contextmanager
def _running(engine: _Engine, **options: Any) -> Iterator[Batcher]:  # noqa: ANN401
    batcher = Batcher(lambda: engine, **options)
    batcher.start()
    try:
        assert batcher.wait_loaded(10)
        yield batcher
    finally:
        engine.go.set()
        batcher.close()


def _until(condition: Callable[[], bool]) -> None:
    """Wait for another thread to get there; the test's own timeout ends it if it never does."""
    pause = threading.Event()
    while not condition():
        pause.wait(0.002)


def test_everything_happens_in_one_thread() -> None:
    engine = _Engine()
    loaded_in = []

    def load() -> _Engine:
        loaded_in.append(threading.current_thread().name)
        return engine

    batcher = Batcher(load)
    batcher.start()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda value: batcher.detect(_picture(value)), range(40)))
    batcher.close()
    assert [float(rows[0, 0, 0]) for rows in answers] == list(range(40))  # each its own
    assert engine.threads == {"model"} == set(loaded_in)
    assert engine.batches == [1] * 40


def test_what_waits_is_put_together() -> None:
    engine = _Engine(batch_sizes=(1, 4))
    with _running(engine) as batcher, ThreadPoolExecutor(8) as pool:
        engine.go.clear()
        first = pool.submit(batcher.detect, _picture(0))
        engine.entered.acquire()  # the first is inside the engine, alone: nobody waited for more
        others = [pool.submit(batcher.detect, _picture(value)) for value in range(1, 7)]
        _until(lambda: batcher._jobs.qsize() == 6)
        engine.go.set()
        values = [float(answer.result(10)[0, 0, 0]) for answer in [first, *others]]
    assert values == list(range(7))
    assert engine.batches == [1, 4, 2]


def test_a_batch_of_the_caller() -> None:
    with _running(_Engine()) as batcher:
        rows = batcher.detect(np.concatenate([_picture(3), _picture(5)]))
    assert rows.shape == (2, 1, 6)
    assert rows[:, 0, 0].tolist() == [3, 5]


def test_too_many_waiting() -> None:
    engine = _Engine()
    with _running(engine, max_waiting=2) as batcher, ThreadPoolExecutor(4) as pool:
        engine.go.clear()
        answers = [pool.submit(batcher.detect, _picture(1))]
        engine.entered.acquire()
        answers += [pool.submit(batcher.detect, _picture(1)) for _ in range(2)]
        _until(lambda: batcher._jobs.qsize() == 2)
        with pytest.raises(Overloaded, match="2 images are waiting"):
            batcher.detect(_picture(1))
        engine.go.set()
        assert [answer.result(10).shape for answer in answers] == [(1, 1, 6)] * 3


def test_given_up_in_the_queue_is_not_run() -> None:
    engine = _Engine()
    with _running(engine, patience=0.05) as batcher:
        engine.go.clear()
        with pytest.raises(TooSlow, match=r"no answer within 0\.05 seconds"):
            batcher.detect(_picture(1))
        assert not batcher.is_healthy  # it hangs inside the engine
        with pytest.raises(TooSlow):
            batcher.detect(_picture(2))
        engine.go.set()
        _until(lambda: batcher.is_healthy)
        assert batcher.detect(_picture(3))[0, 0, 0] == 3
    assert engine.batches == [1, 1]  # the second picture was never looked at


def test_failure_and_recovery() -> None:
    engine = _Engine()
    with _running(engine) as batcher:
        assert batcher.is_healthy
        engine.fails = True
        with pytest.raises(RuntimeError, match="no more memory"):
            batcher.detect(_picture(1))
        assert not batcher.is_healthy
        engine.fails = False
        assert batcher.detect(_picture(1))[0, 0, 0] == 1
        assert batcher.is_healthy
    assert not batcher.is_healthy  # closed


def test_loading_that_fails() -> None:
    def load() -> _Engine:
        raise ValueError("damaged")

    batcher = Batcher(load)
    assert not batcher.is_healthy
    batcher.start()
    with pytest.raises(ValueError, match="damaged"):
        batcher.wait_loaded(10)
    assert not batcher.is_healthy
    batcher.close()


def test_loading_that_takes_long() -> None:
    go = threading.Event()

    def load() -> _Engine:
        assert go.wait(10)
        return _Engine()

    batcher = Batcher(load, patience=0.01)
    batcher.start()
    assert not batcher.wait_loaded(0.01)
    assert not batcher.is_healthy
    with pytest.raises(TooSlow, match="still being loaded"):
        _ = batcher.image_shape
    go.set()
    assert batcher.wait_loaded(10)
    assert batcher.image_shape == 2
    batcher.close()


def test_close_answers_what_waits() -> None:
    engine = _Engine(batch_sizes=(1, 8))
    batcher = Batcher(lambda: engine)
    batcher.start()
    with ThreadPoolExecutor(3) as pool:
        engine.go.clear()
        answers = [pool.submit(batcher.detect, _picture(1))]
        engine.entered.acquire()
        answers.append(pool.submit(batcher.detect, _picture(2)))
        _until(lambda: batcher._jobs.qsize() == 1)
        closing = pool.submit(batcher.close)
        engine.go.set()
        closing.result(10)
        assert [float(answer.result(10)[0, 0, 0]) for answer in answers] == [1, 2]
    batcher.close()  # again
