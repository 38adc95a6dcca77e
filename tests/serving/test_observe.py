from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from werkzeug.datastructures import Headers

from sagemaker_object_detection.serving import observe
from sagemaker_object_detection.serving.trace import Trace

TRACE = Trace(
    arrived=1700000000.1239,
    seconds={"receive": 0.001, "decode": 0.002, "queue": 0.0, "model": 0.05, "encode": 0.001},
    total=0.055,
    body_bytes=1234,
    image_size=(640, 480),
    batch=1,
    detections=3,
)


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    log = observe.log
    before = (log.handlers, log.propagate, log.level)
    yield io.StringIO()
    log.handlers, log.propagate, log.level = before


def test_line() -> None:
    headers = Headers({"content-type": "image/jpeg", "X-Amzn-SageMaker-Inference-Id": "a-1"})
    text = observe.line(TRACE, "POST", "/invocations", headers, 200)
    assert "\n" not in text
    assert list(json.loads(text).items()) == [
        ("time", "2023-11-14T22:13:20.123+00:00"),
        ("id", "a-1"),
        ("method", "POST"),
        ("path", "/invocations"),
        ("status", 200),
        ("content_type", "image/jpeg"),
        ("bytes", 1234),
        ("image_size", {"width": 640, "height": 480}),
        ("detections", 3),
        ("batch", 1),
        (
            "ms",
            {"receive": 1, "decode": 2, "queue": 0, "model": 50, "encode": 1, "total": 55},
        ),
    ]


def test_what_is_not_known_is_left_out() -> None:
    text = observe.line(Trace(error="empty"), "GET", "/", Headers(), 404)
    assert set(json.loads(text)) == {"time", "method", "path", "status", "ms", "error"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param({"X-Amzn-RequestId": "b"}, "b", id="another of the platform's"),
        pytest.param({"X-Request-Id": "c"}, "c", id="a proxy's"),
        pytest.param(
            {"X-Request-Id": "c", "x-amzn-sagemaker-inference-id": "a"}, "a", id="order, case"
        ),
        pytest.param({"X-Amzn-RequestId": "", "X-Request-Id": "c"}, "c", id="empty"),
    ],
)
def test_id(headers: dict[str, str], expected: str) -> None:
    text = observe.line(TRACE, "POST", "/invocations", Headers(headers), 200)
    assert json.loads(text)["id"] == expected


@pytest.mark.parametrize("letter", ["y", '"', "é", "\N{GRINNING FACE}"])
def test_a_line_is_short_and_one_line_whatever_the_client_writes(letter: str) -> None:
    evil = 'x" ' + 8000 * letter
    headers = Headers({"Content-Type": evil, "X-Request-Id": evil, observe.TARGET_HEADER: evil})
    trace = Trace(error=f"first\nsecond {evil}")
    text = observe.line(trace, "GET", f"/{evil}", headers, 404)
    assert len(text) < 4096
    assert "\n" not in text
    error = json.loads(text)["error"]
    assert error.startswith("first\nsecond x")
    assert 990 < len(json.dumps(error)) <= 1005


@pytest.mark.parametrize(
    ("path", "status", "level"),
    [
        pytest.param("/invocations", 200, logging.INFO, id="success"),
        pytest.param("/invocations", 400, logging.WARNING, id="the client's fault"),
        pytest.param("/invocations", 500, logging.ERROR, id="ours"),
        pytest.param("/ping", 200, logging.DEBUG, id="asked every few seconds"),
        pytest.param("/ping", 503, logging.ERROR, id="but a failure is seen"),
        pytest.param("/metrics", 200, logging.DEBUG, id="and so is /metrics"),
    ],
)
def test_levels(stream: io.StringIO, path: str, status: int, level: int) -> None:
    observe.setup_log(stream, level + 1)
    observe.write(TRACE, "POST", path, Headers(), status)
    assert stream.getvalue() == ""
    observe.setup_log(stream, level)
    observe.write(TRACE, "POST", path, Headers(), status)
    (line,) = stream.getvalue().splitlines()  # once, though it was set up twice
    assert json.loads(line)["status"] == status


def test_the_lines_are_not_written_twice(
    stream: io.StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    observe.setup_log(stream, logging.INFO)
    observe.write(TRACE, "POST", "/invocations", Headers(), 200)
    assert caplog.records == []  # nothing reaches the other log
