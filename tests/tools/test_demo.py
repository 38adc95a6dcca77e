"""The demo's own part: its folders, its programs' fate and its answer, with stand-in programs."""

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sagemaker_object_detection.images import decode
from sagemaker_object_detection.platform.errors import AlgorithmError
from sagemaker_object_detection.platform.logs import map_line
from sagemaker_object_detection.platform.paths import Paths
from sagemaker_object_detection.tools import cli, demo

SETTINGS = {
    **demo.SETTINGS,
    "images": {"train": 2, "validation": 1},
    "start_timeout": 20,
    "unseen": (20_000, 2),
}
TRAIN = """
import os
from pathlib import Path
base = Path(os.environ["SAGEMAKER_BASE_DIR"])
assert (base / "input/data/train/train.rec").is_file()
assert (base / "input/config/hyperparameters.json").is_file()
assert "SAGEMAKER_STRANGER" not in os.environ
print({line!r})
print({worse!r})
(base / "model").mkdir()
"""
SERVE = """
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
assert (Path(os.environ["SAGEMAKER_BASE_DIR"]) / "model").is_dir()
class Handler(BaseHTTPRequestHandler):
    pings = 0
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        Handler.pings += 1
        self.answer(200 if Handler.pings > 2 else 503, b"")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert body.startswith(b"\\xff\\xd8") and "json" in self.headers["Accept"]
        found = [{"class_id": 1, "class_name": "cube", "score": s, "bbox": [9, 9, 99, 99]}
                 for s in (0.9, 0.4)]
        self.answer(STATUS, json.dumps({"predictions": found}).encode())
HTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""
GOOD_TRAIN = TRAIN.format(line=map_line("algo-1", 0, 0.75), worse=map_line("algo-1", 1, 0.5))
GOOD_SERVE = SERVE.replace("STATUS", "200")

Programs = Callable[[str, str], None]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Put these two programs in the place of `train` and `serve`."""

    def place(train: str, serve: str) -> None:
        folder = tmp_path / "programs"
        folder.mkdir()
        (folder / "train").write_text(train)
        (folder / "serve").write_text(serve)
        monkeypatch.setattr(demo, "_program", lambda name: folder / name)

    return place


def test_from_data_to_predictions(
    programs: Programs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SAGEMAKER_STRANGER", "1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    programs(GOOD_TRAIN, GOOD_SERVE)
    folder = tmp_path / "demo"
    (folder / "opt-ml" / "model").mkdir(parents=True)
    page = demo.run(folder, SETTINGS)
    output = capsys.readouterr().out
    assert output.endswith(f": {page}\n")
    assert "validation mAP 0.750 (at least 0.5 expected)" in output
    assert re.search(r"\d+ seconds in all", output)
    results = json.loads((page.parent / "predictions.json").read_text())
    assert [p["score"] for p in results[1]["predictions"]] == [0.9, 0.4]
    annotated = decode((page.parent / "1.jpg").read_bytes())
    unseen = decode((folder / "unseen" / "1.jpg").read_bytes())
    assert annotated.shape == unseen.shape
    assert (annotated != unseen).any()
    assert page.read_text().count("cube 2") == 2
    assert map_line("algo-1", 0, 0.75) in (folder / "train.log").read_text()


FAILURES = [
    pytest.param("raise SystemExit(2)", GOOD_SERVE, "Training ended with exit code 2", id="train"),
    pytest.param(
        "print('no figures')", GOOD_SERVE, "Training logged no mAP.*train.log", id="no mAP"
    ),
    pytest.param(
        GOOD_TRAIN, "raise SystemExit(3)", "The endpoint ended with exit code 3", id="serve"
    ),
    pytest.param(
        GOOD_TRAIN,
        SERVE.replace("STATUS", "500"),
        'answered 500: {"predictions"',
        id="answer",
    ),
    pytest.param(
        GOOD_TRAIN.replace("0.75", "0.25").replace("0.5)", "0.49)"),
        GOOD_SERVE,
        "mAP is 0.490, below 0.5",
        id="a model that learnt nothing",
    ),
]


@pytest.mark.parametrize(("train", "serve", "what"), FAILURES)
def test_failures_say_where_to_look(
    programs: Programs, tmp_path: Path, train: str, serve: str, what: str
) -> None:
    programs(train, serve)
    (tmp_path / "demo").mkdir()
    with pytest.raises(AlgorithmError, match=what):
        demo.run(tmp_path / "demo", SETTINGS)


def test_an_endpoint_that_never_answers(programs: Programs, tmp_path: Path) -> None:
    programs(GOOD_TRAIN, "import time; time.sleep(600)")
    (tmp_path / "demo").mkdir()
    with pytest.raises(AlgorithmError, match=r"No answer from .*/ping in 0.3 s"):
        demo.run(tmp_path / "demo", {**SETTINGS, "start_timeout": 0.3})


def test_config_is_what_the_service_writes(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    demo.write_config(paths, {"epochs": 3, "learning_rate": 0.01}, {"train": 2, "validation": 1})
    assert read(paths.hyperparameters_file) == {"epochs": "3", "learning_rate": "0.01"}
    channels = read(paths.input_data_config_file)
    assert list(channels) == ["train", "validation"]
    assert channels["train"]["ContentType"] == "application/x-recordio"
    assert read(paths.resource_config_file)["hosts"] == ["algo-1"]


def read(path: Path) -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads(path.read_text())
    return content


def test_settings_agree_with_each_other() -> None:
    hyperparameters = demo.SETTINGS["hyperparameters"]
    assert hyperparameters["num_training_samples"] == demo.SETTINGS["images"]["train"]
    assert hyperparameters["num_classes"] >= 3
    assert demo.SETTINGS["unseen"][0] != demo.SETTINGS["seed"]


def test_the_programs_are_those_of_the_checkout() -> None:
    for name in ("train", "serve"):
        assert os.access(demo._program(name), os.X_OK)
        assert demo._program(name).parent == Path(__file__).resolve().parents[2]


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(cli.main, ["demo", "--folder", str(tmp_path / "file" / "demo")])
    assert result.exit_code == 2
    assert "file/demo cannot be made: " in result.output
