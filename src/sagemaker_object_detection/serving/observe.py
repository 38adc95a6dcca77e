"""How the endpoint is seen from outside: each request's trace in a header, the metrics, the log.

The log has one line of JSON for each request: what it was, how it was answered, where the time
went. No line holds anything of an image but its size.
"""

from __future__ import annotations

import json
import logging
import re
import time
from bisect import bisect_right
from datetime import UTC, datetime
from typing import TextIO

from flask import Flask, Response, g, request
from werkzeug.datastructures import Headers

from sagemaker_object_detection.serving.metrics import INVOCATIONS, INVOKE, OTHER, Metrics
from sagemaker_object_detection.serving.trace import RECEIVED_HEADER, Trace

log = logging.getLogger(__name__)

ID_HEADERS = ("X-Amzn-SageMaker-Inference-Id", "X-Amzn-RequestId", "X-Request-Id")
"""Where a request may carry its id; the first that is there counts."""

TARGET_HEADER = "X-Amzn-SageMaker-Target-Model"
"""What the client of a multi-model endpoint calls the model, which here has another name."""

QUIET_PATHS = frozenset({"/ping", "/metrics"})
"""What is asked for every few seconds: a line at level debug, unless it fails."""

_LONGEST = 1000
"""Characters of a text as it is written, where 車 takes six: a line stays below the 4096 bytes
that a pipe takes in one piece."""

_REPORTED_SECONDS = 0.05
"""Until requests that nginx has refused are counted by the process that owns it."""

_SECONDS = re.compile(r"[0-9]{1,6}\.[0-9]{3}")


def observe(app: Flask, metrics: Metrics) -> None:
    """Trace every request of `app`, and add GET /metrics.

    Every answer gets a Server-Timing header, is counted and has its line in the log, errors and
    unknown paths included.
    """

    @app.before_request
    def begin() -> None:
        g.trace = Trace.begun(_seconds(request.headers.get(RECEIVED_HEADER, "")))
        g.trace.body_bytes = request.content_length

    @app.after_request
    def end(response: Response) -> Response:
        trace = current_trace()
        trace.finish()
        response.headers["Server-Timing"] = trace.server_timing()
        metrics.answered(trace, _route(), response.status_code)
        write(trace, request.method, request.path, request.headers, response.status_code)
        return response

    @app.get("/metrics")
    def show_metrics() -> Response:
        time.sleep(_REPORTED_SECONDS)
        body, content_type = metrics.page(request.headers.get("Accept", ""))
        return Response(body, content_type=content_type)


def current_trace() -> Trace:
    """That of the request which this thread answers."""
    trace: Trace = g.trace
    return trace


def refuse(
    metrics: Metrics, trace: Trace, method: str, path: str, headers: Headers, status: int
) -> None:
    """Count and log a request that was answered before it reached the application."""
    trace.finish()
    route = path if path in (INVOCATIONS, "/ping", "/models") else OTHER
    if path.startswith("/models/") and path.endswith("/invoke"):
        route = INVOKE
    metrics.answered(trace, route, status)
    write(trace, method, path, headers, status)


def _route() -> str:
    """The rule of the path, so that clients cannot make up as many names as they like."""
    return request.url_rule.rule if request.url_rule is not None else OTHER


def _seconds(text: str) -> float:
    """What nginx wrote; 0 without it."""
    return float(text) if _SECONDS.fullmatch(text) else 0.0


def setup_log(stream: TextIO, level: int) -> None:
    """Write the lines to `stream` as they are, nothing before or after them.

    level: that of Python's logging. A request that succeeds has INFO, one with a fault of the
    client's (4xx) WARNING, of the endpoint's (5xx) ERROR. A second call replaces the first.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(level)


def write(trace: Trace, method: str, path: str, headers: Headers, status: int) -> None:
    """Log a request that was answered with `status`; headers are the request's."""
    level = level_of(path, status)
    if log.isEnabledFor(level):
        log.log(level, "%s", line(trace, method, path, headers, status))


def level_of(path: str, status: int) -> int:
    """The level of a line, see setup."""
    if status >= 500:
        return logging.ERROR
    if status >= 400:
        return logging.WARNING
    return logging.DEBUG if path in QUIET_PATHS else logging.INFO


def line(trace: Trace, method: str, path: str, headers: Headers, status: int) -> str:
    """The line, ASCII; what is not known of a request is left out."""
    size = trace.image_size
    fields: dict[str, object] = {
        "time": datetime.fromtimestamp(trace.arrived, UTC).isoformat(timespec="milliseconds"),
        "id": _cut(next((headers.get(name) for name in ID_HEADERS if headers.get(name)), None)),
        "method": method,
        "path": _cut(path),
        "target_model": _cut(headers.get(TARGET_HEADER)),
        "status": status,
        "content_type": _cut(headers.get("Content-Type")),
        "bytes": trace.body_bytes,
        "image_size": None if size is None else {"width": size[0], "height": size[1]},
        "detections": trace.detections,
        "batch": trace.batch,
        "ms": trace.milliseconds(),
        "error": _cut(trace.error, _LONGEST),
    }
    return json.dumps({name: value for name, value in fields.items() if value is not None})


def _cut(text: str | None, longest: int = _LONGEST // 4) -> str | None:
    """A client's text can be as long as it likes; here it cannot."""
    if text is None or _written(text) <= longest:
        return text
    fitting = bisect_right(range(len(text)), longest, key=lambda end: _written(text[:end])) - 1
    return text[:fitting] + "..."


def _written(text: str) -> int:
    """Characters that a text takes in a line, without its quotes."""
    return len(json.dumps(text)) - 2
