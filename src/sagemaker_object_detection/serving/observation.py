"""How the endpoint is seen from outside: each request's trace told to header, metrics and log."""

from __future__ import annotations

import re
import time

from flask import Flask, Response, g, request
from werkzeug.datastructures import Headers

from sagemaker_object_detection.serving import request_log
from sagemaker_object_detection.serving.metrics import INVOCATIONS, INVOKE, OTHER, Metrics
from sagemaker_object_detection.serving.trace import RECEIVED_HEADER, Trace

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
        request_log.write(
            trace, request.method, request.path, request.headers, response.status_code
        )
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
    request_log.write(trace, method, path, headers, status)


def _route() -> str:
    """The rule of the path, so that clients cannot make up as many names as they like."""
    return request.url_rule.rule if request.url_rule is not None else OTHER


def _seconds(text: str) -> float:
    """What nginx wrote; 0 without it."""
    return float(text) if _SECONDS.fullmatch(text) else 0.0
