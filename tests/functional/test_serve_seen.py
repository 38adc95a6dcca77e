"""What can be seen of a running ./serve from outside: /metrics, log lines, headers."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import tiny_model
from tests.functional.endpoint_process import PICTURE, Endpoint, running
from tests.serving.exposition import Samples, samples

STAGES = ["receive", "decode", "queue", "model", "encode"]
OK = "object_detection_requests_total", ("code", "200"), ("path", "/invocations")
ATTRIBUTES = "X-Amzn-SageMaker-Custom-Attributes"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """Two workers."""
    base = tmp_path_factory.mktemp("ml")
    tiny_model.write(base / "model")
    with running(base, SAGEMAKER_MODEL_SERVER_WORKERS="2") as endpoint:
        endpoint.wait_until(lambda: endpoint.log.count("The model is loaded.") == 2)
        endpoint.wait_ready()
        yield endpoint


def ask(
    endpoint: Endpoint, headers: dict[str, str], body: bytes = PICTURE
) -> tuple[http.client.HTTPMessage, int, Any]:
    """Headers, status and JSON of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", "/invocations", body, headers)
        answer = connection.getresponse()
        return answer.headers, answer.status, json.load(answer)


def scrape(endpoint: Endpoint) -> Samples:
    status, content_type, body = endpoint.request("GET", "/metrics")
    assert status == 200, endpoint.log
    assert content_type.startswith("text/plain; version=")
    return samples(body.decode())


def lines(log: str) -> list[dict[str, Any]]:
    """The log's lines about requests."""
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


def line_of(endpoint: Endpoint, id_: str) -> dict[str, Any]:
    """The line about the request with an id; it is written before the answer is sent."""
    (line,) = [line for line in lines(endpoint.log) if line.get("id") == id_]
    return line


def workers(log: str) -> list[int]:
    return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", log)]


def test_metrics_are_those_of_all_workers(endpoint: Endpoint) -> None:
    before = scrape(endpoint)
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda _: endpoint.post(PICTURE)[0], range(40)))
    assert statuses == 40 * [200]
    assert endpoint.post(b"text")[0] == 400
    pages = [scrape(endpoint) for _ in range(6)]  # whichever worker answers
    for after in pages:
        grown = {key: value - before.get(key, 0) for key, value in after.items()}
        assert grown[OK] == 40
        assert grown["object_detection_requests_total", ("code", "400"), OK[2]] == 1
        assert grown["object_detection_request_seconds_count",] == 41
        counts = [grown["object_detection_stage_seconds_count", ("stage", name)] for name in STAGES]
        assert counts == [41, 41, 41, 40, 40]
        stages = sum(grown["object_detection_stage_seconds_sum", ("stage", s)] for s in STAGES)
        assert 0 < stages < grown["object_detection_request_seconds_sum",]
        assert grown["object_detection_batch_size_sum",] == 40
        assert after["object_detection_queue_length",] == 0


def test_a_killed_worker_does_not_break_the_metrics(tmp_path: Path) -> None:
    tiny_model.write(tmp_path / "model")
    with running(tmp_path, SAGEMAKER_MODEL_SERVER_WORKERS="2") as endpoint:
        endpoint.wait_until(lambda: endpoint.log.count("The model is loaded.") == 2)
        endpoint.wait_ready()
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda _: endpoint.post(PICTURE)[0], range(30))) == {200}
        os.kill(workers(endpoint.log)[0], signal.SIGKILL)
        while len(workers(endpoint.log)) < 3:
            assert _scrape_if_alive(endpoint) in (None, 30)
        endpoint.wait_until(lambda: endpoint.log.count("The model is loaded.") == 3)
        assert endpoint.post(PICTURE)[0] == 200
        after = scrape(endpoint)
        assert after[OK] == 31  # what the dead one counted stays
        assert after["object_detection_batch_size_sum",] == 31
        assert after["object_detection_queue_length",] == 0
        folder = metrics_folder(workers(endpoint.log)[-1])
        assert len(list(folder.glob("gauge_livesum_*.db"))) == 3  # and that of the owner
        endpoint.process.send_signal(signal.SIGTERM)
        assert endpoint.process.wait(30) == 0
        assert not folder.exists()


def _scrape_if_alive(endpoint: Endpoint) -> float | None:
    """The count of good answers; None if the connection was one that the dead worker had."""
    try:
        return scrape(endpoint)[OK]
    except (ConnectionError, http.client.HTTPException):
        return None


