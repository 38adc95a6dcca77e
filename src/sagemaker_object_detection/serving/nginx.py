"""nginx in front of gunicorn: it takes in whole requests, so that slow clients hold no thread.

nginx.conf.j2 is its configuration. What it answers itself, it reports through a pipe; Refusals
logs and counts that as if it were the application's.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import threading
from pathlib import Path

import jinja2
from werkzeug.datastructures import Headers

from sagemaker_object_detection.platform.orphans import fork
from sagemaker_object_detection.serving import limits, observe
from sagemaker_object_detection.serving.answers import nginx_errors
from sagemaker_object_detection.serving.metrics import Metrics
from sagemaker_object_detection.serving.model_process import LOAD_PATIENCE
from sagemaker_object_detection.serving.observe import refuse
from sagemaker_object_detection.serving.settings import Settings
from sagemaker_object_detection.serving.trace import RECEIVED_HEADER, Trace

log = logging.getLogger(__name__)

DRAIN_SECONDS = 22
"""For requests at work when nginx is asked to stop. SageMaker kills a container after 30."""

_CONNECTIONS = 4096
_FILES_BESIDES = 100
_MOST_REQUESTS = 512
"""On their way in or out, besides those at work."""

_MOST_LARGE = 64
_BUFFER_MEGABYTES = 32
"""Of a body in memory; what is larger goes to a file."""


def find() -> str | None:
    """The program, None where it is not installed."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def start(program: str, settings: Settings, folder: Path, metrics: Path) -> int:
    """Start nginx, and the thread that reads what it refuses; return its process's number.

    folder: for all that nginx writes. metrics: the folder of the metrics.
    """
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    arguments = command(program, settings, folder, writing)
    number = fork(lambda: os.execv(program, arguments))
    os.close(writing)
    refusals = Refusals(settings, Metrics(metrics))
    threading.Thread(target=refusals.read, args=(reading,), daemon=True).start()
    return number


def command(program: str, settings: Settings, folder: Path, log_descriptor: int) -> list[str]:
    """Write the configuration to `folder`; return the command that runs nginx with it."""
    template = jinja2.Template(
        Path(__file__).with_suffix(".conf.j2").read_text(encoding="utf-8"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    limit = settings.max_payload_mb
    at_work = min(settings.workers * settings.max_waiting, 60_000)  # nginx limits to 16 bits
    text = template.render(
        folder=folder,
        socket=socket_path(folder),
        host=settings.host,
        port=settings.port,
        log=f"/proc/self/fd/{log_descriptor}",
        logged_headers=("Content-Type", *observe.ID_HEADERS, observe.TARGET_HEADER),
        variable=lambda header: f"$http_{header.lower().replace('-', '_')}",
        as_root=os.geteuid() == 0,
        connections=max(64, min(_CONNECTIONS + 4 * at_work, open_files - _FILES_BESIDES)),
        body_megabytes=limit,
        buffer_megabytes=min(limit or _BUFFER_MEGABYTES, _BUFFER_MEGABYTES),
        most_requests=_MOST_REQUESTS + at_work,
        most_large=max(_MOST_LARGE, at_work),
        drain_seconds=DRAIN_SECONDS,
        timeout=settings.timeout + 5,  # the application gives a request up itself
        load_timeout=round(2 * LOAD_PATIENCE) + 60,
        received_header=RECEIVED_HEADER,
        attributes_header=limits.HEADER,
        errors={
            status: json.dumps({"error": error, "hint": hint}).replace("'", "\\'") + "\\n"
            for status, (error, hint) in nginx_errors(settings).items()
        },
    )
    file = folder / "nginx.conf"
    file.write_text(text, encoding="utf-8")
    return [program, "-p", str(folder), "-c", str(file)]


def socket_path(folder: Path) -> Path:
    """Where gunicorn listens."""
    return folder / "gunicorn.sock"


class Refusals:
    """What nginx answered itself, counted and written to the log of requests."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._errors = nginx_errors(settings)
        self._metrics = metrics

    def read(self, descriptor: int) -> None:
        """Take the lines of the pipe until nginx has ended; for a thread."""
        with open(descriptor, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                try:
                    self._note(json.loads(line))
                except Exception as error:  # noqa: BLE001 - nginx would wait for the pipe
                    log.warning("A line of nginx's log was skipped (%s).", type(error).__name__)

    def _note(self, refused: dict[str, object]) -> None:
        status = int(str(refused["status"]))
        path = str(refused["uri"]).partition("?")[0] or "-"
        size = str(refused["bytes"])
        trace = Trace.begun(float(str(refused["seconds"])))
        trace.error = self._errors.get(status, ("the request was refused",))[0]
        trace.body_bytes = int(size) if size.isdecimal() else None
        given: dict[str, str] = refused["headers"]  # type: ignore[assignment]
        headers = Headers([(name, text) for name, text in given.items() if text])
        refuse(self._metrics, trace, str(refused["method"]) or "-", path, headers, status)
