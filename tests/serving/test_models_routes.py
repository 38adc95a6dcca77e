from __future__ import annotations

import errno
import json
import logging
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pytest
from flask.testing import FlaskClient

from sagemaker_object_detection.platform.paths import Paths
from sagemaker_object_detection.serving import models_routes, observe
from sagemaker_object_detection.serving.batching import (
    InsufficientMemory,
    ModelFailed,
    UnusableModel,
)
from sagemaker_object_detection.serving.metrics import Metrics
from sagemaker_object_detection.serving.models import Models
from sagemaker_object_detection.serving.models_routes import create_models_app
from sagemaker_object_detection.serving.settings import Settings
from tests.serving.pictures import JPEG

ROWS = np.array([[1, 0.1, 0, 0, 1, 1], [0, 0.9, 0.25, 0.25, 0.5, 0.5]], np.float32)
URL = "/opt/ml/models/a/model"


class _Engine:
    image_shape = 8
    batch_sizes = (1,)
    class_names = ("cat", "dog")
    thresholds = ()
    fault_of_load: Exception | None = None
    fault_of_run: Exception | None = None

    def start(self) -> _Engine:
        if self.fault_of_load is not None:
            raise self.fault_of_load
        return self

    def warm_up(self) -> None: ...

    def detect(self, planes: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        if self.fault_of_run is not None:
            raise self.fault_of_run
        return np.stack([ROWS] * len(planes))

    def close(self) -> None: ...


@pytest.fixture
def engine() -> _Engine:
    return _Engine()


@pytest.fixture
def client(engine: _Engine, tmp_path: Path) -> FlaskClient:
    (tmp_path / "models" / "a" / "model").mkdir(parents=True)
    settings, metrics = Settings(), Metrics()
    models = Models(lambda folder: engine, settings, metrics=metrics, available=lambda: 2**40)
    return create_models_app(models, Paths(tmp_path), settings, metrics).test_client()


def _load(client: FlaskClient, name: str = "a") -> Any:  # noqa: ANN401 - a response
    return client.post("/models", json={"model_name": name, "url": URL})


def test_ping_without_a_model(client: FlaskClient) -> None:
    answer = client.get("/ping")
    assert (answer.status_code, answer.data) == (200, b"")


def test_life_of_a_model(client: FlaskClient) -> None:
    told = {"modelName": "a", "modelUrl": URL}
    assert client.get("/models").json == {"models": []}
    loaded = _load(client)
    assert (loaded.status_code, loaded.json) == (200, told)
    assert client.get("/models").json == {"models": [told]}
    assert client.get("/models/a").json == told
    answer = client.post("/models/a/invoke", data=JPEG)
    assert answer.status_code == 200
    assert answer.json is not None
    assert [one["class_name"] for one in answer.json["predictions"]] == ["cat"]
    assert client.delete("/models/a").status_code == 200
    assert client.get("/models").json == {"models": []}


def test_invoke_is_as_invocations(client: FlaskClient) -> None:
    _load(client)
    headers = {
        "Accept": "application/json;format=builtin",
        "X-Amzn-SageMaker-Custom-Attributes": "classes=dog;trace=7",
    }
    answer = client.post("/models/a/invoke", data=JPEG, headers=headers)
    assert answer.json is not None
    assert [row[0] for row in answer.json["prediction"]] == [1.0]
    echoed = answer.headers["X-Amzn-SageMaker-Custom-Attributes"]
    assert echoed == headers["X-Amzn-SageMaker-Custom-Attributes"]
    stages = [part.partition(";")[0] for part in answer.headers["Server-Timing"].split(", ")]
    assert stages == ["receive", "decode", "queue", "model", "encode", "total"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param({"data": b""}, 400, id="empty"),
        pytest.param({"data": b"hello"}, 400, id="text"),
        pytest.param({"data": JPEG, "headers": {"Accept": "text/csv"}}, 406, id="unacceptable"),
        pytest.param({"data": JPEG, "content_type": "text/csv"}, 415, id="wrong type"),
    ],
)
def test_faults_of_a_picture(client: FlaskClient, request_: dict[str, Any], status: int) -> None:
    _load(client)
    answer = client.post("/models/a/invoke", **request_)
    assert answer.status_code == status
    assert answer.json is not None
    assert answer.json["error"]
    assert answer.json["hint"]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        pytest.param(b"", "not a JSON object", id="empty"),
        pytest.param(b"{", "not a JSON object", id="half"),
        pytest.param(b"\xff\xfe\x00", "not a JSON object", id="no text"),
        pytest.param(b"[" * 60_000, "not a JSON object", id="too deep"),
        pytest.param(b" " * 2**17, "not a JSON object", id="too long"),
        pytest.param(b"[]", "not a JSON object", id="a list"),
        pytest.param(b"null", "not a JSON object", id="null"),
        pytest.param({"url": URL}, "not a JSON object with model_name", id="no name"),
        pytest.param({"model_name": "", "url": URL}, "model_name is", id="empty name"),
        pytest.param({"model_name": 7, "url": URL}, "or url is not a text", id="a number"),
        pytest.param({"model_name": "a"}, "with model_name and url", id="no url"),
        pytest.param({"model_name": "a", "url": None}, "or url is not", id="null url"),
        pytest.param({"model_name": "a", "url": ["x"]}, "or url is not", id="a list of urls"),
        pytest.param({"model_name": "a\n", "url": URL}, "printable", id="line break"),
        pytest.param({"model_name": "\ud800", "url": URL}, "printable", id="half a character"),
        pytest.param({"model_name": "a" * 1025, "url": URL}, "1 to 1024", id="a long name"),
        pytest.param({"model_name": "a", "url": "/etc"}, "not below", id="outside"),
        pytest.param({"model_name": "a", "url": "/opt/ml/models/b"}, "missing", id="missing"),
    ],
)
def test_bad_loads(client: FlaskClient, body: bytes | dict[str, Any], what: str) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body)
    answer = client.post("/models", data=data)
    assert answer.status_code == 400
    assert answer.json is not None
    assert what in answer.json["error"]
    assert answer.json["hint"]
    assert client.get("/models").json == {"models": []}


