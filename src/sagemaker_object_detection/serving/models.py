"""The models of a multi-model endpoint: loaded, used and unloaded by many threads at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sagemaker_object_detection.platform import memory
from sagemaker_object_detection.serving.admission import Admission, TracedPredictor
from sagemaker_object_detection.serving.batching import (
    BatchEngine,
    Batcher,
    InsufficientMemory,
    NotReady,
    Overloaded,
    Watcher,
)
from sagemaker_object_detection.serving.settings import Settings

log = logging.getLogger(__name__)

MAX_CHANGES = 32
"""Models that are loaded or unloaded at a time before the endpoint answers 503; each keeps a
thread of the server busy."""

_PAGE = 100
_MEGABYTE = 2**20


class UnknownModel(LookupError):
    """A name under which no model is loaded."""


class AlreadyLoaded(RuntimeError):
    """A name under which there is a model."""


class StartedEngine(BatchEngine, Protocol):
    """An engine that can be started and closed, see model_engine."""

    @property
    def class_names(self) -> Sequence[str]:
        """In the order of the class_ids, once it is started."""

    def start(self) -> BatchEngine:
        """Load the model; called in the thread that is to use it."""

    def close(self) -> None:
        """Give its memory back; from any thread."""


@dataclass(eq=False)
class Model:
    """A model under its name; predictor is None until it is loaded.

    need: bytes that loading takes. in_use: requests that it is answering.
    """

    name: str
    url: str
    need: int
    engine: StartedEngine
    batcher: Batcher
    predictor: TracedPredictor | None = field(default=None)
    in_use: int = 0


class Models:
    """The table of models. Nothing waits for a model to be loaded but who asks for that one.

    make_engine: makes the engine of an artifact's folder, not yet started.
    admission: to all models together.
    watcher: is told of all models' queues and batches.
    available: bytes of memory that are left, None where that is not known.
    """

    def __init__(
        self,
        make_engine: Callable[[Path], StartedEngine],
        settings: Settings,
        admission: Admission | None = None,
        watcher: Watcher | None = None,
        available: Callable[[], int | None] = memory.available,
    ) -> None:
        self._make_engine = make_engine
        self._settings = settings
        self._admission = admission or Admission()
        self._watcher = watcher
        self._available = available
        self._models: dict[str, Model] = {}
        self._changes = 0
        self._changed = threading.Condition()
        """Guards all of the above, and is held for no longer than reading and writing it."""

    def load(self, name: str, url: str, folder: Path, need: int) -> None:
        """Load the artifact in `folder` and return when it can be used.

        Of two calls for one name, the second waits for the first.
        need: bytes of memory that it takes.

        Raises AlreadyLoaded, InsufficientMemory, Overloaded, and what starting the engine raises.
        """
        with self._change():
            model = self._enter(name, url, folder, need)
            try:
                model.batcher.start()
                model.batcher.wait_loaded()
                predictor = TracedPredictor(
                    model.batcher, model.engine.class_names, self._admission
                )
            except BaseException:
                with self._changed:
                    del self._models[name]
                    self._changed.notify_all()
                self._free(model)
                raise
            with self._changed:
                model.predictor = predictor
                self._changed.notify_all()
        log.info("Loaded the model %r of %s.", name, url)

    def unload(self, name: str) -> None:
        """Take a model out; return when what it is answering is answered and its memory is free.

        While it is being loaded, wait for that first. Raises UnknownModel, Overloaded.
        """
        with self._change():
            with self._changed:
                while (model := self._known(name)).predictor is None:
                    self._changed.wait()
                del self._models[name]
                # By then who waits is given up; what still runs ends with the process.
                self._changed.wait_for(lambda: not model.in_use, self._settings.timeout)
            self._free(model)
        log.info("Unloaded the model %r.", name)

    @contextmanager
    def use(self, name: str) -> Iterator[TracedPredictor]:
        """The predictor of a model, which stays loaded for the block.

        Raises UnknownModel, NotReady while it is being loaded.
        """
        with self._changed:
            model = self._known(name)
            if model.predictor is None:
                raise NotReady(f"the model {name!r} is still being loaded")
            model.in_use += 1
        try:
            yield model.predictor
        finally:
            with self._changed:
                model.in_use -= 1
                self._changed.notify_all()

    def find(self, name: str) -> Model:
        """A model that is loaded. Raises UnknownModel."""
        with self._changed:
            model = self._known(name)
            if model.predictor is None:
                raise UnknownModel(f"the model {name!r} is still being loaded")
            return model

    def page(self, after: str | None = None) -> tuple[list[Model], bool]:
        """Up to 100 loaded models by name, those behind the name `after`; whether there are more.

        A model that is there all the time is on one of the pages, whatever comes and goes.
        """
        with self._changed:
            loaded = [model for model in self._models.values() if model.predictor is not None]
        found = sorted(
            (model for model in loaded if after is None or model.name > after),
            key=lambda model: model.name,
        )
        return found[:_PAGE], len(found) > _PAGE

    def _known(self, name: str) -> Model:
        try:
            return self._models[name]
        except KeyError:
            raise UnknownModel(f"no model is loaded under the name {name!r}") from None

    def _enter(self, name: str, url: str, folder: Path, need: int) -> Model:
        """Put a model that is to be loaded into the table."""
        with self._changed:
            while (other := self._models.get(name)) is not None:
                if other.predictor is not None:
                    raise AlreadyLoaded(f"a model is loaded already under the name {name!r}")
                self._changed.wait()
            self._require(need)
            engine = self._make_engine(folder)
            batcher = Batcher(
                engine.start,
                self._admission.most,
                self._settings.timeout,
                self._settings.max_delay_ms / 1000,
                self._watcher,
            )
            model = self._models[name] = Model(name, url, need, engine, batcher)
            return model

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
        with self._changed:
            if self._changes >= MAX_CHANGES:
                raise Overloaded(f"{self._changes} models are being loaded or unloaded already")
            self._changes += 1
        try:
            yield
        finally:
            with self._changed:
                self._changes -= 1

    def _free(self, model: Model) -> None:
        model.engine.close()  # a run that takes too long ends with it
        model.batcher.close()
        memory.give_back()
