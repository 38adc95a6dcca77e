"""gunicorn around the application: one model for each worker, or many that come and go."""

from __future__ import annotations

import logging
import mmap
import os
import sys
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from sagemaker_object_detection.platform.errors import AlgorithmError, PlatformError
from sagemaker_object_detection.serving import refused
from sagemaker_object_detection.serving.admission import Admission
from sagemaker_object_detection.serving.app import create_app
from sagemaker_object_detection.serving.batching import BatchEngine, Batcher
from sagemaker_object_detection.serving.engines import Plan, load_engine
from sagemaker_object_detection.serving.failure import report
from sagemaker_object_detection.serving.gunicorn_settings import gunicorn_settings, receive_limits
from sagemaker_object_detection.serving.incoming import Incoming, Refusal
from sagemaker_object_detection.serving.metrics import Metrics
from sagemaker_object_detection.serving.metrics_folder import forget_worker
from sagemaker_object_detection.serving.models import MAX_CHANGES
from sagemaker_object_detection.serving.models_routes import create_models_app
from sagemaker_object_detection.serving.settings import Settings
from sagemaker_object_detection.serving.traced import TracedPredictor

log = logging.getLogger(__name__)

_HALTED = Arbiter.WORKER_BOOT_ERROR


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
        self._metrics: Metrics | None = None
        self.receive_limits = receive_limits(settings)
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
        self._metrics = metrics
        waiting, patience = self.settings.max_waiting, self.settings.timeout
        admission = Admission(waiting, max(2, self.threads), patience)
        if self.plan is None:
            return create_models_app(os.environ, self.settings, metrics, admission)
        batcher = Batcher(self._load_engine, waiting, patience, delay, metrics)
        predictor = TracedPredictor(batcher, self.plan.config.class_names, admission)
        self._batcher = batcher
        return create_app(predictor, batcher.check_ready, self.settings, metrics)

    def refused(self, request: Incoming, refusal: Refusal) -> bytes:
        """As Receiving: called by the worker."""
        assert self._metrics is not None
        return refused.answer(request, refusal, self._metrics)

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
            self._start.exit_code = report(error)
            sys.exit(_HALTED)
        self._start.succeeded = True
        log.info("The model is loaded.")

    def _worker_ended(self, arbiter: Any, worker: Any) -> None:  # noqa: ANN401
        """Halt when a worker died while it loaded the first model, unless we are stopping."""
        forget_worker(self.metrics_folder, worker.pid)
        if not arbiter.LISTENERS:
            return
        if self.plan is None:
            self._start.exit_code = report(
                PlatformError(
                    "The process that knows which models are loaded has died, most often because "
                    "memory is short. Start the endpoint again, on an instance with more memory."
                )
            )
            raise HaltServer("The worker of a multi-model endpoint died.", _HALTED)
        if self._start.succeeded:
            return
        self._start.exit_code = report(
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