def test_what_else_the_body_says_is_ignored(client: FlaskClient) -> None:
    body = {"model_name": "a", "url": URL, "batch_size": 4}
    assert client.post("/models", json=body).status_code == 200


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        pytest.param(UnusableModel("broken"), 400, id="artefact"),
        pytest.param(InsufficientMemory("full"), 507, id="memory"),
        pytest.param(ModelFailed("too long"), 500, id="time"),
    ],
)
def test_faults_of_loading_and_of_a_run(
    client: FlaskClient, engine: _Engine, fault: Exception, status: int
) -> None:
    engine.fault_of_load = fault
    answer = _load(client)
    assert answer.status_code == status
    assert answer.json["error"] == str(fault)
    assert client.get("/models/a").status_code == 404
    engine.fault_of_load = None
    assert _load(client).status_code == 200
    engine.fault_of_run = fault
    answer = client.post("/models/a/invoke", data=JPEG)
    assert answer.status_code == status
    assert answer.json["error"] == str(fault)


def test_a_process_that_cannot_be_started(client: FlaskClient, engine: _Engine) -> None:
    engine.fault_of_load = OSError(errno.ENOMEM, "Cannot allocate memory")
    answer = _load(client)
    assert answer.status_code == 507
    assert "Cannot allocate memory" in answer.json["error"]


def test_loaded_already(client: FlaskClient) -> None:
    _load(client)
    answer = _load(client)
    assert answer.status_code == 409
    assert "'a'" in answer.json["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/models/b", 404),
        ("DELETE", "/models/b", 404),
        ("POST", "/models/b/invoke", 404),
        ("POST", "/invocations", 404),
        ("GET", "/", 404),
        ("GET", "/models/", 404),
        ("DELETE", "/models", 405),
        ("POST", "/models/b", 405),
    ],
)
def test_what_is_not_there(client: FlaskClient, method: str, path: str, status: int) -> None:
    answer = client.open(path, method=method, data=JPEG if method == "POST" else None)
    assert answer.status_code == status
    assert answer.json is not None
    assert "/models" in answer.json["hint"]


@pytest.mark.parametrize(
    "name",
    [
        "0a1b2c",
        "a/b.tar.gz",
        "/a",
        "a//b/",
        "x/invoke",
        "invoke",
        "..",
        "../../etc/passwd",
        "ä %2F ?#&;=",
        "<b>'\"`$(x)",
        "車" * 300,
    ],
)
def test_names(client: FlaskClient, name: str) -> None:
    assert _load(client, name).status_code == 200
    path = f"/models/{quote(name, safe='')}"
    assert client.get(path).json == {"modelName": name, "modelUrl": URL}
    assert client.post(f"{path}/invoke", data=JPEG).status_code == 200
    assert client.delete(path).status_code == 200
    assert client.get(path).status_code == 404


def test_pages(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models_routes, "_PAGE", 2)
    names = ["a", "b/ä?", "c", "d", "e"]
    for name in names:
        _load(client, name)
    seen: list[list[str]] = []
    query: dict[str, str] = {}
    while True:
        answer = client.get("/models", query_string=query).json
        assert answer is not None
        seen.append([one["modelName"] for one in answer["models"]])
        if "nextPageToken" not in answer:
            break
        query = {"next_page_token": answer["nextPageToken"]}
        client.delete(f"/models/{quote(seen[-1][-1], safe='')}")  # where the next page begins
    assert seen == [names[:2], names[2:4], names[4:]]


def test_metrics(client: FlaskClient) -> None:
    _load(client)
    client.post("/models/a/invoke", data=JPEG)
    page = client.get("/metrics").text
    path = 'path="/models/<model:name>/invoke"'
    assert f'object_detection_requests_total{{code="200",{path}}} 1.0' in page
    assert "object_detection_request_seconds_count 1.0" in page
    assert 'object_detection_stage_seconds_count{stage="model"} 1.0' in page


def test_log(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    observe.log.propagate = True
    with caplog.at_level(logging.INFO, observe.log.name):
        _load(client)
        headers = {"X-Amzn-SageMaker-Target-Model": "mine/cars.tar.gz"}
        answer = client.post("/models/a/invoke", data=JPEG, headers=headers)
    line = json.loads(caplog.records[-1].message)
    assert (line["path"], line["target_model"]) == ("/models/a/invoke", "mine/cars.tar.gz")
    assert "cars" not in answer.text + str(answer.headers)
