"""gunicorn around the application: one model for each worker, or many that come and go."""

from __future__ import annotations

import contextlib
import json
import logging
import mmap
import os
import signal
import socket
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer
from gunicorn.http.errors import ParseException
from gunicorn.workers.gthread import ThreadWorker
from werkzeug.datastructures import Headers

from sagemaker_object_detection.platform.errors import (
    AlgorithmError,
    ClientError,
    PlatformError,
    as_job_error,
    failure_text,
    first_line,
    lacks_memory,
)
from sagemaker_object_detection.platform.paths import Paths
from sagemaker_object_detection.serving import formats
from sagemaker_object_detection.serving.admission import Admission, TracedPredictor
from sagemaker_object_detection.serving.answers import nginx_errors
from sagemaker_object_detection.serving.app import create_app
from sagemaker_object_detection.serving.batching import BatchEngine, Batcher
from sagemaker_object_detection.serving.engines import Plan, facts, load_engine
from sagemaker_object_detection.serving.metrics import Metrics, forget_worker
from sagemaker_object_detection.serving.model_process import ModelProcess
from sagemaker_object_detection.serving.models import MAX_CHANGES, Models
from sagemaker_object_detection.serving.models_routes import create_models_app
from sagemaker_object_detection.serving.observe import refuse
from sagemaker_object_detection.serving.settings import Settings
from sagemaker_object_detection.serving.trace import Trace

log = logging.getLogger(__name__)

_HALTED = Arbiter.WORKER_BOOT_ERROR
_STARTED, _CODE = 0, 1
"""Places in Server._state: whether a worker has started, exit code of one that could not."""

_SPARE_THREADS = 8
"""Threads besides those whose images wait, so that /ping is answered, and requests over the limit
get their 503, under full load."""


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's own, but what is not HTTP gets an answer in JSON, is counted and logged."""

    app: Server

    def handle_error(self, req: Any, client: socket.socket, addr: object, exc: Exception) -> None:  # noqa: ANN401
        """Called by gunicorn when it cannot read a request, or cannot write an answer."""
        status = 400 if isinstance(exc, ParseException) and req is None else 500
        if status == 500:
            log.error("A request failed.", exc_info=exc)
        req = req or getattr(exc, "req", None)
        method, path = getattr(req, "method", None) or "-", getattr(req, "path", None) or "-"
        error, hint = nginx_errors(self.app.settings)[status]
        headers = Headers(getattr(req, "headers", ()))
        refuse(self.app.metrics, Trace(error=error), method, path, headers, status)
        body = json.dumps({"error": error, "hint": hint}) + "\n"
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nConnection: close\r\n"
            f"Content-Type: {formats.JSON}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            client.sendall((head + body).encode())


