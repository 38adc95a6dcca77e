"""`object-detection predict` as a process: against a real ./serve, and stopped by signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from sagemaker_object_detection.images import decode
from tests import tiny_model
from tests.functional.endpoint_process import Endpoint, running
from tests.tools.scripted_endpoint import Reply, Request, Scripted, found, healthy, scripted

COMMAND = [sys.executable, "-m", "sagemaker_object_detection.tools.cli", "predict"]
CELLS = {(0, 0): "red", (3, 2): "blue", (2, 0): "dim red"}


def start(*arguments: object) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    printed, _ = process.communicate(timeout=120)
    return process.returncode, printed


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    pause = threading.Event()
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        pause.wait(0.01)


def fill(folder: Path, count: int, side: int = 480) -> Path:
    """The same picture under many names."""
    folder.mkdir()
    picture = tiny_model.picture(CELLS, side, side)
    noise = np.random.default_rng(1).integers(0, 40, picture.shape, np.uint8)
    (folder / "0000.png").write_bytes(tiny_model.encoded(picture + noise * (picture == 0)))
    for number in range(1, count):
        (folder / f"{number:04}.png").hardlink_to(folder / "0000.png")
    return folder


def require_whole_files(out: Path) -> int:
    """Every file there is whole and listed in predictions.json; returns how many images."""
    listed = [one["annotated"] for one in json.loads((out / "predictions.json").read_text())]
    files = {path.name for path in out.iterdir()} - {"predictions.json", "index.html"}
    assert set(listed) == files
    page = (out / "index.html").read_text()
    for name in files:
        decode((out / name).read_bytes(), name)
        assert f'src="{name}"' in page
    return len(files)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    base = tmp_path_factory.mktemp("ml")
    tiny_model.write(base / "model")
    with running(base, OBJECT_DETECTION_PRECISION="float32") as endpoint:
        endpoint.wait_ready()
        yield endpoint


def test_an_endpoint_and_its_model_in_process_say_the_same(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OBJECT_DETECTION_PRECISION", "float32")
    photos = fill(tmp_path / "photos", 10)
    (photos / "bad.jpg").write_bytes(b"no picture")
    model = endpoint.log_file.parent / "model"
    told = []
    for name, how in (("asked", ("--url", endpoint.url)), ("computed", ("--model", model))):
        code, printed = finish(start(photos, "--out", tmp_path / name, *how))
        assert code == 2, printed
        assert "Annotated 10 images" in printed
        assert f"{photos}/bad.jpg" in printed
        assert "is not an image" in printed
        assert require_whole_files(tmp_path / name) == 10
        told.append(json.loads((tmp_path / name / "predictions.json").read_text()))
    assert told[0] == told[1]
    found_in_one = told[0][0]["predictions"]
    assert sorted(one["class_name"] for one in found_in_one) == ["blue", "red", "red"]
    assert (tmp_path / "asked" / "0000.png").read_bytes() == (
        tmp_path / "computed" / "0000.png"
    ).read_bytes()


@pytest.mark.parametrize(("threshold", "count"), [(0.05, 1), (0.2, 0)])
def test_a_threshold_below_the_endpoints_own(
    threshold: float, count: int, endpoint: Endpoint, tmp_path: Path
) -> None:
    picture = np.zeros((480, 480, 3), np.uint8)
    picture[:120, :120, 0] = 85  # a red of score 0.15
    (tmp_path / "a.png").write_bytes(tiny_model.encoded(picture))
    model = endpoint.log_file.parent / "model"
    for name, how in (("asked", ("--url", endpoint.url)), ("computed", ("--model", model))):
        out = tmp_path / name
        ended = finish(start(tmp_path / "a.png", "--out", out, "--threshold", threshold, *how))
        assert ended[0] == 0, ended[1]
        (result,) = json.loads((out / "predictions.json").read_text())
        assert len(result["predictions"]) == count


def test_an_endpoint_that_turns_requests_away(tmp_path: Path) -> None:
    """A small body limit answers 413 to each, and the run says so of each."""
    tiny_model.write(tmp_path / "model")
    photos = fill(tmp_path / "photos", 2, side=1200)
    assert (photos / "0000.png").stat().st_size > 2**20
    with running(tmp_path, SAGEMAKER_MAX_PAYLOAD_IN_MB="1") as endpoint:
        endpoint.wait_ready()
        code, printed = finish(start(photos, "--out", tmp_path / "out", "--url", endpoint.url))
    assert code == 2
    assert printed.count("answered 413: the body is larger than 1 MB. Send a smaller image") == 2
    assert "2 of 2 images failed" in printed


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_stopped_while_an_endpoint_hangs(number: signal.Signals, code: int, tmp_path: Path) -> None:
    def answer(state: Scripted, _: Request) -> Reply | None:
        if len(state.posts) > 40:
            state.hold.wait()
        return found({"class_id": 0, "class_name": "red", "score": 0.9, "bbox": [0, 0, 9, 9]})

    photos, out = fill(tmp_path / "photos", 100), tmp_path / "out"
    with scripted(healthy(answer)) as server:
        process = start(photos, "--out", out, "--url", server.url)
        wait_until(lambda: len(server.posts) == 48, process)
        began = time.monotonic()
        process.send_signal(number)
        ended, printed = finish(process)
        assert time.monotonic() - began < 10
    assert ended == code, printed
    assert "Traceback" not in printed
    assert require_whole_files(out) == 40


def test_ctrl_c_while_pictures_are_computed_and_written(tmp_path: Path) -> None:
    model = tiny_model.write(tmp_path / "model")
    photos, out = fill(tmp_path / "photos", 400), tmp_path / "out"
    process = start(photos, "--out", out, "--model", model)
    wait_until(lambda: (out / "0010.png").exists(), process)
    process.send_signal(signal.SIGINT)
    code, printed = finish(process)
    assert (code, printed.splitlines()[-1]) == (130, "Interrupted.")
    assert "Traceback" not in printed
    assert 1 <= require_whole_files(out) < 400
