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
import threading
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path

from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.errors import ClientError, PlatformError
from sagemaker_object_detection.platform.orphans import adopt_orphans, end_with_parent
from sagemaker_object_detection.platform.paths import Paths
from sagemaker_object_detection.platform.threads import set_threads
from sagemaker_object_detection.serving import nginx, observe
from sagemaker_object_detection.serving.engines import choose, make_plan
from sagemaker_object_detection.serving.metrics import FOLDER_VARIABLE, Metrics
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
    _require_free(settings.port)
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
    with (
        tempfile.TemporaryDirectory(prefix="serve-", ignore_cleanup_errors=True) as run,
        tempfile.TemporaryDirectory(
            prefix="serve-metrics-", dir=_shared_memory(), ignore_cleanup_errors=True
        ) as metrics,
    ):
        environ[FOLDER_VARIABLE] = metrics
        program = nginx.find()
        if program is None:
            log.warning(
                "nginx is not installed: gunicorn serves port %d alone, and clients that send or "
                "read slowly occupy its threads. Install nginx (Debian: nginx-light).",
                settings.port,
            )
            server = Server(
                settings, plan, threads, Path(metrics), f"0.0.0.0:{settings.port}", _STOP_SECONDS
            )
            return _Owner(server).run()
        bind = f"unix:{nginx.socket_path(Path(run))}"
        drain = _STOP_SECONDS - nginx.DRAIN_SECONDS - 1
        server = Server(settings, plan, threads, Path(metrics), bind, drain)
        reading, writing = os.pipe()
        os.set_inheritable(writing, True)
        command = nginx.command(program, settings, Path(run), writing)

        def start_nginx() -> int:
            number = _start(lambda: os.execv(program, command))
            os.close(writing)
            refusals = nginx.Refusals(settings, Metrics(Path(metrics)))
            threading.Thread(target=refusals.read, args=(reading,), daemon=True).start()
            return number

        return _Owner(server, start_nginx).run()


class _Owner:
    """Starts gunicorn, then nginx when a model is loaded, and ends both.

    start_nginx: returns its process; None: gunicorn alone.
    """

    def __init__(self, server: Server, start_nginx: Callable[[], int] | None = None) -> None:
        self._server = server
        self._start_nginx = start_nginx
        self._running: dict[str, int] = {}
        self._stopping: float | None = None

    def run(self) -> int:
        """Until a signal, or the end of either; the exit code."""
        adopt_orphans()
        self._running["gunicorn"] = _start(self._server.run_until_stopped)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            return self._watch()
        finally:
            _kill_children()

    def _stop(self, *_: object) -> None:
        """Called on a signal."""
        if self._stopping is None:
            self._stopping = time.monotonic()

    def _watch(self) -> int:
        asked: set[str] = set()
        while self._running:
            if (ended := self._ended()) is not None:
                name, status = ended
                del self._running[name]
                if self._stopping is None:
                    return _report_end(name, status)
            elif self._stopping is not None:
                if not asked:
                    log.info("Stopping: requests at work are finished.")
                if time.monotonic() - self._stopping > _STOP_SECONDS:
                    log.warning("Not all requests were finished in %d seconds.", _STOP_SECONDS)
                    return 0
                # nginx first: it still passes on what it has begun to take in.
                name = "nginx" if "nginx" in self._running else "gunicorn"
                if name not in asked:
                    number = signal.SIGQUIT if name == "nginx" else signal.SIGTERM
                    os.kill(self._running[name], number)
                    asked.add(name)
                time.sleep(_LOOK_SECONDS)
            elif self._start_nginx is not None and self._server.started:
                self._running["nginx"] = self._start_nginx()
                self._start_nginx = None
            else:
                time.sleep(_LOOK_SECONDS)
        return 0

    def _ended(self) -> tuple[str, int] | None:
        """Name and status of a process of ours that has ended; others are adopted ones."""
        while True:
            number, status = os.waitpid(-1, os.WNOHANG)
            if number == 0:
                return None
            for name, ours in self._running.items():
                if ours == number:
                    return name, os.waitstatus_to_exitcode(status)


def _report_end(name: str, code: int) -> int:
    """Log that a process has ended by itself; the exit code for it."""
    if name == "gunicorn" and code > 0:  # it has said why
        log.error("gunicorn ended with exit code %d: the endpoint stops.", code)
        return code
    how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
    log.error("%s ended with %s: the endpoint stops.", name, how)
    return PlatformError.exit_code


def _start(run: Callable[[], int]) -> int:
    """Run a function in a process that is asked to end when this one ends; its number.

    gunicorn's workers, which are forked in there, end here as well.
    """
    parent = os.getpid()
    number = os.fork()
    if number:
        return number
    code = 1
    try:
        end_with_parent(parent, signal.SIGTERM)
        code = run()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        log.exception("A process of the server failed.")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _kill_children() -> None:
    """Whatever still runs, as nginx's workers where somebody killed nginx."""
    while True:
        children = [
            int(child)
            for file in Path("/proc/self/task").glob("*/children")
            for child in file.read_text().split()
        ]
        for child in children:
            with contextlib.suppress(OSError):
                os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0 if children else os.WNOHANG)
        except ChildProcessError:
            return
        if not children:
            return


def _require_free(port: int) -> None:
    """Raise ClientError unless the port can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
            probe.listen()
        except OSError as error:
            why = "is in use" if error.errno == errno.EADDRINUSE else f"fails ({error.strerror})"
            raise ClientError(
                f"Port {port} {why}: stop the program that listens there, or set {PORT_VARIABLE} "
                "to another port."
            ) from error


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
