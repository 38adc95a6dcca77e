"""How the endpoint is seen from outside: each request's trace told to header, metrics and log."""

from __future__ import annotations

from flask import Flask, Response, g, request

from sagemaker_object_detection.serving import request_log
from sagemaker_object_detection.serving.metrics import Metrics
from sagemaker_object_detection.serving.trace import ARRIVED, Trace

ELSEWHERE = "other"
"""The path, among the metrics, of what goes to no path of ours."""


def observe(app: Flask, metrics: Metrics) -> None:
    """Trace every request of `app`, and add GET /metrics.

    Every answer gets a Server-Timing header, is counted and has its line in the log, errors and
    unknown paths included.
    """

    @app.before_request
    def begin() -> None:
        g.trace = Trace.since(ARRIVED.get())
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
        body, content_type = metrics.page(request.headers.get("Accept", ""))
        return Response(body, content_type=content_type)


def current_trace() -> Trace:
    """That of the request which this thread answers."""
    trace: Trace = g.trace
    return trace


def _route() -> str:
    """The rule of the path, so that clients cannot make up as many names as they like."""
    return request.url_rule.rule if request.url_rule is not None else ELSEWHERE
