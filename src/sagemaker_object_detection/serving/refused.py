"""The answer to a request that was refused while it arrived: its bytes, its line in the log."""

from __future__ import annotations

import json
import time
from http import HTTPStatus

from sagemaker_object_detection.serving import formats, limits, request_log
from sagemaker_object_detection.serving.answers import answer_to
from sagemaker_object_detection.serving.incoming import Incoming, Refusal
from sagemaker_object_detection.serving.metrics import INVOCATIONS, INVOKE, Metrics
from sagemaker_object_detection.serving.observation import ELSEWHERE
from sagemaker_object_detection.serving.trace import Trace


def answer(request: Incoming, refusal: Refusal, metrics: Metrics) -> bytes:
    """Note the refusal as if it were the application's; return what the client is sent."""
    status, hint = answer_to(refusal)
    trace = Trace.since(request.begun)
    trace.error = str(refusal)
    trace.finish()
    metrics.answered(trace, _route(request.path), status)
    request_log.write(trace, request.method, request.path, request.headers, status)
    body = json.dumps({"error": str(refusal), "hint": hint}).encode() + b"\n"
    fields = {
        "Date": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
        "Content-Type": formats.JSON,
        "Content-Length": str(len(body)),
        "Server-Timing": trace.server_timing(),
        "Connection": "close",
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        fields["Retry-After"] = "1"
    if limits.HEADER in request.headers:
        fields[limits.HEADER] = request.headers[limits.HEADER]
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head + (b"" if request.method == "HEAD" else body)


def _route(path: str) -> str:
    """As the application has it, of the paths that pictures are sent to."""
    if path.startswith("/models/") and path.endswith("/invoke"):
        return INVOKE
    return path if path == INVOCATIONS else ELSEWHERE
