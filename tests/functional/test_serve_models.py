"""./serve as a multi-model endpoint: models come and go while it runs."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sagemaker_object_detection.inference.conversion import convert
from sagemaker_object_detection.model import artifact
from tests import service_artifact, tiny_model
from tests.functional.endpoint_process import BLUE, PICTURE, RED, Endpoint, running, without_scores
from tests.service_network import Service

MANY = {"SAGEMAKER_MULTI_MODEL": "true", "OBJECT_DETECTION_PRECISION": "float32"}
MEGABYTE = 2**20


def _url(name: str) -> str:
    return f"/opt/ml/models/{name}/model"


def _with_twin(folder: Path) -> None:
    tiny_model.write(folder)
    (folder / artifact.ONNX_FILE).write_bytes(convert(folder, os.environ).onnx)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """small and large are the same network on two sides, small with its twin; service is an
    artefact of the service's own."""
    base: Path = tmp_path_factory.mktemp("ml")
    models = base / "models"
    _with_twin(models / "small" / "model")
    tiny_model.write(models / "large" / "model", side=64)
    service_artifact.write(models / "service" / "model", Service(image_shape=300, width=1 / 16))
    return base


@pytest.fixture(scope="module")
def started(base: Path) -> Iterator[Endpoint]:
    with running(base, **MANY) as endpoint:
        endpoint.wait_ready()
        yield endpoint


@pytest.fixture
def endpoint(started: Endpoint) -> Iterator[Endpoint]:
    """Without a model, before and after."""
    yield started
    for model in _get(started, "/models")[1]["models"]:
        _unload(started, model["modelName"])
    assert _processes(started) == []


def _get(endpoint: Endpoint, path: str) -> tuple[int, Any]:
    status, _, body = endpoint.request("GET", path)
    return status, json.loads(body)


def _load(endpoint: Endpoint, name: str, url: str | None = None) -> tuple[int, Any]:
    wanted = json.dumps({"model_name": name, "url": url or _url(name)}).encode()
    status, _, body = endpoint.request("POST", "/models", wanted)
    return status, json.loads(body)


def _unload(endpoint: Endpoint, name: str) -> int:
    return endpoint.request("DELETE", f"/models/{name}")[0]


def _invoke(endpoint: Endpoint, name: str, **headers: str) -> tuple[int, Any]:
    status, _, body = endpoint.request("POST", f"/models/{name}/invoke", PICTURE, **headers)
    return status, json.loads(body)


def _children(pid: int) -> list[int]:
    return [
        int(child)
        for file in Path(f"/proc/{pid}/task").glob("*/children")
        for child in file.read_text().split()
    ]


def _worker(endpoint: Endpoint) -> int:
    (worker,) = re.findall(r"Booting worker with pid: (\d+)", endpoint.log)
    return int(worker)


def _processes(endpoint: Endpoint) -> list[int]:
    """Those of the models that are loaded."""
    return _children(_worker(endpoint))


