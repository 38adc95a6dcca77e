"""The server process: gunicorn around the application, and the error boundary."""

from __future__ import annotations

import logging
import mmap
import os
import sys
import tempfile
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.errors import (
    AlgorithmError,
    ClientError,
    PlatformError,
    as_job_error,
    failure_text,
)
from sagemaker_object_detection.platform.paths import Paths
from sagemaker_object_detection.platform.threads import set_threads
from sagemaker_object_detection.serving import request_log
from sagemaker_object_detection.serving.app import create_app
from sagemaker_object_detection.serving.batching import BatchEngine, Batcher
from sagemaker_object_detection.serving.engines import Plan, choose, load_engine, make_plan
from sagemaker_object_detection.serving.metrics import Metrics
from sagemaker_object_detection.serving.metrics_folder import forget_worker, shared_folder
from sagemaker_object_detection.serving.models import MAX_CHANGES
from sagemaker_object_detection.serving.models_routes import create_models_app
from sagemaker_object_detection.serving.settings import Settings
from sagemaker_object_detection.serving.traced import TracedPredictor

log = logging.getLogger(__name__)

MAX_WAITING = 64
"""Pictures that wait in a worker before it answers 503."""

_SPARE_THREADS = 8
"""Threads besides those whose pictures wait, so that /ping is answered under full load."""

_SHARED_MEMORY = Path("/dev/shm")
_HALTED = Arbiter.WORKER_BOOT_ERROR


def main() -> int:
    """Serve the model folder until a signal ends it; return the exit code."""
    logs.setup(sys.stderr)
    try:
        return serve(os.environ)
    except Exception as error:  # noqa: BLE001 - the boundary of the process
        return _report(error)


