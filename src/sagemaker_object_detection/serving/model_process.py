"""The process of one model of a multi-model endpoint.

`python -m sagemaker_object_detection.serving.model_process DESCRIPTOR PARENT FOLDER` loads the
artifact in FOLDER as an endpoint of one model does, and then runs images that come over the
socket DESCRIPTOR until that is closed. Its first message says what the model is, or in `fault`
why it cannot be used. A message is JSON, then bytes: neither side unpickles what the other sends.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sagemaker_object_detection.inference.conversion import ConversionKilled
from sagemaker_object_detection.platform import logs, memory
from sagemaker_object_detection.platform.errors import (
    AlgorithmError,
    as_job_error,
    first_line,
    lacks_memory,
)
from sagemaker_object_detection.platform.orphans import end_with_parent
from sagemaker_object_detection.platform.threads import set_threads
from sagemaker_object_detection.serving.batching import BatchEngine
from sagemaker_object_detection.serving.engines import load_engine, make_plan
from sagemaker_object_detection.serving.settings import Settings

log = logging.getLogger(__name__)

UNUSABLE, NO_MEMORY, FAILED = "unusable", "no memory", "failed"
"""Faults: of the artifact, of the machine, of the program."""

_OOM_SCORE = Path("/proc/self/oom_score_adj")
_KILLED_FIRST = "500"


_LONGEST = 2**30


def send(link: Connection, head: Mapping[str, object], content: bytes | memoryview = b"") -> None:
    """Raises OSError when the other side does not take it."""
    link.send_bytes(json.dumps(head).encode())
    link.send_bytes(content)


def receive(link: Connection, patience: float | None = None) -> tuple[dict[str, Any], bytes]:
    """The next message, waiting for it up to `patience` seconds.

    Raises EOFError when the other side has closed, TimeoutError, or another OSError.
    """
    if not link.poll(patience):
        raise TimeoutError
    return json.loads(link.recv_bytes(_LONGEST)), link.recv_bytes(_LONGEST)


def run(link: Connection, folder: Path) -> None:
    """Load the model and run images until the other side closes."""
    try:
        engine, class_names = _load(folder)
    except Exception as error:  # noqa: BLE001 - the boundary of the process
        send(link, _fault(error))
        return
    told = {"image_shape": engine.image_shape, "batch_sizes": engine.batch_sizes}
    send(link, told | {"class_names": class_names})
    with suppress(EOFError, ConnectionError):  # the server has unloaded the model, or has ended
        while True:
            head, content = receive(link)
            _answer(link, engine, np.frombuffer(content, head["type"]).reshape(head["shape"]))


def _load(folder: Path) -> tuple[BatchEngine, tuple[str, ...]]:
    """The engine, and the names of its classes."""
    settings = Settings.from_environment(os.environ)
    threads = set_threads(os.environ)
    plan = make_plan(folder, settings, os.environ)
    engine = load_engine(plan, settings, threads)
    engine.warm_up()
    class_names = plan.config.class_names
    del plan  # it may hold an ONNX model that was made in memory, as large as the model
    memory.give_back()
    return engine, class_names


def _answer(link: Connection, engine: BatchEngine, planes: npt.NDArray[Any]) -> None:
    try:
        rows = engine.detect(planes)
    except Exception as error:  # noqa: BLE001 - the server reports it to the client
        send(link, _fault(error))
        return
    found = np.ascontiguousarray(rows, np.float32)
    send(link, {"shape": found.shape}, found.data.cast("B"))


def _fault(error: Exception) -> dict[str, str]:
    """The message of a fault."""
    text = f"{type(error).__name__}: {first_line(error)}"
    if lacks_memory(error) or isinstance(error, ConversionKilled):
        return {"fault": NO_MEMORY, "text": text}
    failure = as_job_error(error)
    if not isinstance(failure, AlgorithmError):
        return {"fault": UNUSABLE, "text": str(failure)}
    log.error("The process of a model failed.", exc_info=error)
    return {"fault": FAILED, "text": text}


def _be_killed_first() -> None:
    """When memory is short, the system is to end a model and not the server."""
    with suppress(OSError):
        _OOM_SCORE.write_text(_KILLED_FIRST)


if __name__ == "__main__":
    end_with_parent(int(sys.argv[2]))
    _be_killed_first()
    logs.setup(sys.stderr, Settings.from_environment(os.environ).log_level)
    run(Connection(int(sys.argv[1])), Path(sys.argv[3]))
