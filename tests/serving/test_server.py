from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.errors import HaltServer

from sagemaker_object_detection.model.artifact import ModelConfig
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.serving.engines import Plan
from sagemaker_object_detection.serving.models import MAX_CHANGES
from sagemaker_object_detection.serving.server import Server
from sagemaker_object_detection.serving.settings import Settings


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """A worker ignores SIGHUP, and here it is this process."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


RUNNING = SimpleNamespace(LISTENERS=["a socket"])
STOPPING = SimpleNamespace(LISTENERS=[])


@pytest.fixture
def server(tmp_path: Path) -> Server:
    plan = Plan(tmp_path, ModelConfig(("cat",), 300, "resnet-50"), "mxnet")
    return Server(Settings(), plan, 1, tmp_path, "0.0.0.0:8080")


class _Worker:
    """What a gunicorn worker is to the server."""

    pid = 4242

    def __init__(self) -> None:
        self.alive = True
        self.beats = 0

    def notify(self) -> None:
        self.beats += 1


def _load_with(server: Server, monkeypatch: pytest.MonkeyPatch, load: Any) -> None:  # noqa: ANN401
    monkeypatch.setattr(server, "_load_engine", load)
    server.load()


def test_gunicorn_accepts_its_settings(server: Server) -> None:
    assert server.cfg.address == [("0.0.0.0", 8080)]
    assert server.cfg.worker_class_str == "Worker"
    assert server.cfg.threads > server.settings.max_waiting


@pytest.mark.parametrize(
    ("settings", "name", "expected"),
    [
        pytest.param({"timeout": 1}, "timeout", 60, id="a request's limit is no heartbeat's"),
        pytest.param({"timeout": 300}, "timeout", 300, id="a long one is"),
        pytest.param({"log_level": 30}, "loglevel", "warning", id="the log's level"),
    ],
)
def test_settings_of_gunicorn(
    tmp_path: Path, settings: dict[str, int], name: str, expected: object
) -> None:
    server = Server(Settings(**settings), None, 1, tmp_path, "0.0.0.0:8080")  # type: ignore[arg-type]
    assert getattr(server.cfg, name) == expected


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        pytest.param(ClientError("No weights."), 2, "ClientError: No weights.", id="the user's"),
        pytest.param(RuntimeError("odd"), 1, "AlgorithmError: RuntimeError: odd", id="ours"),
        pytest.param(PermissionError(13, "", "x.params"), 3, "PlatformError: Permi", id="platform"),
        pytest.param(
            MemoryError(),
            2,
            "ClientError: Out of memory (MemoryError). Use fewer workers",
            id="memory",
        ),
    ],
)
def test_a_model_that_cannot_load_halts_the_server(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    code: int,
    text: str,
) -> None:
    def load() -> None:
        raise error

    _load_with(server, monkeypatch, load)
    with pytest.raises(SystemExit) as caught:
        server._wait_for_model(_Worker())
    assert caught.value.code == 3  # what gunicorn halts at
    assert server._state[1] == code  # what the server ends with
    assert text in capsys.readouterr().err


def test_a_stop_while_the_model_loads(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()
    _load_with(server, monkeypatch, lambda: go.wait(30))
    worker = _Worker()
    worker.alive = False
    with pytest.raises(SystemExit) as caught:
        server._wait_for_model(worker)
    go.set()
    assert caught.value.code == 0
    assert worker.beats == 1


def test_a_worker_that_dies_before_any_has_started(server: Server) -> None:
    with pytest.raises(HaltServer):
        server._worker_ended(RUNNING, _Worker())
    assert server._state[1] == 3


def test_a_worker_that_ends_while_the_server_stops(server: Server) -> None:
    server._worker_ended(STOPPING, _Worker())


def test_a_worker_that_dies_later_is_replaced(server: Server) -> None:
    server._state[0] = 1
    server._worker_ended(RUNNING, _Worker())


@pytest.fixture
def many(tmp_path: Path) -> Server:
    """The server of a multi-model endpoint."""
    return Server(Settings(multi_model=True), None, 1, tmp_path, "0.0.0.0:8080")


def test_many_models_start_without_any(many: Server) -> None:
    client = many.load().test_client()
    many._wait_for_model(_Worker())
    assert client.get("/ping").status_code == 200
    assert client.get("/models").json == {"models": []}
    assert client.post("/invocations").status_code == 404


def test_one_model_has_no_models(server: Server) -> None:
    client = server.load().test_client()
    assert client.get("/models").status_code == 404
    assert client.post("/models", json={}).status_code == 404


def test_loads_of_many_models_keep_no_picture_waiting(many: Server, server: Server) -> None:
    assert many.cfg.threads == server.cfg.threads + MAX_CHANGES


def test_the_worker_that_knows_the_models_is_not_replaced(many: Server) -> None:
    many._state[0] = 1
    many._worker_ended(STOPPING, _Worker())
    with pytest.raises(HaltServer):
        many._worker_ended(RUNNING, _Worker())
    assert many._state[1] == 3