def metrics_folder(worker: int) -> Path:
    """Where the files lie that a worker has mapped into its memory for its numbers."""
    maps = Path(f"/proc/{worker}/maps").read_text()
    (folder,) = {Path(file).parent for file in re.findall(r"/\S+\.db$", maps, re.MULTILINE)}
    return folder


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_the_folder_outlives_a_worker_but_not_the_server(tmp_path: Path, stop: int) -> None:
    tiny_model.write(tmp_path / "model")
    with running(tmp_path) as endpoint:
        endpoint.wait_ready()
        folder = metrics_folder(workers(endpoint.log)[-1])
        os.kill(workers(endpoint.log)[0], signal.SIGTERM)  # it ends by itself, in good order
        endpoint.wait_until(lambda: endpoint.log.count("The model is loaded.") == 2)
        endpoint.wait_ready()
        scrape(endpoint)
        endpoint.process.send_signal(stop)
        endpoint.process.wait(30)
        assert not folder.exists()
        assert "Traceback" not in endpoint.log


def test_server_timing(endpoint: Endpoint) -> None:
    headers, status, _ = ask(endpoint, {})
    assert status == 200
    parts = [part.split(";dur=") for part in headers["Server-Timing"].split(", ")]
    assert [name for name, _ in parts] == [*STAGES, "total"]
    *stages, total = [float(ms) for _, ms in parts]
    assert 0 < sum(stages) <= total < 60_000


def test_the_time_of_a_slow_client_is_receive(endpoint: Endpoint) -> None:
    head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(PICTURE)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", endpoint.port), timeout=60) as client:
        client.sendall(head.encode() + PICTURE[:-1])
        time.sleep(0.3)
        client.sendall(PICTURE[-1:])
        answer = http.client.HTTPResponse(client)
        answer.begin()
    receive, *others, total = re.findall(r"dur=([\d.]+)", answer.headers["Server-Timing"])
    assert float(receive) >= 280  # nginx's clock has steps
    assert sum(map(float, others)) <= float(total) - float(receive)


def test_a_line_for_each_request(endpoint: Endpoint) -> None:
    headers = {"Content-Type": "image/jpeg", "X-Amzn-SageMaker-Inference-Id": "good"}
    answer_headers, _, answer = ask(endpoint, headers)
    line = line_of(endpoint, "good")
    assert line["status"] == 200
    assert line["content_type"] == "image/jpeg"
    assert line["bytes"] == len(PICTURE)
    assert line["image_size"] == {"width": 640, "height": 480}
    assert line["detections"] == len(answer["predictions"]) == 2
    assert list(line["ms"]) == [*STAGES, "total"]
    timing = ", ".join(f"{name};dur={ms:.3f}" for name, ms in line["ms"].items())
    assert timing == answer_headers["Server-Timing"]
    assert "error" not in line


@pytest.mark.parametrize(
    ("headers", "body", "status", "error", "stages"),
    [
        pytest.param({}, b"text", 400, "the body is not an image", 3, id="no image"),
        pytest.param({"Accept": "a/b"}, PICTURE, 406, "Accept header 'a/b'", 1, id="unacceptable"),
        pytest.param(
            {ATTRIBUTES: "top_k=none"}, PICTURE, 400, "top_k is 'none'", 1, id="bad attribute"
        ),
    ],
)
def test_a_line_for_each_fault(
    request: pytest.FixtureRequest,
    endpoint: Endpoint,
    headers: dict[str, str],
    body: bytes,
    status: int,
    error: str,
    stages: int,
) -> None:
    id_ = request.node.callspec.id
    _, got, answer = ask(endpoint, {**headers, "X-Amzn-RequestId": id_}, body)
    line = line_of(endpoint, id_)
    assert line["status"] == got == status
    assert error in line["error"]
    assert line["error"] == answer["error"]
    assert list(line["ms"]) == [*STAGES[:stages], "total"]


def test_custom_attributes(endpoint: Endpoint) -> None:
    headers, _, answer = ask(endpoint, {ATTRIBUTES: "classes=blue;tenant=7"})
    assert [one["class_name"] for one in answer["predictions"]] == ["blue"]
    assert headers[ATTRIBUTES] == "classes=blue;tenant=7"
    _, _, answer = ask(endpoint, {ATTRIBUTES: "threshold=0;top_k=1", "Accept": "*/*;q=0.1"})
    assert len(answer["predictions"]) == 1


def test_log_level(tmp_path: Path) -> None:
    tiny_model.write(tmp_path / "model")
    with running(tmp_path, SAGEMAKER_CONTAINER_LOG_LEVEL="30") as endpoint:
        endpoint.wait_ready()
        assert endpoint.post(PICTURE)[0] == 200
        assert endpoint.post(b"text")[0] == 400
        (line,) = lines(endpoint.log)
        assert line["status"] == 400
        assert " INFO " not in endpoint.log
        assert "[INFO]" not in endpoint.log  # gunicorn's own