def serve(environ: MutableMapping[str, str]) -> int:
    """Check settings and artefact, then run gunicorn; return its exit code.

    Raises ClientError before anything listens when they cannot work.
    """
    settings = Settings.from_environment(environ)
    logs.setup(sys.stderr, settings.log_level)
    request_log.setup(sys.stdout, settings.log_level)
    model_dir = Paths.from_environment(environ).model_dir
    threads = set_threads(environ, settings.workers)
    environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")
    plan = None if settings.multi_model else make_plan(model_dir, settings, environ)
    if plan is None:
        engine, why = choose(settings)
        log.info(
            "Serving many models on port %d, each of %d threads. Engine %s: %s.",
            settings.port,
            threads,
            engine,
            why,
        )
    else:
        log.info(
            "Serving %s (%s, %d px, %d classes) on port %d: %d workers of %d threads.",
            model_dir,
            plan.config.base_network,
            plan.config.image_shape,
            len(plan.config.class_names),
            settings.port,
            settings.workers,
            threads,
        )
    parent = Path(_writable(_SHARED_MEMORY) or tempfile.gettempdir())
    with shared_folder(environ, parent) as metrics_folder:
        return Server(settings, plan, threads, metrics_folder).run_until_stopped()


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn with one model for each worker, loaded after the fork.

    A worker that cannot load its model halts the server: it would fail again and again. Without a
    plan, models come and go, and the one worker that knows them halts the server when it ends.
    """

    def __init__(
        self, settings: Settings, plan: Plan | None, threads: int, metrics_folder: Path
    ) -> None:
        self.settings = settings
        self.plan = plan
        self.threads = threads
        self.metrics_folder = metrics_folder
        self._start = _Start()
        self._batcher: Batcher | None = None
        super().__init__()

    def load_config(self) -> None:
        """Called by gunicorn."""
        for name, value in gunicorn_settings(self.settings).items():
            self.cfg.set(name, value)
        if self.plan is None:
            self.cfg.set("threads", self.cfg.threads + MAX_CHANGES)
        self.cfg.set("post_worker_init", self._wait_for_model)
        self.cfg.set("child_exit", self._worker_ended)

    def load(self) -> Flask:
        """The application; called by gunicorn in each worker."""
        delay = self.settings.max_delay_ms / 1000
        metrics = Metrics(self.metrics_folder)
        if self.plan is None:
            return create_models_app(os.environ, self.settings, metrics, MAX_WAITING)
        batcher = Batcher(self._load_engine, MAX_WAITING, self.settings.timeout, delay, metrics)
        predictor = TracedPredictor(batcher, self.plan.config.class_names)
        self._batcher = batcher
        return create_app(predictor, batcher.check_ready, self.settings, metrics)

    def run_until_stopped(self) -> int:
        """Run until a signal or a failure stops it; return the exit code."""
        master = os.getpid()
        try:
            Arbiter(self).run()
        except SystemExit as stop:
            if os.getpid() != master:
                raise  # a worker's own end, on its way through the frames it was forked in
            code = stop.code if isinstance(stop.code, int) else 1
            return self._start.exit_code if code == _HALTED else code
        return 0

    def _load_engine(self) -> BatchEngine:
        # May import MXNet: only here, in the worker's one thread that may touch it.
        assert self.plan is not None
        return load_engine(self.plan, self.settings, self.threads)

    def _wait_for_model(self, worker: Any) -> None:  # noqa: ANN401 - gunicorn has no types
        """Keep the worker from accepting connections, and its heartbeat going, until it can."""
        if self._batcher is None:
            self._start.succeeded = True
            return
        self._batcher.start()
        try:
            while not self._batcher.wait_loaded(timeout=1.0):
                worker.notify()
                if not worker.alive:
                    sys.exit(0)
        except Exception as error:  # noqa: BLE001 - the boundary of the worker
            self._start.exit_code = _report(_with_kind(error))
            sys.exit(_HALTED)
        self._start.succeeded = True
        log.info("The model is loaded.")

    def _worker_ended(self, arbiter: Any, worker: Any) -> None:  # noqa: ANN401
        """Halt when a worker died while it loaded the first model, unless we are stopping."""
        forget_worker(self.metrics_folder, worker.pid)
        if not arbiter.LISTENERS:
            return
        if self.plan is None:
            self._start.exit_code = _report(
                PlatformError(
                    "The process that knows which models are loaded has died, most often because "
                    "memory is short. Start the endpoint again, on an instance with more memory."
                )
            )
            raise HaltServer("The worker of a multi-model endpoint died.", _HALTED)
        if self._start.succeeded:
            return
        self._start.exit_code = _report(
            PlatformError(
                "A worker died while it loaded the model. Most often memory is short: use fewer "
                "workers (SAGEMAKER_MODEL_SERVER_WORKERS) or an instance with more memory."
            )
        )
        raise HaltServer("A worker died while it loaded the model.", _HALTED)


class _Start:
    """How the start went, in memory that the workers share with the process that forks them."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 2)

    @property
    def exit_code(self) -> int:
        """Of a worker that could not start."""
        return self._memory[0] or AlgorithmError.exit_code

    @exit_code.setter
    def exit_code(self, code: int) -> None:
        self._memory[0] = code

    @property
    def succeeded(self) -> bool:
        """Whether a worker has started."""
        return self._memory[1] == 1

    @succeeded.setter
    def succeeded(self, value: bool) -> None:
        self._memory[1] = int(value)


def gunicorn_settings(settings: Settings) -> dict[str, Any]:
    """gunicorn's own settings."""
    return {
        "bind": f"0.0.0.0:{settings.port}",
        "workers": settings.workers,
        "worker_class": "gthread",
        "threads": MAX_WAITING + _SPARE_THREADS,
        # For threads this limits the silence of a worker, not a request (Batcher's patience does
        # that); loading a library can keep a worker silent for a while.
        "timeout": max(settings.timeout, 60),
        # SageMaker kills a container 30 s after it asked it to stop.
        "graceful_timeout": 25,
        # Longer than clients keep idle connections: otherwise a request may meet a closing one.
        "keepalive": 75,
        # The heartbeat is a file; on a slow disk it would stall the worker.
        "worker_tmp_dir": _writable(_SHARED_MEMORY),
        "control_socket_disable": True,
        "loglevel": logging.getLevelName(settings.log_level).lower(),
        "proc_name": "serve",
    }


def _writable(folder: Path) -> str | None:
    return str(folder) if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK) else None


def _with_kind(error: Exception) -> Exception:
    """An unusable artefact is the user's to mend."""
    if isinstance(error, artifact.ArtifactError):
        return ClientError(f"The model cannot be served: {error}.")
    return error


def _report(error: Exception) -> int:
    """Tell on stderr what is wrong and how to mend it; return the exit code for it."""
    failure = as_job_error(error)
    if isinstance(failure, AlgorithmError):
        log.error("The server failed.", exc_info=error)
    print(failure_text(failure), file=sys.stderr, flush=True)
    return failure.exit_code
