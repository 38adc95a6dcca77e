"""What gunicorn is told, and how much a worker takes in."""

from __future__ import annotations

import logging
import os
import resource
from pathlib import Path
from typing import Any

from sagemaker_object_detection.serving.incoming import MAX_HEAD_BYTES, ReceiveLimits
from sagemaker_object_detection.serving.settings import Settings
from sagemaker_object_detection.serving.worker import BufferingWorker

_SPARE_THREADS = 8
"""Threads besides those whose pictures wait, so that /ping is answered, and who is too many is
told so, under full load."""

_CONNECTIONS = 2000
"""Of a worker; past it the one that was silent longest is closed for a new one."""

_FILES_BESIDES = 200
_HELD_BODIES = 16
"""So many bodies of the largest size may be on their way in or at work at a time."""

_SHARED_MEMORY = Path("/dev/shm")


def receive_limits(settings: Settings) -> ReceiveLimits:
    """What a worker takes in."""
    most = settings.max_body_bytes
    if most is None:
        return ReceiveLimits(None, whole_seconds=settings.timeout)
    return ReceiveLimits(most, max(2**28, _HELD_BODIES * most), whole_seconds=settings.timeout)


def gunicorn_settings(settings: Settings) -> dict[str, Any]:
    """gunicorn's own settings."""
    open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return {
        "bind": f"0.0.0.0:{settings.port}",
        "workers": settings.workers,
        "worker_class": BufferingWorker,
        "threads": settings.max_waiting + _SPARE_THREADS,
        "worker_connections": max(100, min(_CONNECTIONS, open_files - _FILES_BESIDES)),
        # For threads this limits the silence of a worker, not a request (Batcher's patience does
        # that); loading a library can keep a worker silent for a while.
        "timeout": max(settings.timeout, 60),
        # SageMaker kills a container 30 s after it asked it to stop.
        "graceful_timeout": 25,
        # Longer than clients keep idle connections: otherwise a request may meet a closing one.
        "keepalive": 75,
        # Incoming bounds all of a head together; gunicorn's own limits would refuse less than that,
        # and in HTML.
        "limit_request_line": 0,
        "limit_request_fields": MAX_HEAD_BYTES,
        "limit_request_field_size": MAX_HEAD_BYTES,
        # The heartbeat is a file; on a slow disk it would stall the worker.
        "worker_tmp_dir": str(shared_memory() or "") or None,
        "control_socket_disable": True,
        "loglevel": logging.getLevelName(settings.log_level).lower(),
        "proc_name": "serve",
    }


def shared_memory() -> Path | None:
    """A folder in memory, None where there is none that can be written to."""
    usable = _SHARED_MEMORY.is_dir() and os.access(_SHARED_MEMORY, os.W_OK | os.X_OK)
    return _SHARED_MEMORY if usable else None
