"""The process of one model of a multi-model endpoint, seen from both sides.

Each model has its own process: ending it gives back all memory, MXNet's included, and a crash or a
hang affects no other model. ModelProcess is the server's side. The process itself is
`python -m sagemaker_object_detection.serving.model_process DESCRIPTOR PARENT FOLDER`: it loads the
artifact in FOLDER, sends class names, image_shape and batch sizes, and then answers each batch of
images with its rows. Instead of any answer it may send the exception that the server is to raise.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sagemaker_object_detection.inference.conversion import ConversionKilled
from sagemaker_object_detection.inference.predictor import Rows
from sagemaker_object_detection.platform import logs, memory
from sagemaker_object_detection.platform.child import Child
from sagemaker_object_detection.platform.errors import (
    AlgorithmError,
    as_job_error,
    first_line,
    lacks_memory,
)
from sagemaker_object_detection.platform.orphans import end_with_parent
from sagemaker_object_detection.platform.python_process import with_package
from sagemaker_object_detection.platform.threads import set_threads
from sagemaker_object_detection.serving.batching import (
    BatchEngine,
    InsufficientMemory,
    ModelFailed,
    UnusableModel,
)
from sagemaker_object_detection.serving.engines import load_engine, make_plan
from sagemaker_object_detection.serving.settings import Settings

log = logging.getLogger(__name__)

LOAD_PATIENCE = 300.0
"""Seconds for loading a model, conversion included: on two cores a large one takes 20."""

_UNLOADED = "the model is being unloaded"
_MODULE = "sagemaker_object_detection.serving.model_process"
_SECONDS_TO_END = 5.0


class ModelProcess:
    """Runs images in the process of a model; a BatchEngine, whose attributes start sets.

    A process that ended, or was ended because a run took too long, is started again for the next
    image. start and detect are for one thread, which has to live as long as the process.

    environ: of the process, which reads its settings from it. patience: seconds for a run.
    """

    class_names: tuple[str, ...] = ()
    thresholds: tuple[float, ...] = ()
    image_shape = 0
    batch_sizes: tuple[int, ...] = ()

    def __init__(self, folder: Path, environ: Mapping[str, str], patience: float) -> None:
        self._folder = folder
        self._environ = with_package(environ)
        self._patience = patience
        self._running: tuple[Child, Connection] | None = None
        self._closed = False
        self._guard = threading.Lock()  # of the two above

    def start(self) -> ModelProcess:
        """Start the process, wait until the model is loaded and has run once; return self.

        Raises UnusableModel, InsufficientMemory, or ModelFailed when it takes too long.
        """
        with self._guard:
            if self._closed:
                raise ModelFailed(_UNLOADED)
            link, theirs = Pipe()
            with theirs:
                place = (str(theirs.fileno()), str(os.getpid()), str(self._folder))
                command = [sys.executable, "-W", "ignore", "-m", _MODULE, *place]
                name = f"the process of {self._folder}"
                child = Child.start(name, command, self._environ, theirs.fileno())
            self._running = child, link
        try:
            loaded = self._answer(LOAD_PATIENCE)
        except Exception:
            self._end()
            raise
        self.class_names, self.thresholds, self.image_shape, self.batch_sizes = loaded
        return self

    @property
    def pid(self) -> int | None:
        """Of the process, None while there is none."""
        running = self._running
        return None if running is None else running[0].process.pid

    def warm_up(self) -> None:
        """The process has run every batch size before it said that it is ready."""

    def detect(self, planes: npt.NDArray[Any]) -> Rows:
        """As BatchEngine. Raises ModelFailed, InsufficientMemory, and what start raises."""
        if self._running is None:
            log.warning("Starting the process of %s again.", self._folder)
            self.start()
        rows: Rows = self._answer(self._patience, planes)
        return rows

    def close(self) -> None:
        """End the process and wait until its memory is free; from any thread, idempotent."""
        with self._guard:
            self._closed = True
        self._end()

    def _answer(self, patience: float, planes: npt.NDArray[Any] | None = None) -> Any:  # noqa: ANN401
        """What the process sends next, of the images if there are any."""
        running = self._running
        if running is None:
            raise ModelFailed(_UNLOADED)
        child, link = running
        late = threading.Event()

        def give_up() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(patience, give_up)
        timer.daemon = True
        timer.start()
        try:
            if planes is not None:
                link.send((planes.dtype.str, planes.shape))
                link.send_bytes(planes.ravel().data)  # a pickle would copy them several times
            answer = link.recv()
        except (OSError, EOFError) as error:
            code = self._end(_SECONDS_TO_END)
            if late.is_set():
                raise ModelFailed("the process of the model took too long and was ended") from error
            if code is None:
                raise ModelFailed(_UNLOADED) from error
            if code == -signal.SIGKILL:
                raise InsufficientMemory(
                    "the process of the model was killed, most often because memory is short"
                ) from error
            raise (UnusableModel if planes is None else ModelFailed)(str(child.end)) from error
        finally:
            timer.cancel()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _end(self, patience: float = 0.0) -> int | None:
        """End the process unless it ends by itself; return its exit code, None without one."""
        with self._guard:
            running, self._running = self._running, None
        if running is None:
            return None
        child, _ = running  # the connection closes itself once no thread waits on it
        try:
            return child.process.wait(patience)
        except subprocess.TimeoutExpired:
            child.kill()
            return child.process.wait()


def run(link: Connection, folder: Path) -> None:
    """Load the model and run images until the other side closes."""
    with suppress(EOFError, ConnectionError):  # the server has unloaded the model, or has ended
        try:
            engine, names, thresholds = _load(folder)
        except Exception as error:  # noqa: BLE001 - the boundary of the process
            link.send(_fault(error, UnusableModel))
            return
        link.send((names, thresholds, engine.image_shape, engine.batch_sizes))
        while True:
            dtype, shape = link.recv()
            planes = np.frombuffer(link.recv_bytes(), dtype).reshape(shape)
            try:
                answer: Rows | Exception = engine.detect(planes)
            except Exception as error:  # noqa: BLE001 - the server reports it to the client
                answer = _fault(error, ModelFailed)
            link.send(answer)


def _load(folder: Path) -> tuple[BatchEngine, tuple[str, ...], tuple[float, ...]]:
    settings = Settings.from_environment(os.environ)
    threads = set_threads(os.environ)
    plan = make_plan(folder, settings, os.environ)
    engine = load_engine(plan, settings, threads)
    engine.warm_up()
    names, thresholds = plan.config.class_names, plan.config.thresholds
    del plan  # it may hold an ONNX model in memory, as large as the model
    memory.give_back()
    return engine, names, thresholds


def _fault(error: Exception, kind: type[Exception]) -> Exception:
    """What the server is to raise: InsufficientMemory, or a `kind`."""
    text = f"{type(error).__name__}: {first_line(error)}"
    if lacks_memory(error) or isinstance(error, ConversionKilled):
        return InsufficientMemory(text)
    failure = as_job_error(error)
    if not isinstance(failure, AlgorithmError):
        return kind(str(failure))
    log.error("The process of a model failed.", exc_info=error)
    return kind(text)


if __name__ == "__main__":
    end_with_parent(int(sys.argv[2]))
    with suppress(OSError):  # when memory is short, the system is to end a model, not the server
        Path("/proc/self/oom_score_adj").write_text("500")
    logs.setup(sys.stderr, Settings.from_environment(os.environ).log_level)
    run(Connection(int(sys.argv[1])), Path(sys.argv[3]))
