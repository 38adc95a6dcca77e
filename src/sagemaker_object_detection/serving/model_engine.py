"""The engine of a model in a process of its own.

model_process is that process. Why one for each model: ending it gives back all memory, MXNet's
included; what a model does to it, a crash or a hang, is done to no other.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sagemaker_object_detection.inference.predictor import Rows
from sagemaker_object_detection.platform.child import Child
from sagemaker_object_detection.platform.python_process import with_package
from sagemaker_object_detection.serving.model_process import NO_MEMORY, UNUSABLE, receive, send

log = logging.getLogger(__name__)

_MODULE = "sagemaker_object_detection.serving.model_process"
_SECONDS_TO_END = 5.0
_NO_ROOM = (errno.ENOMEM, errno.EAGAIN)
"""What the system says when it has no memory, or no number, for one more process."""

_UNLOADED = "the model is being unloaded"
LOAD_PATIENCE = 300.0
"""Seconds for loading a model, conversion included: on two cores a large one takes 20."""


class UnusableModel(ValueError):
    """An artifact that cannot be served."""


class InsufficientMemory(RuntimeError):
    """Memory does not suffice for a model."""


class ModelFailed(RuntimeError):
    """The process of a model failed or ended; the next image starts it again."""


@dataclass(frozen=True)
class _Running:
    child: Child
    stream: socket.socket
    link: Connection


class ModelEngine:
    """Runs images in the process of a model; a BatchEngine.

    A process that has ended, or was ended because it took too long, is started again for the
    next image. start and detect are for one thread, which has to live as long as the process.

    folder: of the artifact; class_names, image_shape and batch_sizes are those of the model, once
    it was started. environ: of the process; its settings are read from it.
    patience: seconds for a run. load_patience: seconds for loading.
    """

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str],
        patience: float,
        load_patience: float = LOAD_PATIENCE,
    ) -> None:
        self._folder = folder
        self._environ = with_package(environ)
        self._patience = patience
        self._load_patience = load_patience
        self._running: _Running | None = None
        self.class_names: tuple[str, ...] = ()
        self.image_shape = 0
        self.batch_sizes: tuple[int, ...] = ()
        self._closed = False
        self._ending = threading.Lock()

    def start(self) -> ModelEngine:
        """Start the process, wait until the model is loaded and has run once; return self.

        Raises UnusableModel, InsufficientMemory, or ModelFailed when it takes too long.
        """
        if self._closed:
            raise ModelFailed(_UNLOADED)
        ours, theirs = socket.socketpair()
        patience = struct.pack("ll", max(1, round(self._patience)), 0)
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):  # in the middle of a message
            ours.setsockopt(socket.SOL_SOCKET, option, patience)
        with theirs:
            command = [
                *(sys.executable, "-W", "ignore", "-m", _MODULE),
                *(str(theirs.fileno()), str(os.getpid()), str(self._folder)),
            ]
            try:
                child = Child.start(
                    f"the process of {self._folder}", command, self._environ, theirs.fileno()
                )
            except OSError as error:
                ours.close()
                if error.errno not in _NO_ROOM:
                    raise
                raise InsufficientMemory(
                    f"the process of the model cannot be started ({error.strerror})"
                ) from error
        self._running = _Running(child, ours, Connection(os.dup(ours.fileno())))
        if self._closed:  # meanwhile, when there was nothing to end yet
            self._end()
        told, _ = self._exchange(self._load_patience, loading=True)
        self.class_names = tuple(told["class_names"])
        self.image_shape, self.batch_sizes = told["image_shape"], tuple(told["batch_sizes"])
        return self

    @property
    def pid(self) -> int | None:
        """Of the process, None while there is none."""
        running = self._running
        return None if running is None else running.child.process.pid

    def warm_up(self) -> None:
        """The process has run every batch size before it said that it is ready."""

    def detect(self, planes: npt.NDArray[Any]) -> Rows:
        """As BatchEngine. Raises ModelFailed, InsufficientMemory."""
        if self._running is None:
            log.warning("Starting the process of %s again.", self._folder)
            self.start()
        images = np.ascontiguousarray(planes)
        head = {"type": images.dtype.name, "shape": images.shape}
        told, content = self._exchange(self._patience, False, head, images.data.cast("B"))
        rows: Rows = np.frombuffer(content, np.float32).reshape(told["shape"])
        return rows

    def close(self) -> None:
        """End the process and wait until its memory is free; from any thread, idempotent."""
        self._closed = True
        self._end()

    def _exchange(
        self,
        patience: float,
        loading: bool,
        head: Mapping[str, object] | None = None,
        content: memoryview | bytes = b"",
    ) -> tuple[dict[str, Any], bytes]:
        """Send a message, if there is one, and wait for the next."""
        running = self._running
        if running is None:
            raise ModelFailed(_UNLOADED)
        try:
            if head is not None:
                send(running.link, head, content)
            told, answer = receive(running.link, patience)
        except (OSError, EOFError) as error:
            raise self._ended(error, loading) from error
        if "fault" not in told:
            return told, answer
        if loading:
            self._end()
        if told["fault"] == NO_MEMORY:
            raise InsufficientMemory(told["text"])
        if loading or told["fault"] == UNUSABLE:
            raise UnusableModel(told["text"])
        raise ModelFailed(told["text"])

    def _ended(self, error: Exception, loading: bool) -> Exception:
        """What to raise when the process does not answer; it is gone afterwards."""
        late = isinstance(error, TimeoutError | BlockingIOError)
        code = self._end(0.0 if late else _SECONDS_TO_END)
        if late:
            return ModelFailed("the process of the model took too long and was ended")
        if self._closed:
            return ModelFailed(_UNLOADED)
        if code == -signal.SIGKILL:
            return InsufficientMemory(
                "the process of the model was killed, most often because memory is short"
            )
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        text = f"the process of the model ended with {how}"
        return UnusableModel(text) if loading else ModelFailed(text)

    def _end(self, wait: float = 0.0) -> int:
        """End the process if there is one, waiting so many seconds for it to end by itself;
        return its exit code, 0 without one."""
        with self._ending:
            running, self._running = self._running, None
        if running is None:
            return 0
        with suppress(OSError):
            running.stream.shutdown(socket.SHUT_RDWR)  # also wakes the thread that waits on it
        process = running.child.process
        try:
            code = process.wait(wait)
        except subprocess.TimeoutExpired:
            running.child.kill()
            code = process.wait()
        running.link.close()
        running.stream.close()
        return code