def _resident(pid: int) -> int:
    """Bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_two_models_at_a_time(endpoint: Endpoint) -> None:
    assert _get(endpoint, "/models") == (200, {"models": []})
    for name in ("small", "large"):
        assert _load(endpoint, name)[0] == 200
    listed = [{"modelName": name, "modelUrl": _url(name)} for name in ("large", "small")]
    assert _get(endpoint, "/models") == (200, {"models": listed})
    assert _get(endpoint, "/models/small") == (200, listed[1])
    for name in ("small", "large"):
        status, answer = _invoke(endpoint, name, Content_Type="image/jpeg")
        assert (status, without_scores(answer)) == (200, [RED, BLUE])
    assert len(_processes(endpoint)) == 2
    assert _unload(endpoint, "small") == 200
    assert _invoke(endpoint, "small")[0] == 404
    assert _invoke(endpoint, "large")[0] == 200


def test_an_artefact_of_the_service(endpoint: Endpoint) -> None:
    assert _load(endpoint, "service")[0] == 200
    status, answer = _invoke(endpoint, "service", Accept="application/json;format=builtin")
    assert status == 200
    assert {row[0] for row in answer["prediction"]} <= {0.0, 1.0}


def test_loaded_already(endpoint: Endpoint) -> None:
    assert _load(endpoint, "small")[0] == 200
    assert _load(endpoint, "small")[0] == 409
    assert _load(endpoint, "again", _url("small"))[0] == 200  # another name for the same files


def test_loads_of_one_name_at_a_time(endpoint: Endpoint) -> None:
    with ThreadPoolExecutor(4) as pool:
        statuses = list(pool.map(lambda _: _load(endpoint, "large")[0], range(4)))
    assert sorted(statuses) == [200, 409, 409, 409]
    assert len(_processes(endpoint)) == 1


def test_unknown(endpoint: Endpoint) -> None:
    assert _get(endpoint, "/models/small")[0] == 404
    assert _unload(endpoint, "small") == 404
    assert _invoke(endpoint, "small")[0] == 404
    assert endpoint.post(PICTURE)[0] == 404  # to /invocations


def test_memory_that_does_not_suffice(endpoint: Endpoint, base: Path) -> None:
    """Judged by the sizes of files before any of them is read; this one holds nothing."""
    folder = tiny_model.write(base / "models" / "huge" / "model")
    with (folder / artifact.PARAMS_FILE).open("r+b") as file:
        file.truncate(2**42)
    status, answer = _load(endpoint, "huge")
    assert status == 507
    assert "MB of memory" in answer["error"]
    assert _load(endpoint, "small")[0] == 200


def test_a_model_that_is_killed_is_no_harm_to_others(endpoint: Endpoint) -> None:
    assert _load(endpoint, "small")[0] == 200
    (small,) = _processes(endpoint)
    assert _load(endpoint, "large")[0] == 200
    os.kill(small, signal.SIGKILL)  # as the system does when memory is short
    assert _invoke(endpoint, "large")[0] == 200
    assert _invoke(endpoint, "small")[0] == 507
    assert _invoke(endpoint, "small")[0] == 200


@pytest.mark.parametrize(
    ("url", "what"),
    [
        pytest.param("/opt/ml/outside", "is not below /opt/ml/models", id="beside"),
        pytest.param("/opt/ml/models/../outside", "is not below /opt/ml/models", id="by dots"),
        pytest.param("/opt/ml/models/linked", "is not below /opt/ml/models", id="by a link"),
        pytest.param("/opt/ml/models/borrowed", "is a link to outside of", id="a file by a link"),
        pytest.param("/opt/ml/models/nothing", "is missing", id="missing"),
        pytest.param("/opt/ml/models/broken", "holds", id="no artefact"),
    ],
)
def test_unusable(endpoint: Endpoint, base: Path, url: str, what: str) -> None:
    models, outside = base / "models", base / "outside"
    if not outside.exists():
        tiny_model.write(outside)
        (models / "linked").symlink_to(outside)
        (models / "broken").mkdir()
        tiny_model.write(models / "borrowed")
        (models / "borrowed" / artifact.PARAMS_FILE).unlink()
        (models / "borrowed" / artifact.PARAMS_FILE).symlink_to(outside / artifact.PARAMS_FILE)
    status, answer = _load(endpoint, "x", url)
    assert status == 400
    assert what in answer["error"]
    assert answer["hint"]


def test_memory_comes_back(endpoint: Endpoint) -> None:
    held = []
    for _ in range(8):
        assert _load(endpoint, "small")[0] == 200
        assert _invoke(endpoint, "small")[0] == 200
        (process,) = _processes(endpoint)
        assert _unload(endpoint, "small") == 200
        assert not Path(f"/proc/{process}").exists()  # once it is answered, not some time later
        assert _processes(endpoint) == []
        held.append(_resident(_worker(endpoint)))
    assert held[-1] - held[1] < 4 * MEGABYTE, held


def test_unload_under_load(endpoint: Endpoint) -> None:
    """What is being answered is answered, what comes later is 404, and nothing is anything else."""
    assert _load(endpoint, "small")[0] == 200
    before = len(endpoint.log)
    answered = threading.Semaphore(0)

    def ask(_: int) -> list[int]:
        statuses = []
        while not statuses or statuses[-1] == 200:
            statuses.append(_invoke(endpoint, "small")[0])
            answered.release()
        return statuses

    with ThreadPoolExecutor(6) as pool:
        asking = [pool.submit(ask, i) for i in range(6)]
        for _ in range(30):
            assert answered.acquire(timeout=30)
        assert _unload(endpoint, "small") == 200
        last = [one.result(30)[-1] for one in asking]
    assert last == [404] * 6
    assert "ERROR" not in endpoint.log[before:]


def test_others_answer_while_one_is_loaded(endpoint: Endpoint) -> None:
    assert _load(endpoint, "small")[0] == 200
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(_load, endpoint, "large")
        during = 0
        while not loading.done():
            assert _invoke(endpoint, "small")[0] == 200
            assert _get(endpoint, "/models/small")[0] == 200
            assert endpoint.request("GET", "/ping")[0] == 200
            during += 1
        assert loading.result()[0] == 200
    assert during > 5


def test_what_the_client_calls_the_model_is_logged(endpoint: Endpoint) -> None:
    assert _load(endpoint, "small")[0] == 200
    headers = {"X_Amzn_SageMaker_Target_Model": "mine/cars.tar.gz"}
    assert _invoke(endpoint, "small", **headers)[0] == 200
    endpoint.wait_until(lambda: '"target_model": "mine/cars.tar.gz"' in endpoint.log)


def _gone(pid: int) -> bool:
    """Ended; whoever reaps orphans here may take its time."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_models_end_with_the_server(tmp_path: Path, base: Path, how: signal.Signals) -> None:
    (tmp_path / "models").symlink_to(base / "models")
    with running(tmp_path, **MANY) as endpoint:
        endpoint.wait_ready()
        assert _load(endpoint, "small")[0] == 200
        (process,) = _processes(endpoint)
        if how == signal.SIGTERM:
            endpoint.process.send_signal(how)
            assert endpoint.process.wait(30) == 0
        else:
            os.killpg(endpoint.process.pid, how)  # the model's is in a session of its own
            endpoint.process.wait()
        pause = threading.Event()
        for _ in range(500):
            if _gone(process):
                return
            pause.wait(0.01)
        raise AssertionError("the process of the model outlives the server")


def test_the_server_ends_with_what_it_knows(tmp_path: Path, base: Path) -> None:
    """A new worker would know no model, and the platform would take them for loaded."""
    (tmp_path / "models").symlink_to(base / "models")
    with running(tmp_path, **MANY) as endpoint:
        endpoint.wait_ready()
        os.kill(_worker(endpoint), signal.SIGKILL)
        assert endpoint.process.wait(30) == 3
        assert "PlatformError: The process that knows which models are loaded" in endpoint.log


@pytest.mark.parametrize(
    ("variables", "what"),
    [
        pytest.param(
            {"SAGEMAKER_MODEL_SERVER_WORKERS": "2"},
            "SAGEMAKER_MODEL_SERVER_WORKERS is 2",
            id="several workers",
        ),
        pytest.param(
            {"OBJECT_DETECTION_ENGINE": "mxnet", "OBJECT_DETECTION_PRECISION": "int8"},
            "the engine MXNet",
            id="a precision that no model could have",
        ),
    ],
)
def test_settings_that_cannot_work(tmp_path: Path, variables: dict[str, str], what: str) -> None:
    with running(tmp_path, **{**MANY, **variables}) as endpoint:
        assert endpoint.process.wait(30) == 2
        assert what in endpoint.log
