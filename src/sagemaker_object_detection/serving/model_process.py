"""The process of one model of a multi-model endpoint.

`python -m sagemaker_object_detection.serving.model_process DESCRIPTOR PARENT FOLDER` loads the
artefact in FOLDER as an endpoint of one model does, and then runs pictures that come over the
socket DESCRIPTOR until that is closed. Its first message says what the model is, or in `fault`
why it cannot be used.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
from sagemaker_object_detection.serving.messages import Connection
from sagemaker_object_detection.serving.settings import Settings

log = logging.getLogger(__name__)

UNUSABLE, NO_MEMORY, FAILED = "unusable", "no memory", "failed"
"""Faults: of the artefact, of the machine, of the program."""

_OOM_SCORE = Path("/proc/self/oom_score_adj")
_KILLED_FIRST = "500"


@dataclass(frozen=True)
class _Loaded:
    engine: BatchEngine
    class_names: tuple[str, ...]


def run(connection: Connection, folder: Path) -> None:
    """Load the model and run pictures until the other side closes."""
    try:
        loaded = _load(folder)
    except Exception as error:  # noqa: BLE001 - the boundary of the process
        connection.send(_told(error))
        return
    engine = loaded.engine
    connection.send(
        {
            "class_names": loaded.class_names,
            "image_shape": engine.image_shape,
            "batch_sizes": engine.batch_sizes,
        }
    )
    with suppress(EOFError, ConnectionError):  # the server has unloaded the model, or has ended
        while True:
            head, content = connection.receive()
            _answer(connection, engine, head["type"], head["shape"], content)


def _load(folder: Path) -> _Loaded:
    settings = Settings.from_environment(os.environ)
    threads = set_threads(os.environ)
    plan = make_plan(folder, settings, os.environ)
    engine = load_engine(plan, settings, threads)
    engine.warm_up()
    loaded = _Loaded(engine, plan.config.class_names)
    del plan  # it may hold a twin that was made in memory, of as many bytes as the model
    memory.give_back()
    return loaded


def _answer(
    connection: Connection,
    engine: BatchEngine,
    kind: str,
    shape: list[int],
    content: bytearray,
) -> None:
    try:
        rows = engine.detect(np.frombuffer(content, np.dtype(kind)).reshape(shape))
    except Exception as error:  # noqa: BLE001 - the server tells whoever has sent the picture
        connection.send(_told(error))
        return
    found = np.ascontiguousarray(rows, np.float32)
    connection.send({"shape": found.shape}, found.data.cast("B"))


def _told(error: Exception) -> dict[str, str]:
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
    run(Connection(socket.socket(fileno=int(sys.argv[1]))), Path(sys.argv[3]))
