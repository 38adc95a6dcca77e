"""`object-detection predict` with a model in process, and what it says of wrong use."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sagemaker_object_detection.images import decode
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.deployed import read_deploy_graph
from sagemaker_object_detection.model.onnx_heads import convert_heads, write_onnx
from sagemaker_object_detection.tools import cli
from sagemaker_object_detection.tools.drawing import colour_of
from tests import tiny_model
from tests.tools.scripted_endpoint import fault, found, healthy, scripted

RED = {"class_id": 0, "class_name": "red", "bbox": [0.0, 0.0, 160.0, 120.0]}
BLUE = {"class_id": 1, "class_name": "blue", "bbox": [480.0, 240.0, 640.0, 360.0]}
DIM = {"class_id": 0, "class_name": "red", "bbox": [320.0, 0.0, 480.0, 120.0]}
CELLS = {(0, 0): "red", (3, 2): "blue", (2, 0): "dim red"}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, ["predict", *map(str, arguments)])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_model.write(tmp_path_factory.mktemp("model"))
    write_onnx(convert_heads(read_deploy_graph(folder)), folder / artifact.ONNX_FILE)
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    picture = tiny_model.picture(CELLS)
    (folder / "a.png").write_bytes(tiny_model.encoded(picture))
    (folder / "sub" / "a.jpg").write_bytes(tiny_model.encoded(picture, ".jpg"))
    return folder


def predictions(file: Path) -> list[dict[str, Any]]:
    """Without the scores, which fall."""
    told = json.loads(file.read_text())["predictions"]
    scores = [one.pop("score") for one in told]
    assert scores == sorted(scores, reverse=True)
    assert all(0.2 < score <= 1 for score in scores)
    return sorted(told, key=lambda one: (one["class_id"], one["bbox"]))


@pytest.mark.parametrize("engine", ["openvino", "mxnet"])
def test_a_folder(
    engine: str, model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OBJECT_DETECTION_ENGINE", engine)
    out = tmp_path / "new" / "out"
    result = run(photos, "--out", out, "--model", model)
    assert result.exit_code == 0, result.output
    assert f"Annotated 2 pictures in {out}: 6 detections (red 4, blue 2).\n" in result.output
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()) == [
        "a.png",
        "a.png.json",
        "sub/a.jpg",
        "sub/a.jpg.json",
    ]
    assert predictions(out / "a.png.json") == [RED, DIM, BLUE]
    assert json.loads((out / "sub" / "a.jpg.json").read_text())["file"] == str(
        photos / "sub" / "a.jpg"
    )
    drawn = decode((out / "a.png").read_bytes())
    assert drawn.shape == (480, 640, 3)
    assert tuple(drawn[300, 480]) == colour_of(1)  # the left edge of the blue one


def test_a_packed_model(model: Path, photos: Path, tmp_path: Path) -> None:
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for path in model.iterdir():
            tar.add(path, path.name)
    result = run(photos / "a.png", "--out", tmp_path / "out", "--model", archive)
    assert result.exit_code == 0, result.output
    assert predictions(tmp_path / "out" / "a.png.json") == [RED, DIM, BLUE]


def test_the_model_of_the_endpoint_by_default(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    result = run(photos, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert f"There is no model at {tmp_path}/model. Give the folder" in result.output
    assert not (tmp_path / "out").exists()
    (tmp_path / "model").symlink_to(model)
    assert run(photos, "--out", tmp_path / "out").exit_code == 0


CHOICES = [
    pytest.param(("--threshold", "0.9"), [RED, BLUE], id="threshold"),
    pytest.param(("--classes", "red"), [RED, DIM], id="classes"),
    pytest.param(("--classes", "red,blue", "--top-k", "2"), [RED, BLUE], id="top-k"),
    pytest.param(("--threshold", "1"), [], id="nothing"),
]


@pytest.mark.parametrize(("options", "expected"), CHOICES)
def test_choices(
    options: tuple[str, ...],
    expected: list[dict[str, Any]],
    model: Path,
    photos: Path,
    tmp_path: Path,
) -> None:
    result = run(photos / "a.png", "--out", tmp_path / "out", "--model", model, *options)
    assert result.exit_code == 0, result.output
    assert predictions(tmp_path / "out" / "a.png.json") == expected


def test_a_broken_picture_among_others(model: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"\xff\xd8 and no more")
    result = run(photos, "--out", tmp_path / "out", "--model", model)
    assert result.exit_code == 2
    assert f"{photos}/bad.jpg is a JPEG that was cut short" in result.output
    assert "Annotated 2 pictures" in result.output
    assert result.output.endswith(
        "ClientError: 1 of 3 pictures could not be used; they are named above. Mend them or leave "
        "them out.\n"
    )
    assert predictions(tmp_path / "out" / "sub" / "a.jpg.json") == [RED, DIM, BLUE]


USAGE = [
    pytest.param(("PHOTOS",), "Missing option '--out'", id="no output"),
    pytest.param(("--out", "OUT"), "Missing argument 'IMAGE|FOLDER...'", id="no pictures"),
    pytest.param(
        ("PHOTOS", "--out", "OUT", "--model", "MODEL", "--url", "http://h"),
        "exclude each other",
        id="a model and an endpoint",
    ),
    pytest.param(("nowhere", "--out", "OUT"), "nowhere does not exist", id="no such picture"),
    pytest.param(("PHOTOS", "--out", "PHOTOS"), "lies in the output folder", id="onto itself"),
    pytest.param(
        ("PHOTOS", "--out", "PHOTOS", "--overwrite"), "lies in the output folder", id="by force"
    ),
    pytest.param(("PHOTOS", "--out", "FULL"), "FULL is not empty. Give a new", id="not empty"),
    pytest.param(
        ("PHOTOS", "--out", "OUT", "--threshold", "2"), "is not in the range", id="threshold"
    ),
    pytest.param(("PHOTOS", "--out", "OUT", "--top-k", "0"), "is not in the range", id="top-k"),
    pytest.param(("PHOTOS", "--out", "OUT", "--classes", "a,,b"), "is not a name", id="classes"),
    pytest.param(
        ("PHOTOS", "--out", "OUT", "--model", "MODEL", "--classes", "red,green"),
        "The model has no class 'green'. Its classes are: red, blue.",
        id="a class that the model does not know",
    ),
    pytest.param(
        ("PHOTOS", "--out", "OUT", "--model", "PHOTOS"),
        "must hold one folder with a file",
        id="no model",
    ),
    pytest.param(
        ("PHOTOS", "--out", "OUT", "--model", "PHOTOS/a.png"), "is no tar archive", id="no archive"
    ),
    pytest.param(
        ("PHOTOS", "--out", "PHOTOS/a.png/out", "--model", "MODEL"),
        "Give another path",
        id="below a file",
    ),
    pytest.param(("PHOTOS", "--out", "OUT", "--url", "h:80"), "is no address", id="no address"),
]


@pytest.mark.parametrize(("arguments", "what"), USAGE)
def test_wrong_use(
    arguments: tuple[str, ...], what: str, model: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "FULL").mkdir()
    (tmp_path / "FULL" / "mine").write_text("mine")
    places = {"PHOTOS": photos, "MODEL": model, "OUT": tmp_path / "out", "FULL": tmp_path / "FULL"}
    before = sorted(tmp_path.rglob("*"))

    def real(argument: str) -> str:
        head, slash, rest = argument.partition("/")
        return f"{places[head]}{slash}{rest}" if head in places else argument

    result = run(*map(real, arguments))
    assert result.exit_code == 2, result.output
    assert what in result.output
    assert sorted(tmp_path.rglob("*")) == before


def test_overwrite(model: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--out", out, "--model", model)
    assert run(photos, *options).exit_code == 0
    assert run(photos, *options).exit_code == 2
    (out / "a.png.json").write_text("old")
    assert run(photos, *options, "--overwrite").exit_code == 0
    assert predictions(out / "a.png.json") == [RED, DIM, BLUE]


def test_an_endpoint_is_asked(photos: Path, tmp_path: Path) -> None:
    answers = found({**RED, "score": 0.9}, {**BLUE, "score": 0.15})
    with scripted(healthy(lambda *_: answers)) as server:
        result = run(
            photos, "--out", tmp_path / "out", "--url", server.url, "--classes", "red,green"
        )
    assert result.exit_code == 0, result.output
    assert predictions(tmp_path / "out" / "a.png.json") == [RED]
    assert "No detection at all was of the class 'green'; there were: blue, red." in result.output
    bodies = {one.body for one in server.posts}
    assert bodies == {(photos / name).read_bytes() for name in ("a.png", "sub/a.jpg")}
    headers = server.posts[0].headers
    assert headers["Accept"] == "application/json;format=objects"
    assert headers["X-Amzn-SageMaker-Custom-Attributes"] == "threshold=0.2"


def test_an_endpoint_is_asked_for_the_threshold_itself(photos: Path, tmp_path: Path) -> None:
    """A rounded one would leave out what lies between the two."""
    options = ("--out", tmp_path / "out", "--threshold", "0.12345678")
    with scripted(healthy(lambda *_: found())) as server:
        assert run(photos / "a.png", *options, "--url", server.url).exit_code == 0
    (asked,) = server.posts
    assert asked.headers["X-Amzn-SageMaker-Custom-Attributes"] == "threshold=0.12345678"


NO_DETECTIONS = [
    pytest.param(b"<html>", "JSON is malformed", id="a page"),
    pytest.param(
        b'{"prediction": []}', "Object missing required field `predictions`", id="another form"
    ),
    pytest.param(
        b'{"predictions": [{"class_id": 1}]}',
        "Object missing required field `class_name`",
        id="a field",
    ),
]


@pytest.mark.parametrize(("body", "what"), NO_DETECTIONS)
def test_an_endpoint_of_something_else(
    body: bytes, what: str, photos: Path, tmp_path: Path
) -> None:
    with scripted(healthy(lambda *_: (200, {}, body))) as server:
        result = run(photos, "--out", tmp_path / "out", "--url", server.url)
    assert result.exit_code == 2, result.output
    assert f"{server.url} answered something else than detections ({what}" in result.output


def test_an_endpoint_that_fails_on_a_picture(photos: Path, tmp_path: Path) -> None:
    bad = (photos / "a.png").read_bytes()
    script = healthy(lambda _, one: fault(500, "oops") if one.body == bad else found())
    with scripted(script) as server:
        result = run(photos, "--out", tmp_path / "out", "--url", server.url)
    assert result.exit_code == 3, result.output
    assert f"{photos}/a.png: {server.url} answered 500: oops." in result.output
    assert "PlatformError: 1 of 2 pictures could not be done, 1 of them because" in result.output
    assert predictions(tmp_path / "out" / "sub" / "a.jpg.json") == []


def test_an_endpoint_that_is_not_there(photos: Path, tmp_path: Path) -> None:
    result = run(photos, "--out", tmp_path / "out", "--url", "http://127.0.0.1:1")
    assert result.exit_code == 3
    assert result.output.splitlines()[-1] == (
        "PlatformError: http://127.0.0.1:1 cannot be reached (Connection refused). Start the "
        "endpoint there, or correct --url."
    )
    assert not (tmp_path / "out").exists()
