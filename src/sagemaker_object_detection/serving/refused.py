"""The answer to a request that was refused while it arrived: its bytes, its line in the log."""

from __future__ import annotations

import json
import time
from http import HTTPStatus

from sagemaker_object_detection.serving import request_log
from sagemaker_object_detection.serving.incoming import Incoming, Refusal
from sagemaker_object_detection.serving.metrics import INVOCATIONS, Metrics
from sagemaker_object_detection.serving.observation import ELSEWHERE
from sagemaker_object_detection.serving.trace import Trace


def answer(request: Incoming, refusal: Refusal, metrics: Metrics) -> bytes:
    """Note the refusal as if it were the application's; return what the client is sent."""
    trace = Trace.since(request.begun)
    trace.error = refusal.what
    trace.finish()
    metrics.answered(
        trace, request.path if request.path == INVOCATIONS else ELSEWHERE, refusal.status
    )
    request_log.write(trace, request.method, request.path, request.headers, refusal.status)
    body = json.dumps({"error": refusal.what, "hint": refusal.hint}).encode() + b"\n"
    again = "Retry-After: 1\r\n" if refusal.status == HTTPStatus.SERVICE_UNAVAILABLE else ""
    head = (
        f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\n"
        f"Date: {time.strftime('%a, %d %b %Y %H:%M:%S GMT', time.gmtime())}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"{again}Connection: close\r\n\r\n"
    )
    return head.encode() + (b"" if request.method == "HEAD" else body)
