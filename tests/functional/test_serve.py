"""./serve as a process: a real gunicorn on a free port, under a temporary SAGEMAKER_BASE_DIR."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sagemaker_object_detection.model import artifact
from tests import tiny_model
from tests.functional.endpoint_process import (
    BLUE,
    PICTURE,
    RED,
    Body,
    Endpoint,
    running,
    without_scores,
)


def test_ping(endpoint: Endpoint) -> None:
    assert endpoint.request("GET", "/ping")[0] == 200


def test_objects(endpoint: Endpoint) -> None:
    status, answer = endpoint.post(PICTURE, Content_Type="image/jpeg")
    assert status == 200
    assert without_scores(answer) == [RED, BLUE]


def test_builtin(endpoint: Endpoint) -> None:
    accept = "application/json; format=builtin"
    status, answer = endpoint.post(PICTURE, Content_Type="application/x-image", Accept=accept)
    assert status == 200
    rows = {row[0]: row[2:] for row in answer["prediction"]}
    assert rows == {0.0: [0.0, 0.0, 0.25, 0.25], 1.0: [0.75, 0.5, 1.0, 0.75]}


@pytest.mark.parametrize(
    ("body", "headers", "status", "what"),
    [
        pytest.param(b"", {}, 400, "empty", id="empty body"),
        pytest.param(b"text", {}, 400, "not an image", id="no image"),
        pytest.param(PICTURE, {"Content_Type": "text/csv"}, 415, "text/csv", id="wrong type"),
        pytest.param(PICTURE, {"Accept": "text/csv"}, 406, "text/csv", id="unacceptable"),
        pytest.param(bytes(26 * 2**20), {}, 413, "larger than", id="too large"),
        pytest.param([bytes(2**20)] * 26, {}, 413, "larger than", id="chunked"),
    ],
)
def test_faults(
    endpoint: Endpoint, body: Body, headers: dict[str, str], status: int, what: str
) -> None:
    got, answer = endpoint.post(body, **headers)
    assert got == status
    assert what in answer["error"]
    assert answer["hint"]
    assert endpoint.post(PICTURE)[0] == 200  # and it goes on


def test_chunked_picture(endpoint: Endpoint) -> None:
    parts = (PICTURE[at : at + 1000] for at in range(0, len(PICTURE), 1000))
    status, answer = endpoint.post(parts)
    assert (status, without_scores(answer)) == (200, [RED, BLUE])


def test_many_at_once_get_their_own_answers(endpoint: Endpoint) -> None:
    cells = [(column, row) for row in range(4) for column in range(4)] * 3

    def ask(cell: tuple[int, int]) -> list[float]:
        picture = tiny_model.encoded(tiny_model.picture({cell: "red"}))
        status, answer = endpoint.post(picture, Content_Type="image/png")
        assert status == 200
        (found,) = answer["predictions"]
        bbox: list[float] = found["bbox"]
        return bbox

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, cells))
    assert answers == [
        [column * 160.0, row * 120.0, (column + 1) * 160.0, (row + 1) * 120.0]
        for column, row in cells
    ]


def test_environment(tmp_path: Path) -> None:
    tiny_model.write(tmp_path / "model")
    environ = {
        "SAGEMAKER_MODEL_SERVER_WORKERS": "2",
        "OBJECT_DETECTION_RESPONSE": "builtin",
        "OBJECT_DETECTION_THRESHOLD": "0.9",
    }
    with running(tmp_path, **environ) as endpoint:
        endpoint.wait_until(lambda: endpoint.log.count("The model is loaded.") == 2)
        endpoint.wait_ready()
        dim = tiny_model.encoded(tiny_model.picture({(0, 0): "dim red", (1, 1): "blue"}))
        status, answer = endpoint.post(dim, Content_Type="image/png")
        assert status == 200
        (row,) = answer["prediction"]
        assert row[0] == 1.0


def test_sigterm_finishes_what_is_in_flight(tmp_path: Path) -> None:
    tiny_model.write(tmp_path / "model")
    with running(tmp_path) as endpoint:
        endpoint.wait_ready()
        with socket.create_connection(("127.0.0.1", endpoint.port), timeout=60) as client:
            head = (
                "POST /invocations HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\n"
                f"Content-Type: image/jpeg\r\nContent-Length: {len(PICTURE)}\r\n\r\n"
            )
            client.sendall(head.encode())
            assert client.recv(1000).startswith(b"HTTP/1.1 100")  # the request is being read
            endpoint.process.send_signal(signal.SIGTERM)
            endpoint.wait_until(lambda: "Stopping" in endpoint.log)
            client.sendall(PICTURE)
            answer = http.client.HTTPResponse(client)
            answer.begin()
            assert answer.status == 200
            assert without_scores(json.load(answer)) == [RED, BLUE]
        assert endpoint.process.wait(25) == 0, endpoint.log


def _no_folder(base: Path) -> None:
    for path in (base / "model").iterdir():
        path.unlink()
    (base / "model").rmdir()


def _no_params(base: Path) -> None:
    (base / "model" / artifact.PARAMS_FILE).unlink()


def _bad_config(base: Path) -> None:
    (base / "model" / artifact.MODEL_FILE).write_text('{"format_version": 1,')


def _cut_params(base: Path) -> None:
    path = base / "model" / artifact.PARAMS_FILE
    path.write_bytes(path.read_bytes()[:-8])


def _other_graph(base: Path) -> None:
    path = base / "model" / artifact.SYMBOL_FILE
    path.write_text(path.read_text().replace("anchors", "enchors"))


@pytest.mark.parametrize(
    ("damage", "environ", "code", "what"),
    [
        pytest.param(_no_folder, {}, 2, r"model folder .* does not exist", id="no model folder"),
        pytest.param(_no_params, {}, 2, r"lacks model_algo_1-0000\.params", id="no parameters"),
        pytest.param(_bad_config, {}, 2, r"model\.json is not JSON .* line 1", id="model.json"),
        pytest.param(_cut_params, {}, 2, r"0000\.params is not .* damaged", id="cut parameters"),
        pytest.param(_other_graph, {}, 2, "lacks enchors", id="graph without its values"),
        pytest.param(
            lambda base: None,
            {"SAGEMAKER_MODEL_SERVER_WORKERS": "many", "OBJECT_DETECTION_THRESHOLD": "2"},
            2,
            r"\[1/2\] .*WORKERS is 'many'.*\n\[2/2\] .*THRESHOLD is '2', which is too large",
            id="both faults of the environment",
        ),
    ],
)
def test_cannot_start(
    tmp_path: Path, damage: Callable[[Path], None], environ: dict[str, str], code: int, what: str
) -> None:
    tiny_model.write(tmp_path / "model")
    damage(tmp_path)
    with running(tmp_path, **environ) as endpoint:
        assert endpoint.process.wait(60) == code, endpoint.log
        assert re.search(f"^ClientError: .*{what}", endpoint.log, re.MULTILINE), endpoint.log
        assert "Traceback" not in endpoint.log


def test_a_worker_that_dies_while_loading_halts_the_server(tmp_path: Path) -> None:
    tiny_model.write(tmp_path / "model")
    with running(tmp_path) as endpoint:
        endpoint.wait_until(lambda: "Booting worker with pid" in endpoint.log)
        match = re.search(r"Booting worker with pid: (\d+)", endpoint.log)
        assert match
        os.kill(int(match[1]), signal.SIGKILL)  # as the kernel does when memory is short
        assert endpoint.process.wait(60) == 3, endpoint.log
        assert "PlatformError: A worker died while it loaded the model." in endpoint.log


def test_the_port_is_taken(endpoint: Endpoint, tmp_path: Path) -> None:
    tiny_model.write(tmp_path / "model")
    with running(tmp_path, SAGEMAKER_BIND_TO_PORT=str(endpoint.port)) as second:
        assert second.process.wait(60) == 2
        (line,) = second.log.splitlines()
        assert line.startswith(f"ClientError: Port {endpoint.port} is in use: ")
        assert "SAGEMAKER_BIND_TO_PORT" in line
    assert endpoint.request("GET", "/ping")[0] == 200


def test_a_cpu_endpoint_loads_no_mxnet(endpoint: Endpoint) -> None:
    """Nor does one whose model was converted when it started."""
    command = ["ps", "-o", "pid=", "-g", str(os.getpgid(endpoint.process.pid))]
    numbers = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    mapped = [Path(f"/proc/{number}/maps").read_text() for number in numbers]
    assert any("openvino" in maps for maps in mapped)
    assert not any("libmxnet" in maps for maps in mapped)
    assert "Engine openvino" in endpoint.log


def test_a_batch_transform(tmp_path: Path) -> None:
    """As the platform runs one: it asks first, then sends several pictures at a time."""
    tiny_model.write(tmp_path / "model")
    with running(tmp_path, SAGEMAKER_BATCH="true", SAGEMAKER_MAX_PAYLOAD_IN_MB="6") as endpoint:
        endpoint.wait_ready()
        status, kind, body = endpoint.request("GET", "/execution-parameters")
        assert (status, kind) == (200, "application/json")
        told = json.loads(body)
        assert told == {"MaxConcurrentTransforms": 8, "MaxPayloadInMB": 6}
        with ThreadPoolExecutor(told["MaxConcurrentTransforms"]) as pool:
            answers = list(pool.map(lambda _: endpoint.post(PICTURE), range(40)))
        lines = endpoint.request("POST", "/invocations", PICTURE, Accept="application/jsonlines")
    assert {status for status, _ in answers} == {200}
    assert all(len(answer["predictions"]) == 2 for _, answer in answers)
    assert lines[2].endswith(b"}\n")
    assert lines[2].count(b"\n") == 1
