"""The models of a multi-model endpoint: loaded, used and unloaded by many threads at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sagemaker_object_detection.platform import memory
from sagemaker_object_detection.serving.admission import Admission, TracedPredictor
from sagemaker_object_detection.serving.batching import (
    Batcher,
    InsufficientMemory,
    NotReady,
    Overloaded,
)
from sagemaker_object_detection.serving.metrics import Metrics
from sagemaker_object_detection.serving.model_process import ModelProcess
from sagemaker_object_detection.serving.settings import Settings

log = logging.getLogger(__name__)

MAX_CHANGES = 32
"""Models that are loaded or unloaded at a time before the endpoint answers 503; each keeps a
thread of the server busy."""

_MEGABYTE = 2**20


class UnknownModel(LookupError):
    """A name under which no model is loaded."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no model is loaded under the name {name!r}")


class AlreadyLoaded(RuntimeError):
    """A name under which there is a model."""


@dataclass(eq=False)
class _Model:
    """need: bytes that loading takes. predictor: None while it is being loaded. in_use: requests
    that it is answering."""

    url: str
    need: int
    process: ModelProcess
    batcher: Batcher
    predictor: TracedPredictor | None = None
    in_use: int = 0

    def free(self) -> None:
        self.process.close()  # a run that takes too long ends with it
        self.batcher.close()
        memory.give_back()


class Models:
    """The table of models. Requests wait only for a change of the model that they name.

    make_process: makes the process of an artifact's folder, not yet started.
    admission, metrics: of all models together.
    available: bytes of memory that are left, None where that is not known.
    """

    def __init__(
        self,
        make_process: Callable[[Path], ModelProcess],
        settings: Settings,
        admission: Admission | None = None,
        metrics: Metrics | None = None,
        available: Callable[[], int | None] = memory.available,
    ) -> None:
        self._make_process = make_process
        self._settings = settings
        self._admission = admission or Admission()
        self._metrics = metrics
        self._available = available
        self._changes = threading.BoundedSemaphore(MAX_CHANGES)
        self._models: dict[str, _Model] = {}
        self._changed = threading.Condition()
        """Guards the table and its models, and is held only for reading and writing them."""

    def load(self, name: str, url: str, folder: Path, need: int) -> None:
        """Load the artifact in `folder`, which takes `need` bytes; return when it can be used.

        Of two calls for one name, the second waits for the first.

        Raises AlreadyLoaded, InsufficientMemory, Overloaded, and what starting the engine raises.
        """
        with self._change():
            with self._changed:
                if self._settled(name) is not None:
                    raise AlreadyLoaded(f"a model is loaded already under the name {name!r}")
                self._require(need)
                model = self._models[name] = self._make(url, folder, need)
            try:
                model.batcher.start()
                model.batcher.wait_loaded()
            except BaseException:
                with self._changed:
                    del self._models[name]
                    self._changed.notify_all()
                model.free()
                raise
            with self._changed:
                process = model.process
                model.predictor = TracedPredictor(
                    model.batcher, process.class_names, self._admission, process.thresholds
                )
                self._changed.notify_all()
        log.info("Loaded the model %r of %s.", name, url)

    def unload(self, name: str) -> None:
        """Take a model out; return when what it is answering is answered and its memory is free.

        While it is being loaded, wait for that first. Raises UnknownModel, Overloaded.
        """
        with self._change():
            with self._changed:
                model = self._settled(name)
                if model is None:
                    raise UnknownModel(name)
                del self._models[name]
                # By then requests have timed out; a run that goes on ends with the process.
                self._changed.wait_for(lambda: not model.in_use, self._settings.timeout)
            model.free()
        log.info("Unloaded the model %r.", name)

    @contextmanager
    def use(self, name: str) -> Iterator[TracedPredictor]:
        """The predictor of a model, which stays loaded for the block.

        Raises UnknownModel, NotReady while it is being loaded.
        """
        with self._changed:
            model = self._models.get(name)
            if model is None:
                raise UnknownModel(name)
            if model.predictor is None:
                raise NotReady(f"the model {name!r} is still being loaded")
            model.in_use += 1
        try:
            yield model.predictor
        finally:
            with self._changed:
                model.in_use -= 1
                self._changed.notify_all()

    def urls(self) -> dict[str, str]:
        """Name -> url of the models that are loaded, ordered by name."""
        with self._changed:
            loaded = {name: one.url for name, one in self._models.items() if one.predictor}
        return dict(sorted(loaded.items()))

    def _settled(self, name: str) -> _Model | None:
        """The model under a name, waiting while it is being loaded; None without one."""
        while (model := self._models.get(name)) is not None and model.predictor is None:
            self._changed.wait()
        return model

    def _make(self, url: str, folder: Path, need: int) -> _Model:
        process, settings = self._make_process(folder), self._settings
        waiting, delay = self._admission.most, settings.max_delay_ms / 1000
        batcher = Batcher(process.start, waiting, settings.timeout, delay, self._metrics)
        return _Model(url, need, process, batcher)

    def _require(self, need: int) -> None:
        """Raise InsufficientMemory unless there is enough, besides what is being loaded."""
        left = self._available()
        if left is None:
            return
        left -= sum(model.need for model in self._models.values() if model.predictor is None)
        if need > left:
            needed, rest = need // _MEGABYTE, max(0, left) // _MEGABYTE
            raise InsufficientMemory(
                f"the model needs some {needed} MB of memory, and {rest} MB are left"
            )

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Raises Overloaded when there are too many at a time."""
        if not self._changes.acquire(blocking=False):
            raise Overloaded(f"{MAX_CHANGES} models are being loaded or unloaded already")
        try:
            yield
        finally:
            self._changes.release()
