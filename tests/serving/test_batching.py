from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sagemaker_object_detection.serving.batching import Batcher, NotReady, Overloaded, TooSlow
from sagemaker_object_detection.serving.trace import Trace


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


def _is_ready(batcher: Batcher) -> bool:
    try:
        batcher.check_ready()
    except NotReady:
        return False
    return True


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
        _until(lambda: not _is_ready(batcher))  # it hangs inside the engine
        with pytest.raises(NotReady, match=r"takes more than 0\.05 seconds"):
            batcher.check_ready()
        with pytest.raises(TooSlow):
            batcher.detect(_picture(2))
        engine.go.set()
        _until(lambda: _is_ready(batcher))
        assert batcher.detect(_picture(3))[0, 0, 0] == 3
    assert engine.batches == [1, 1]  # the second picture was never looked at


def test_what_a_request_has_waited_already_counts() -> None:
    engine = _Engine()
    with _running(engine, patience=60) as batcher:
        engine.go.clear()
        trace = Trace(seconds={"receive": 30.0, "queue": 50.0, "decode": 9.9})
        start = time.monotonic()
        with pytest.raises(TooSlow, match="no answer within 60 seconds"):
            batcher.detect_traced(_picture(1)[0], trace)
        assert 0.1 <= time.monotonic() - start < 5


def test_failure_and_recovery() -> None:
    engine = _Engine()
    with _running(engine) as batcher:
        assert _is_ready(batcher)
        engine.fails = True
        with pytest.raises(RuntimeError, match="no more memory"):
            batcher.detect(_picture(1))
        with pytest.raises(NotReady, match="last run of the model failed"):
            batcher.check_ready()
        engine.fails = False
        assert batcher.detect(_picture(1))[0, 0, 0] == 1
        assert _is_ready(batcher)
    with pytest.raises(NotReady, match="thread that runs the model has ended"):
        batcher.check_ready()


def test_an_engine_is_ready_after_its_warm_up() -> None:
    warm = threading.Event()

    class Cold(_Engine):
        def warm_up(self) -> None:
            assert warm.wait(10)

    batcher = Batcher(Cold)
    batcher.start()
    assert not batcher.wait_loaded(0.01)
    assert not _is_ready(batcher)
    warm.set()
    assert batcher.wait_loaded(10)
    batcher.check_ready()
    batcher.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_not_ready() -> None:
    class Deadly(_Engine):
        def detect(self, planes: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
            raise SystemExit  # no Exception: nothing in the thread catches it

    batcher = Batcher(Deadly, patience=0.05)
    batcher.start()
    assert batcher.wait_loaded(10)
    batcher.check_ready()
    with pytest.raises(TooSlow):
        batcher.detect(_picture(1))
    batcher._thread.join(10)
    with pytest.raises(NotReady, match="thread that runs the model has ended"):
        batcher.check_ready()


class _Watcher:
    def __init__(self) -> None:
        self.waiting = 0
        self.most = 0
        self.batches: list[int] = []
        self._lock = threading.Lock()

    def queued(self, change: int) -> None:
        with self._lock:
            self.waiting += change
            assert self.waiting >= 0
            self.most = max(self.most, self.waiting)

    def ran(self, batch: int) -> None:
        self.batches.append(batch)


def test_traces_and_watcher() -> None:
    engine, watcher = _Engine(batch_sizes=(1, 4)), _Watcher()
    traces = [Trace() for _ in range(4)]
    with _running(engine, metrics=watcher, max_waiting=3) as batcher, ThreadPoolExecutor(4) as pool:
        engine.go.clear()
        jobs = [pool.submit(batcher.detect_traced, _picture(0)[0], traces[0])]
        engine.entered.acquire()
        jobs += [pool.submit(batcher.detect_traced, _picture(n)[0], traces[n]) for n in (1, 2, 3)]
        _until(lambda: watcher.waiting == 3)
        with pytest.raises(Overloaded):
            batcher.detect(_picture(4))
        held = time.perf_counter()
        threading.Event().wait(0.03)
        engine.go.set()
        rows = [job.result(10) for job in jobs]
    assert [row[0, 0] for row in rows] == [0, 1, 2, 3]
    assert watcher.batches == engine.batches == [1, 3]
    assert watcher.waiting == 0
    assert watcher.most in (3, 4)  # 4 while the one too many was turned away
    assert [trace.batch for trace in traces] == [1, 3, 3, 3]
    whole = time.perf_counter() - held
    assert traces[0].seconds["queue"] < traces[0].seconds["model"]
    for trace in traces[1:]:
        assert trace.seconds["queue"] >= 0.03
        assert 0 < trace.seconds["model"] < whole


def test_a_run_that_fails_is_traced() -> None:
    engine, trace = _Engine(), Trace()
    engine.fails = True
    with _running(engine) as batcher, pytest.raises(RuntimeError):
        batcher.detect_traced(_picture(1)[0], trace)
    assert set(trace.seconds) == {"queue", "model"}


def test_loading_that_fails() -> None:
    def load() -> _Engine:
        raise ValueError("damaged")

    batcher = Batcher(load)
    batcher.start()
    with pytest.raises(ValueError, match="damaged"):
        batcher.wait_loaded(10)
    with pytest.raises(NotReady, match="could not be loaded"):
        batcher.check_ready()
    batcher.close()


def test_loading_that_takes_long() -> None:
    go = threading.Event()

    def load() -> _Engine:
        assert go.wait(10)
        return _Engine()

    batcher = Batcher(load, patience=0.01)
    batcher.start()
    assert not batcher.wait_loaded(0.01)
    with pytest.raises(NotReady, match="still being loaded"):
        batcher.check_ready()
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