class Server(BaseApplication):  # type: ignore[misc]
    """gunicorn with one model for each worker, loaded after the fork.

    A worker that cannot load its model halts the server: it would fail again and again. Without a
    plan, models come and go, and the one worker that knows them halts the server when it ends.

    bind: where to listen, as gunicorn has it. drain_seconds: for requests at work when it is to
    stop.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan | None,
        threads: int,
        metrics_folder: Path,
        bind: str,
        drain_seconds: int = 25,
    ) -> None:
        self.settings = settings
        self.plan = plan
        self.threads = threads
        self.metrics_folder = metrics_folder
        self._bind = bind
        self._drain_seconds = drain_seconds
        self._state = mmap.mmap(-1, 2)  # shared with workers and the process that forks the server
        self._batcher: Batcher | None = None
        self._facts: dict[str, str] = {}
        super().__init__()

    @property
    def started(self) -> bool:
        """Whether a worker has loaded its model."""
        return self._state[_STARTED] == 1

    def load_config(self) -> None:
        """Called by gunicorn."""
        settings = self.settings
        changes = MAX_CHANGES if self.plan is None else 0
        values = {
            "bind": self._bind,
            "workers": settings.workers,
            "worker_class": Worker,
            "threads": settings.max_waiting + _SPARE_THREADS + changes,
            "worker_connections": 2000,
            # For threads this limits the silence of a worker, not a request (its patience does
            # that); loading a library can keep a worker silent for a while.
            "timeout": max(settings.timeout, 60),
            "graceful_timeout": self._drain_seconds,
            # Longer than clients keep idle connections: a request may meet a closing one.
            "keepalive": 75,
            # nginx limits headers.
            "limit_request_line": 0,
            "limit_request_fields": 2**15,
            "limit_request_field_size": 2**15,
            "secure_scheme_headers": {},
            # The heartbeat is a file; on a slow disk it would stall the worker.
            "worker_tmp_dir": str(self.metrics_folder),
            "control_socket_disable": True,
            "loglevel": logging.getLevelName(settings.log_level).lower(),
            "proc_name": "serve",
            "when_ready": lambda _: signal.signal(signal.SIGHUP, signal.SIG_IGN),
            "post_worker_init": self._wait_for_model,
            "child_exit": self._worker_ended,
        }
        for name, value in values.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """The application; called by gunicorn in each worker."""
        delay = self.settings.max_delay_ms / 1000
        self.metrics = metrics = Metrics(self.metrics_folder)
        waiting, patience = self.settings.max_waiting, self.settings.timeout
        admission = Admission(waiting, max(2, self.threads), patience)
        if self.plan is None:
            models = Models(
                lambda folder: ModelProcess(folder, os.environ, patience),
                self.settings,
                admission,
                metrics,
            )
            paths = Paths.from_environment(os.environ)
            return create_models_app(models, paths, self.settings, metrics, admission.check_ready)
        batcher = Batcher(self._load_engine, waiting, patience, delay, metrics)
        self._batcher = batcher

        def check_ready() -> None:
            batcher.check_ready()
            admission.check_ready()

        config = self.plan.config
        predictor = TracedPredictor(batcher, config.class_names, admission, config.thresholds)
        return create_app(predictor, check_ready, self.settings, metrics, lambda: self._facts)

    def run_until_stopped(self) -> int:
        """Run until a signal or a failure stops it; return the exit code."""
        master = os.getpid()
        try:
            Arbiter(self).run()
        except SystemExit as stop:
            if os.getpid() != master:
                raise  # a worker's own end, on its way through the frames it was forked in
            code = stop.code if isinstance(stop.code, int) else 1
            return (self._state[_CODE] or 1) if code == _HALTED else code
        return 0

    def _load_engine(self) -> BatchEngine:
        # May import MXNet: only here, in the worker's one thread that may touch it.
        assert self.plan is not None
        engine = load_engine(self.plan, self.settings, self.threads)
        self._facts = facts(self.plan, engine)
        return engine

    def _wait_for_model(self, worker: Any) -> None:  # noqa: ANN401 - gunicorn has no types
        """Keep the worker from accepting connections, and its heartbeat going, until it can."""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if self._batcher is not None:
            self._batcher.start()
            try:
                while not self._batcher.wait_loaded(timeout=1.0):
                    worker.notify()
                    if not worker.alive:
                        sys.exit(0)
            except Exception as error:  # noqa: BLE001 - the boundary of the worker
                self._state[_CODE] = report(error)
                sys.exit(_HALTED)
            log.info("The model is loaded.")
        self._state[_STARTED] = 1

    def _worker_ended(self, arbiter: Any, worker: Any) -> None:  # noqa: ANN401
        """Halt when a worker died while it loaded the first model, unless we are stopping."""
        forget_worker(self.metrics_folder, worker.pid)
        if not arbiter.LISTENERS or (self.plan is not None and self.started):
            return
        what = (
            "The process that knows which models are loaded has died, most often because memory is "
            "short. Start the endpoint again, on an instance with more memory."
            if self.plan is None
            else "A worker died while it loaded the model. Most often memory is short: use fewer "
            "workers (SAGEMAKER_MODEL_SERVER_WORKERS) or an instance with more memory."
        )
        self._state[_CODE] = report(PlatformError(what))
        raise HaltServer(what, _HALTED)


def report(error: Exception) -> int:
    """Tell on stderr what is wrong and how to fix it; return the exit code for it."""
    failure = as_job_error(error)
    if lacks_memory(error):
        failure = ClientError(
            f"Out of memory ({first_line(error)}). Use fewer workers "
            "(SAGEMAKER_MODEL_SERVER_WORKERS), a smaller OBJECT_DETECTION_MAX_BATCH, or an "
            "instance with more memory."
        )
    if isinstance(failure, AlgorithmError):
        log.error("The server failed.", exc_info=error)
    print(failure_text(failure), file=sys.stderr, flush=True)
    return failure.exit_code
