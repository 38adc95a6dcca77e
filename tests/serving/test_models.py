from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sagemaker_object_detection.images import ImageError
from sagemaker_object_detection.serving import models as models_module
from sagemaker_object_detection.serving.admission import Admission
from sagemaker_object_detection.serving.batching import (
    InsufficientMemory,
    NotReady,
    Overloaded,
    UnusableModel,
)
from sagemaker_object_detection.serving.models import AlreadyLoaded, Models, UnknownModel
from sagemaker_object_detection.serving.settings import Settings
from sagemaker_object_detection.serving.trace import Trace
from tests.serving.pictures import JPEG

FOLDER = Path("/somewhere")
PATIENCE = 10.0


class _Engine:
    """Loads when it may, and notes what becomes of it."""

    image_shape = 8
    batch_sizes = (1,)
    class_names = ("cat", "dog")
    thresholds = ()

    def __init__(self, fault: Exception | None = None, held: bool = False) -> None:
        self.fault = fault
        self.may_load = threading.Event()
        self.starting = threading.Event()
        self.closed = False
        if not held:
            self.may_load.set()

    def start(self) -> _Engine:
        self.starting.set()
        assert self.may_load.wait(PATIENCE)
        if self.fault is not None:
            raise self.fault
        return self

    def warm_up(self) -> None: ...

    def detect(self, planes: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        return np.full((len(planes), 1, 6), -1, np.float32)

    def close(self) -> None:
        self.closed = True


class _Factory:
    """Hands out the engines that the test has put in, then plain ones."""

    def __init__(self) -> None:
        self.coming: list[_Engine] = []
        self.made: list[_Engine] = []

    def __call__(self, folder: Path) -> _Engine:
        engine = self.coming.pop(0) if self.coming else _Engine()
        self.made.append(engine)
        return engine


@pytest.fixture
def factory() -> _Factory:
    return _Factory()


@pytest.fixture
def models(factory: _Factory) -> Models:
    return Models(factory, Settings(timeout=5), Admission(most=2), available=lambda: 1000)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def _load(models: Models, name: str = "a", need: int = 1) -> None:
    models.load(name, f"url of {name}", FOLDER, need)


def _names(models: Models) -> list[str]:
    return list(models.urls())


def _soon(condition: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do; there is no event for it."""
    pause = threading.Event()
    for _ in range(1000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it does not happen")


def test_life_of_a_model(models: Models, factory: _Factory) -> None:
    _load(models)
    assert models.urls() == {"a": "url of a"}
    with models.use("a") as predictor:
        assert predictor.class_names == ("cat", "dog")
        assert len(predictor.predict(JPEG)) == 0
    models.unload("a")
    assert factory.made[0].closed
    assert _names(models) == []
    for call in (models.unload, lambda name: models.use(name).__enter__()):
        with pytest.raises(UnknownModel, match="'a'"):
            call("a")


def test_loaded_already(models: Models, factory: _Factory) -> None:
    _load(models)
    with pytest.raises(AlreadyLoaded):
        _load(models)
    assert len(factory.made) == 1


def test_a_failure_leaves_nothing(models: Models, factory: _Factory) -> None:
    factory.coming = [_Engine(UnusableModel("broken"))]
    with pytest.raises(UnusableModel, match="broken"):
        _load(models)
    assert factory.made[0].closed
    _load(models)
    assert _names(models) == ["a"]


def test_the_second_of_two_loads_waits_for_the_first(
    models: Models, factory: _Factory, pool: ThreadPoolExecutor
) -> None:
    factory.coming = [_Engine(held=True)]
    first = pool.submit(_load, models)
    _soon(lambda: bool(factory.made))
    second = pool.submit(_load, models)
    with pytest.raises(TimeoutError):
        second.result(0.1)
    factory.made[0].may_load.set()
    first.result(PATIENCE)
    assert isinstance(second.exception(PATIENCE), AlreadyLoaded)


def test_the_second_tries_itself_when_the_first_fails(
    models: Models, factory: _Factory, pool: ThreadPoolExecutor
) -> None:
    factory.coming = [_Engine(UnusableModel("broken"), held=True)]
    first = pool.submit(_load, models)
    _soon(lambda: bool(factory.made))
    second = pool.submit(_load, models)
    factory.made[0].may_load.set()
    assert isinstance(first.exception(PATIENCE), UnusableModel)
    second.result(PATIENCE)
    assert _names(models) == ["a"]


def test_while_one_is_loaded_others_are_used(
    models: Models, factory: _Factory, pool: ThreadPoolExecutor
) -> None:
    _load(models, "b")
    factory.coming = [_Engine(held=True)]
    loading = pool.submit(_load, models)
    _soon(lambda: len(factory.made) == 2)
    with models.use("b") as predictor:
        predictor.predict(JPEG)
    assert _names(models) == ["b"]
    with pytest.raises(NotReady, match="still being loaded"), models.use("a"):
        pass
    factory.made[1].may_load.set()
    loading.result(PATIENCE)
    assert _names(models) == ["a", "b"]


def test_unload_waits_for_the_load(
    models: Models, factory: _Factory, pool: ThreadPoolExecutor
) -> None:
    factory.coming = [_Engine(held=True)]
    loading = pool.submit(_load, models)
    _soon(lambda: bool(factory.made))
    unloading = pool.submit(models.unload, "a")
    with pytest.raises(TimeoutError):
        unloading.result(0.1)
    factory.made[0].may_load.set()
    loading.result(PATIENCE)
    unloading.result(PATIENCE)
    assert factory.made[0].closed


def test_unload_waits_for_what_is_being_answered(
    models: Models, factory: _Factory, pool: ThreadPoolExecutor
) -> None:
    _load(models)
    with models.use("a") as predictor:
        unloading = pool.submit(models.unload, "a")
        _soon(lambda: not _names(models))
        with pytest.raises(UnknownModel), models.use("a"):
            pass
        predictor.predict(JPEG)
        assert not unloading.done()
        assert not factory.made[0].closed
        _load(models)  # under the same name, meanwhile: another process
    unloading.result(PATIENCE)
    assert [engine.closed for engine in factory.made] == [True, False]


def test_unload_waits_no_longer_than_a_request_may_take(factory: _Factory) -> None:
    models = Models(factory, Settings(timeout=1), available=lambda: None)
    _load(models)
    with models.use("a"):
        models.unload("a")
        assert factory.made[0].closed


@pytest.mark.parametrize(
    ("available", "need", "fits"),
    [
        pytest.param(1000, 1000, True, id="just enough"),
        pytest.param(1000, 1001, False, id="a byte too little"),
        pytest.param(None, 10**15, True, id="the system does not tell"),
        pytest.param(-5, 0, False, id="less than nothing"),
    ],
)
def test_memory(factory: _Factory, available: int | None, need: int, fits: bool) -> None:
    models = Models(factory, Settings(), available=lambda: available)
    if fits:
        _load(models, need=need)
        return
    with pytest.raises(InsufficientMemory, match="MB are left"):
        _load(models, need=need)
    assert not factory.made


def test_what_is_being_loaded_counts_as_taken(
    models: Models, factory: _Factory, pool: ThreadPoolExecutor
) -> None:
    factory.coming = [_Engine(held=True)]
    loading = pool.submit(_load, models, "a", 600)
    _soon(lambda: bool(factory.made))
    with pytest.raises(InsufficientMemory):
        _load(models, "b", 600)
    factory.made[0].may_load.set()
    loading.result(PATIENCE)
    _load(models, "b", 600)  # from now on the system knows what the first has taken


def test_requests_to_all_models_are_limited(models: Models) -> None:
    _load(models, "a")
    _load(models, "b")
    with models.use("a") as first, models.use("b") as second:
        with (
            first.admission.admitted(),
            second.admission.admitted(),
            pytest.raises(Overloaded, match="2 images"),
        ):
            first.predict_traced(b"", "nothing", Trace())
        with pytest.raises(ImageError):
            first.predict_traced(b"", "nothing", Trace())


def test_changes_are_limited(
    factory: _Factory, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models_module, "MAX_CHANGES", 2)
    models = Models(factory, Settings(), available=lambda: None)
    factory.coming = [_Engine(held=True), _Engine(held=True)]
    loading: list[Future[None]] = [pool.submit(_load, models, name) for name in "ab"]
    _soon(lambda: len(factory.made) == 2)
    with pytest.raises(Overloaded, match="2 models"):
        _load(models, "c")
    for engine in factory.made:
        engine.may_load.set()
    for one in loading:
        one.result(PATIENCE)
    _load(models, "c")


def test_many_threads_at_once(factory: _Factory, pool: ThreadPoolExecutor) -> None:
    """Loads, uses and unloads of a few names in any order end, and leave a table that is right."""
    models = Models(factory, Settings(timeout=5), Admission(), available=lambda: None)

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(40):
            name = "abc"[random.integers(3)]
            try:
                match random.integers(3):
                    case 0:
                        _load(models, name)
                    case 1:
                        models.unload(name)
                    case _:
                        with models.use(name) as predictor:
                            predictor.predict(JPEG)
            except (UnknownModel, AlreadyLoaded, NotReady):
                pass

    for done in [pool.submit(work, seed) for seed in range(8)]:
        done.result(30)
    for name in _names(models):
        models.unload(name)
    assert _names(models) == []
    assert all(engine.closed for engine in factory.made)
