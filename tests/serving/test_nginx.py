from __future__ import annotations

import io
import json
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sagemaker_object_detection.serving import nginx, observe
from sagemaker_object_detection.serving.metrics import Metrics
from sagemaker_object_detection.serving.settings import Settings

LINE: dict[str, Any] = {
    "status": 413,
    "seconds": 0.25,
    "method": "POST",
    "uri": "/invocations?a=b",
    "bytes": "99",
    "headers": {"Content-Type": "image/jpeg", "X-Request-Id": "seven", "X-Amzn-RequestId": ""},
}


@pytest.mark.skipif(nginx.find() is None, reason="nginx is not installed")
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(Settings(), id="the defaults"),
        pytest.param(Settings(max_payload_mb=0, timeout=3600), id="no limit of the body"),
        pytest.param(Settings(max_payload_mb=1024, workers=256, max_waiting=1000), id="the most"),
        pytest.param(Settings(max_payload_mb=1, max_waiting=1, multi_model=True), id="the least"),
    ],
)
def test_nginx_accepts_its_configuration(tmp_path: Path, settings: Settings) -> None:
    reading, writing = os.pipe()
    program = nginx.find()
    assert program is not None
    command = nginx.command(program, settings, tmp_path, writing)
    tested = subprocess.run(
        [*command, "-t"], pass_fds=(writing,), capture_output=True, text=True, check=False
    )
    os.close(reading)
    os.close(writing)
    assert tested.returncode == 0, tested.stderr
    assert "[warn]" not in tested.stderr


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    before = (observe.log.handlers, observe.log.propagate, observe.log.level)
    stream = io.StringIO()
    observe.setup_log(stream, logging.INFO)
    yield stream
    observe.log.handlers, observe.log.propagate, observe.log.level = before


def _read(*lines: str) -> Metrics:
    metrics = Metrics()
    reading, writing = os.pipe()
    os.write(writing, "".join(f"{line}\n" for line in lines).encode())
    os.close(writing)
    nginx.Refusals(Settings(), metrics).read(reading)
    return metrics


def test_a_refusal_is_counted_and_logged_as_any_request(log: io.StringIO) -> None:
    page = _read(json.dumps(LINE)).page()[0].decode()
    assert 'object_detection_requests_total{code="413",path="/invocations"} 1.0' in page
    line = json.loads(log.getvalue())
    assert line.pop("time")
    assert 250 <= line.pop("ms")["total"] < 350
    assert line == {
        "id": "seven",
        "method": "POST",
        "path": "/invocations",
        "status": 413,
        "content_type": "image/jpeg",
        "bytes": 99,
        "error": "the body is larger than 25 MB",
    }


@pytest.mark.parametrize(
    ("changes", "path", "route"),
    [
        pytest.param({"uri": ""}, "-", "other", id="no HTTP"),
        pytest.param({"uri": "/a/b"}, "/a/b", "other", id="a path that is not ours"),
        pytest.param(
            {"uri": "/models/a%20b/invoke"},
            "/models/a%20b/invoke",
            "/models/<model:name>/invoke",
            id="a model",
        ),
    ],
)
def test_paths(log: io.StringIO, changes: dict[str, str], path: str, route: str) -> None:
    page = _read(json.dumps(LINE | changes)).page()[0].decode()
    assert f'code="413",path="{route}"' in page
    assert json.loads(log.getvalue())["path"] == path


def test_lines_that_cannot_be_read_do_not_end_the_reading(log: io.StringIO) -> None:
    _read("{", "[]", '{"status": 1}', json.dumps(LINE))
    assert log.getvalue().count('"status": 413') == 1
