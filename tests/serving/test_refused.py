"""What a client, the log and the metrics are told of a request that was refused on its way in."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from http.client import HTTPResponse
from types import SimpleNamespace

import pytest

from sagemaker_object_detection.serving import refused, request_log
from sagemaker_object_detection.serving.incoming import Incoming, Late, TooMuchAtOnce
from sagemaker_object_detection.serving.metrics import Metrics

BUSY = TooMuchAtOnce("too many at once")
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"
POST = (
    b"POST /invocations HTTP/1.1\r\nHost: x\r\nX-Request-Id: 7\r\nContent-Length: 9\r\n"
    b"X-Amzn-SageMaker-Custom-Attributes: tenant=\xe9\r\n\r\n"
)


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    request_log.setup(stream, 10)
    yield stream
    request_log.setup(io.StringIO(), 10)


def _request(sent: bytes) -> Incoming:
    request = Incoming(None)
    request.feed(sent)
    return request


def test_answer_log_and_metrics(lines: io.StringIO) -> None:
    metrics = Metrics()
    answer = refused.answer(_request(POST), BUSY, metrics)
    response = HTTPResponse(SimpleNamespace(makefile=lambda _: io.BytesIO(answer)))  # type: ignore[arg-type]
    response.begin()
    assert response.status == 503
    assert response.headers["Retry-After"] == "1"
    assert response.headers["Connection"] == "close"
    assert response.headers["Server-Timing"].startswith("receive;dur=")
    assert response.headers[ATTRIBUTES] == "tenant=\xe9"
    told = json.loads(response.read())
    assert told["error"] == "too many at once"
    assert told["hint"].startswith("Try again later")
    line = json.loads(lines.getvalue())
    assert (line["id"], line["path"], line["status"]) == ("7", "/invocations", 503)
    assert line["error"] == "too many at once"
    page = metrics.page()[0].decode()
    assert 'object_detection_requests_total{code="503",path="/invocations"} 1.0' in page


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/invocations", "/invocations"),
        ("/models/a/invoke", "/models/<model:name>/invoke"),
        ("/models/a", "other"),
        ("/secret", "other"),
    ],
)
def test_the_path_among_the_metrics(path: str, route: str, lines: io.StringIO) -> None:
    metrics = Metrics()
    sent = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    refused.answer(_request(sent.encode()), BUSY, metrics)
    page = metrics.page()[0].decode()
    assert f'object_detection_requests_total{{code="503",path="{route}"}} 1.0' in page
    assert f"object_detection_request_seconds_count {float(route != 'other')}" in page


@pytest.mark.parametrize(
    ("sent", "path"),
    [(b"GET /secret HTTP/1.1\r\nHost: x\r\n", "-"), (b"\x16\x03\x01", "-")],
    ids=["half a head", "no HTTP"],
)
def test_of_what_is_not_known_nothing_is_told(sent: bytes, path: str, lines: io.StringIO) -> None:
    metrics = Metrics()
    answer = refused.answer(_request(sent), Late("late"), metrics)
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"Retry-After" not in answer
    assert json.loads(lines.getvalue())["path"] == path
    assert 'path="other"' in metrics.page()[0].decode()
