"""The program `serve`: it checks settings and model, then owns gunicorn and nginx.

If either of them ends, all end.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import logging
import os
import resource
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, MutableMapping
from functools import partial
from pathlib import Path

from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.errors import ClientError, PlatformError
from sagemaker_object_detection.platform.orphans import adopt_orphans, fork, kill_children
from sagemaker_object_detection.platform.paths import Paths
from sagemaker_object_detection.platform.threads import set_threads
from sagemaker_object_detection.serving import nginx, observe
from sagemaker_object_detection.serving.engines import Plan, choose, make_plan
from sagemaker_object_detection.serving.metrics import FOLDER_VARIABLE
from sagemaker_object_detection.serving.server import Server, report
from sagemaker_object_detection.serving.settings import PORT_VARIABLE, Settings, warn_of_unknown

log = logging.getLogger(__name__)

_SHARED_MEMORY = Path("/dev/shm")
_STOP_SECONDS = 25
"""Until all is killed. SageMaker kills a container 30 s after it asked it to stop."""

_LOOK_SECONDS = 0.1


def main() -> int:
    """Serve the model folder until a signal ends it; return the exit code.

    Raises SystemExit for --help and for arguments, of which the platform passes none.
    """
    argparse.ArgumentParser(
        "serve",
        description="Answer requests with the model in /opt/ml/model, or in the folder model below "
        "SAGEMAKER_BASE_DIR. Settings are environment variables, not arguments.",
    ).parse_args()
    return run()


def run() -> int:
    """Serve as the environment says until a signal ends it; return the exit code."""
    logs.setup(sys.stderr)
    try:
        return serve(os.environ)
    except Exception as error:  # noqa: BLE001 - the boundary of the process
        return report(error)


def serve(environ: MutableMapping[str, str]) -> int:
    """Check settings and model, then run gunicorn and nginx; return the exit code.

    Raises ClientError before anything listens when they cannot work.
    """
    settings = Settings.from_environment(environ)
    logs.setup(sys.stderr, settings.log_level)
    observe.setup_log(sys.stdout, settings.log_level)
    warn_of_unknown(environ)
    _raise_file_limit()
    _require_free(settings.host, settings.port)
    model_dir = Paths.from_environment(environ).model_dir
    threads = set_threads(environ, settings.workers)
    environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")
    plan = None if settings.multi_model else make_plan(model_dir, settings, environ)
    log.info("Serving %s on port %d.", _told(model_dir, plan, settings, threads), settings.port)
    with (
        tempfile.TemporaryDirectory(prefix="serve-", ignore_cleanup_errors=True) as run_folder,
        tempfile.TemporaryDirectory(
            prefix="serve-metrics-", dir=_shared_memory(), ignore_cleanup_errors=True
        ) as metrics_folder,
    ):
        environ[FOLDER_VARIABLE] = metrics_folder
        run, metrics = Path(run_folder), Path(metrics_folder)
        program = nginx.find()
        if program is not None:
            bind, drain = f"unix:{nginx.socket_path(run)}", _STOP_SECONDS - nginx.DRAIN_SECONDS - 1
            server = Server(settings, plan, threads, metrics, bind, drain)
            return _Owner(server, partial(nginx.start, program, settings, run, metrics)).run()
        log.warning(
            "nginx is not installed: gunicorn serves port %d alone, and clients that send or read "
            "slowly occupy its threads. Install nginx (Debian: nginx-light).",
            settings.port,
        )
        bind = f"{settings.host}:{settings.port}"
        return _Owner(Server(settings, plan, threads, metrics, bind, _STOP_SECONDS)).run()


def _told(model_dir: Path, plan: Plan | None, settings: Settings, threads: int) -> str:
    """What is served, for the log."""
    if plan is None:
        engine, why = choose(settings)
        return f"many models, each with {threads} threads (engine {engine}: {why}),"
    config = plan.config
    model = f"{config.base_network}, {config.image_shape} px, {len(config.class_names)} classes"
    return f"{model_dir} ({model}) with {settings.workers} workers of {threads} threads"


class _Owner:
    """Starts gunicorn, then nginx when a model is loaded, and ends both.

    start_nginx: returns its process; None: gunicorn alone.
    """

    def __init__(self, server: Server, start_nginx: Callable[[], int] | None = None) -> None:
        self._server = server
        self._start_nginx = start_nginx
        self._running: dict[str, int] = {}
        self._asked: set[str] = set()
        self._stopping: float | None = None

    def run(self) -> int:
        """Until a signal, or the end of either; the exit code."""
        adopt_orphans()
        self._running["gunicorn"] = fork(self._server.run_until_stopped)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            while self._running:
                number, status = os.waitpid(-1, os.WNOHANG)
                for name in [name for name, ours in self._running.items() if ours == number]:
                    del self._running[name]
                    if self._stopping is None:
                        return _report_end(name, os.waitstatus_to_exitcode(status))
                if number == 0:  # nobody has ended
                    if not self._look():
                        break
                    time.sleep(_LOOK_SECONDS)
            return 0
        finally:
            kill_children()

    def _stop(self, *_: object) -> None:
        """Called on a signal."""
        self._stopping = self._stopping or time.monotonic()

    def _look(self) -> bool:
        """Start nginx, or ask to stop, when it is time for that; False: do not wait any longer."""
        if self._stopping is None:
            if self._start_nginx is not None and self._server.started:
                self._running["nginx"] = self._start_nginx()
                self._start_nginx = None
            return True
        name = next(reversed(self._running))  # nginx first: it passes on what it has taken in
        if name not in self._asked:
            log.info("Stopping %s: requests at work are finished.", name)
            self._asked.add(name)
            os.kill(self._running[name], signal.SIGQUIT if name == "nginx" else signal.SIGTERM)
        return time.monotonic() - self._stopping < _STOP_SECONDS


def _report_end(name: str, code: int) -> int:
    """Log that a process has ended by itself; the exit code for it."""
    how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
    log.error("%s ended with %s: the endpoint stops.", name, how)
    return code if name == "gunicorn" and code > 0 else PlatformError.exit_code


def _require_free(host: str, port: int) -> None:
    """Raise ClientError unless the port can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            fault = (
                "is in use: stop the program that listens there, or set"
                if error.errno == errno.EADDRINUSE
                else f"cannot be listened on ({error.strerror}): set"
            )
            raise ClientError(f"Port {port} {fault} {PORT_VARIABLE} to another port.") from error


def _shared_memory() -> str | None:
    """A folder in memory, None where there is none that can be written to."""
    usable = _SHARED_MEMORY.is_dir() and os.access(_SHARED_MEMORY, os.W_OK | os.X_OK)
    return str(_SHARED_MEMORY) if usable else None


def _raise_file_limit() -> None:
    """As many open files as the system lets us have: a connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
