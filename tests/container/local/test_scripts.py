"""What train.sh and serve.sh ask of docker, and that compose.yaml asks the same."""

from __future__ import annotations

import os
import re
import signal
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.container.programs import REPOSITORY, Programs

LOCAL = REPOSITORY / "container" / "local"
SHARED = {
    "train": {"--rm": "", "--shm-size": "64m", "--stop-timeout": "120"},
    "serve": {"--rm": "", "--shm-size": "64m", "--stop-timeout": "30"},
}
IMAGE = "sagemaker-object-detection:cpu"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    job = tmp_path / "a job"
    (job / "input" / "config").mkdir(parents=True)
    (job / "input" / "config" / "hyperparameters.json").write_text("{}")
    (job / "model").mkdir()
    return job


def _mounts(program: str, job: str) -> list[str]:
    if program == "serve":
        return [f"{job}/model:/opt/ml/model:ro"]
    return [
        f"{job}/input:/opt/ml/input:ro",
        f"{job}/model:/opt/ml/model",
        f"{job}/output:/opt/ml/output",
        f"{job}/checkpoints:/opt/ml/checkpoints",
    ]


def _options(arguments: list[str], name: str) -> list[str]:
    return [value for option, value in pairwise(arguments) if option == name]


@pytest.mark.parametrize("program", ["train", "serve"])
def test_what_docker_is_asked(tmp_path: Path, job: Path, program: str) -> None:
    programs = Programs(tmp_path / "bin", {})
    done = programs.run(f"container/local/{program}.sh", job)
    assert done.returncode == 0, done.stderr
    [call] = programs.calls
    arguments = call["arguments"]
    assert arguments[0] == "run"
    assert arguments[-2:] == [IMAGE, program]
    assert _options(arguments, "--volume") == _mounts(program, str(job))
    assert _options(arguments, "--user") == [f"{os.getuid()}:{os.getgid()}"]
    for option, value in SHARED[program].items():
        assert option in arguments
        assert not value or _options(arguments, option) == [value]
    ports = ["127.0.0.1:8080:8080"] if program == "serve" else []
    assert _options(arguments, "--publish") == ports


def test_what_a_training_writes_to_is_there(tmp_path: Path, job: Path) -> None:
    Programs(tmp_path / "bin", {}).run("container/local/train.sh", job)
    assert all((job / name).is_dir() for name in ("model", "output/data", "checkpoints"))


@pytest.mark.parametrize("program", ["train", "serve"])
def test_what_can_be_chosen(tmp_path: Path, job: Path, program: str) -> None:
    programs = Programs(tmp_path / "bin", {})
    chosen = {"IMAGE": "mine:1", "CONTAINER_USER": "0:0", "PORT": "9000"}
    programs.run(f"container/local/{program}.sh", job, "--gpus", "all", "--env", "A=b", **chosen)
    [call] = programs.calls
    arguments = call["arguments"]
    assert arguments[-6:] == ["--gpus", "all", "--env", "A=b", "mine:1", program]
    assert _options(arguments, "--user") == ["0:0"]
    assert program == "train" or _options(arguments, "--publish") == ["127.0.0.1:9000:8080"]


@pytest.mark.parametrize("program", ["train", "serve"])
def test_sigterm_and_the_exit_code_pass_through(tmp_path: Path, job: Path, program: str) -> None:
    programs = Programs(tmp_path / "bin", {}, runs=True)
    process = programs.start(f"container/local/{program}.sh", job)
    pause = threading.Event()
    while not (programs.folder / "runs").exists():
        assert process.poll() is None
        pause.wait(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 7


@pytest.mark.parametrize(
    ("program", "missing"),
    [("train", "input/config/hyperparameters.json"), ("serve", "model")],
)
def test_another_folder_is_told(tmp_path: Path, program: str, missing: str) -> None:
    programs = Programs(tmp_path / "bin", {})
    done = programs.run(f"container/local/{program}.sh", tmp_path)
    assert (done.returncode, programs.calls) == (2, [])
    assert f"{tmp_path}/{missing} is missing" in done.stderr
    done = programs.run(f"container/local/{program}.sh")
    assert (done.returncode, programs.calls) == (2, [])
    assert f"container/local/{program}.sh JOB" in done.stderr


def _compose(job: str) -> dict[str, Any]:
    """compose.yaml with its variables put in, as docker compose does it."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    values = {"JOB": job, "CONTAINER_USER": "5:6"}

    def value(match: re.Match[str]) -> str:
        name, _, default = match[1].partition(":-")
        return values.get(name.partition(":?")[0], default)

    text = re.sub(r"\$\{([^}]*)\}", value, (LOCAL / "compose.yaml").read_text())
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


@pytest.mark.parametrize("program", ["train", "serve"])
def test_compose_asks_the_same(program: str) -> None:
    compose = _compose("/job")
    assert set(compose) == {"services"}
    assert set(compose["services"]) == {"train", "serve"}
    service = compose["services"][program]
    assert service["image"] == IMAGE
    assert service["command"] == [program]
    assert service["user"] == "5:6"
    assert service["volumes"] == _mounts(program, "/job")
    assert service["shm_size"] == SHARED[program]["--shm-size"]
    assert service["stop_grace_period"] == SHARED[program]["--stop-timeout"] + "s"
    assert service.get("ports", []) == (["127.0.0.1:8080:8080"] if program == "serve" else [])
    assert service["environment"]["HOME"] == "/tmp"
