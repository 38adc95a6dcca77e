"""Every command of the README runs, on a job and pictures as it takes for granted.

Tests that other documents name are there.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.endpoint_process import Endpoint
from tests.tools.voc_tree import write_voc
from tests.training_job import TrainingJob, picture, pictures

REPOSITORY = Path(__file__).resolve().parents[2]
ELSEWHERE = ("apt-get ", "docker ")
"""Not here: they change the system, or need Docker."""


def _commands() -> list[str]:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in blocks for line in re.sub(r"\\\n", " ", block).splitlines()]
    return [" ".join(re.sub(r"\s#.*", "", line).split()) for line in lines]


COMMANDS = _commands()
MAKE = [one for one in COMMANDS if one.startswith("make ")]
OURS = [one for one in COMMANDS if not one.startswith(("make ", *ELSEWHERE))]
SERVE = [one for one in OURS if one.endswith("python serve")]
NEEDS_ENDPOINT = [one for one in OURS if "localhost:8080" in one]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a checkout in which someone has a job, pictures and a VOC data set."""
    place = tmp_path_factory.mktemp("checkout")
    (place / ".venv").symlink_to(sys.prefix)
    for program in ("train", "serve"):
        shutil.copy(REPOSITORY / program, place / program)
    TrainingJob(place / "job").recordio(pictures(0, 4), pictures(20, 1))
    (place / "photos").mkdir()
    for file in ("picture.jpg", "photos/one.jpg"):
        (place / file).write_bytes(picture(30).data)
    box = ("cat", (10.0, 10.0, 40.0, 40.0), False)
    splits = {"train": {"a": [box]}, "val": {"b": [box]}}
    write_voc(place / "VOCdevkit" / "VOC2012", splits)
    return place


def run(command: str, place: Path) -> str:
    """What a command prints, in a shell as a user has."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def trained(place: Path) -> Path:
    """The place after its training, which is a command of the README's."""
    (train,) = [one for one in OURS if one.endswith("python train")]
    run(train, place)
    assert (place / "job" / "model" / "model.json").is_file()
    return place


@pytest.fixture(scope="module")
def endpoint(trained: Path) -> Iterator[Endpoint]:
    (command,) = SERVE
    assert shlex.split(command)[0] == "SAGEMAKER_BASE_DIR=$PWD/job"
    endpoint = Endpoint(trained / "job")
    endpoint.wait_ready()
    yield endpoint
    endpoint.stop()


def test_nothing_is_left_out() -> None:
    assert len(OURS) >= 10
    assert any("curl" in one for one in NEEDS_ENDPOINT)


@pytest.mark.parametrize("command", MAKE)
def test_make_knows_its_targets(command: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", *shlex.split(command)[1:]],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


PYTEST = [
    command
    for document in (REPOSITORY / "CONTRIBUTING.md", *(REPOSITORY / "docs").glob("*.md"))
    for command in re.findall(r"python -m pytest ([^`\n#]+)", document.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("arguments", PYTEST)
def test_tests_that_documents_name_are_there(arguments: str) -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *shlex.split(arguments)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "command",
    [one for one in OURS if one not in (*NEEDS_ENDPOINT, *SERVE) and "python train" not in one],
)
def test_command(trained: Path, command: str) -> None:
    if " convert " in command:
        command = command.replace("job/input/data", "converted")  # the job has its channels
    if "object-detection train" in command:
        command += " --base-network mobilenet1.0 --epochs 1 --quantize 0"
    run(command, trained)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("command", NEEDS_ENDPOINT)
def test_command_to_an_endpoint(trained: Path, endpoint: Endpoint, command: str) -> None:
    out = run(command.replace("localhost:8080", f"localhost:{endpoint.port}"), trained)
    if "invocations" in command:
        assert "predictions" in out
