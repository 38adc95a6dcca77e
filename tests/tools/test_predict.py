"""`object-detection predict`: what it writes, with a model and with an endpoint, and its errors."""

from __future__ import annotations

import html
import json
import re
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from click.testing import CliRunner, Result

from sagemaker_object_detection.colors import color_of, css
from sagemaker_object_detection.images import decode, orientation
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.deployed import read_deploy_graph
from sagemaker_object_detection.model.onnx_heads import convert_heads, write_onnx
from sagemaker_object_detection.tools import cli
from tests import tiny_model
from tests.data.samples import write_coco, write_images, write_manifest, write_records
from tests.orientation import stored, with_tag
from tests.tiny_scenes import scenes
from tests.tools.scripted_endpoint import Reply, Request, Scripted, fault, found, healthy, scripted

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
    return fill(tmp_path / "photos", "a.png", "sub/a.jpg")


def fill(folder: Path, *names: str) -> Path:
    image = tiny_model.picture(CELLS)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(tiny_model.encoded(image, Path(name).suffix))
    return folder


def files(folder: Path) -> list[str]:
    """The annotated images."""
    found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert {"index.html", "predictions.json"} <= set(found)
    return [name for name in found if name not in ("index.html", "predictions.json")]


def predictions(out: Path) -> dict[str, list[dict[str, Any]]]:
    """Annotated copy -> predictions without the scores, which fall."""
    told = {}
    for result in json.loads((out / "predictions.json").read_text()):
        scores = [one.pop("score") for one in result["predictions"]]
        assert scores == sorted(scores, reverse=True)
        assert all(0.2 < score <= 1 for score in scores)
        ordered = sorted(result["predictions"], key=lambda one: (one["class_id"], one["bbox"]))
        told[result["annotated"]] = ordered
    return told


@pytest.mark.parametrize("engine", ["openvino", "mxnet"])
def test_a_folder(
    engine: str, model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OBJECT_DETECTION_ENGINE", engine)
    out = tmp_path / "new" / "out"
    result = run(photos, "--out", out, "--model", model)
    assert result.exit_code == 0, result.output
    assert f"Annotated 2 images (red 4, blue 2): {out}/index.html\n" in result.output
    assert files(out) == ["a.png", "sub/a.jpg"]
    assert predictions(out) == {key: [RED, DIM, BLUE] for key in files(out)}
    named = [one["file"] for one in json.loads((out / "predictions.json").read_text())]
    assert named == [str(photos / "a.png"), str(photos / "sub" / "a.jpg")]
    drawn = decode((out / "a.png").read_bytes())
    assert drawn.shape == (480, 640, 3)
    assert tuple(drawn[300, 480]) == color_of(1)  # the left edge of the blue one


def test_the_page(model: Path, tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", "a & <b> #1.png", "sub/c%.jpg")
    assert run(folder, "--out", tmp_path / "out", "--model", model).exit_code == 0
    page = (tmp_path / "out" / "index.html").read_text()
    sources = re.findall(r'src="([^"]*)"', page)
    assert [unquote(html.unescape(one)) for one in sources] == files(tmp_path / "out")
    assert "a &amp; &lt;b&gt; #1.png" in page
    assert "<b>" not in page
    assert page.count("red 2") == 2
    assert css(color_of(1)) in page
    assert "http" not in page
    assert "<script" not in page


def test_a_packed_model(model: Path, photos: Path, tmp_path: Path) -> None:
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for path in model.iterdir():
            tar.add(path, path.name)
    result = run(photos / "a.png", "--out", tmp_path / "out", "--model", archive)
    assert result.exit_code == 0, result.output
    assert predictions(tmp_path / "out") == {"a.png": [RED, DIM, BLUE]}


def test_the_model_of_the_endpoint_by_default(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    result = run(photos, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert f"There is no model at {tmp_path}/model. Give --model" in result.output
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
    assert predictions(tmp_path / "out") == {"a.png": expected}


CHANNELS: list[tuple[str, Callable[[Path, list[Any]], object]]] = [
    ("recordio", lambda folder, all_: write_records(folder / "train.rec", all_)),
    ("images", lambda folder, all_: write_images(folder, folder, all_)),
    ("coco", lambda folder, all_: write_coco(folder, folder / "coco.json", all_)),
    ("manifest", lambda folder, all_: write_manifest(folder, folder / "a.manifest", all_)),
]


@pytest.mark.parametrize(("name", "write"), CHANNELS, ids=[name for name, _ in CHANNELS])
def test_a_channel(
    name: str, write: Callable[[Path, list[Any]], object], model: Path, tmp_path: Path
) -> None:
    write(tmp_path / name, scenes(5))
    result = run(tmp_path / name, "--out", tmp_path / "out", "--model", model)
    assert result.exit_code == 0, result.output
    assert "Annotated 5 images (" in result.output
    assert len(files(tmp_path / "out")) == 5


def test_names_in_the_output(model: Path, tmp_path: Path) -> None:
    """Of several folders each has its own; a name that is taken gets a number."""
    for folder in ("x/photos", "y/photos"):
        fill(tmp_path / folder, "a.png", "b.PNG")
    (tmp_path / "x" / "c").write_bytes((tmp_path / "x" / "photos" / "a.png").read_bytes())
    given = [tmp_path / name for name in ("x/photos", "y/photos", "x/photos/a.png", "x/c")]
    result = run(*given, "--out", tmp_path / "out", "--model", model)
    assert result.exit_code == 0, result.output
    names = ["a-2.png", "a.png", "b-2.PNG", "b.PNG"]
    assert files(tmp_path / "out") == ["a.png", "c.png", *(f"photos/{name}" for name in names)]


def test_the_output_is_no_input(model: Path, tmp_path: Path) -> None:
    folder = fill(tmp_path / "photos", "a.png")
    options = ("--out", folder / "out", "--model", model)
    assert run(folder, *options).exit_code == 0
    assert run(folder, *options).exit_code == 2
    (folder / "out" / "a.png").write_text("old")
    (folder / "out" / "mine").write_text("mine")
    assert run(folder, *options, "--overwrite").exit_code == 0
    assert files(folder / "out") == ["a.png", "mine"]
    decode((folder / "out" / "a.png").read_bytes())


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_tagged_image_is_drawn_as_it_is_displayed(
    suffix: str, model: Path, tmp_path: Path
) -> None:
    image = tiny_model.picture(CELLS)
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    (folder / f"a{suffix}").write_bytes(with_tag(tiny_model.encoded(stored(image, 6), suffix), 6))
    (folder / f"b{suffix}").write_bytes(tiny_model.encoded(image, suffix))
    assert run(folder, "--out", out, "--model", model).exit_code == 0
    tagged, plain = ((out / f"{name}{suffix}").read_bytes() for name in "ab")
    assert orientation(tagged) == 1  # else viewers would turn it once more
    assert np.abs(decode(tagged).astype(int) - decode(plain).astype(int)).mean() < 1


def test_bad_images_among_good_ones(model: Path, photos: Path, tmp_path: Path) -> None:
    (photos / "bad.jpg").write_bytes(b"\xff\xd8 and no more")
    (photos / "text.png").write_bytes(b"text")
    (photos / "link.png").symlink_to(tmp_path / "nowhere")
    (photos / "wide.webp").write_bytes(tiny_model.encoded(np.zeros((4, 16400, 3), np.uint8)))
    result = run(photos, "--out", tmp_path / "out", "--model", model)
    assert result.exit_code == 2
    for name in (
        "bad.jpg is a JPEG that was cut short",
        "text.png is not an image",
        "wide.webp is too large",
    ):
        assert f"{photos}/{name}" in result.output
    assert f"No such file or directory: '{photos}/link.png'" in result.output
    assert "Annotated 2 images" in result.output
    assert result.output.endswith(
        "ClientError: 4 of 6 images failed. The messages above name them.\n"
    )
    assert predictions(tmp_path / "out") == {
        key: [RED, DIM, BLUE] for key in ["a.png", "sub/a.jpg"]
    }


USAGE = [
    pytest.param(("PHOTOS",), "Missing option '--out'", id="no output"),
    pytest.param(("--out", "OUT"), "Missing argument 'IMAGE|FOLDER...'", id="no images"),
    pytest.param(
        ("PHOTOS", "--out", "OUT", "--model", "MODEL", "--url", "http://h"),
        "exclude each other",
        id="a model and an endpoint",
    ),
    pytest.param(("nowhere", "--out", "OUT"), "'nowhere' does not exist", id="no such image"),
    pytest.param(("PHOTOS", "--out", "PHOTOS"), "holds no images (", id="onto itself"),
    pytest.param(("PHOTOS", "--out", "PHOTOS", "--overwrite"), "holds no images (", id="by force"),
    pytest.param(("PHOTOS", "--out", "FULL"), "FULL is not empty. Give a new", id="not empty"),
    pytest.param(
        ("PHOTOS", "--out", "OUT", "--threshold", "2"), "is not in the range", id="threshold"
    ),
    pytest.param(("PHOTOS", "--out", "OUT", "--classes", "a,,b"), "is not a name", id="classes"),
    pytest.param(
        ("PHOTOS", "--out", "OUT", "--model", "MODEL", "--classes", "red,green"),
        "The model has no class 'green'. Its classes: red, blue.",
        id="a class that the model does not know",
    ),
    pytest.param(
        ("PHOTOS", "--out", "OUT", "--model", "PHOTOS"),
        "must hold one folder with a file",
        id="no model",
    ),
    pytest.param(
        ("PHOTOS", "--out", "PHOTOS/a.png/out", "--model", "MODEL"),
        "Give another path",
        id="below a file",
    ),
    pytest.param(("PHOTOS", "--out", "OUT", "--url", "h:80"), "is invalid. Give http://", id="URL"),
    pytest.param(("PHOTOS", "--out", "OUT", "--url", "http://"), "is invalid", id="no host"),
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


@pytest.mark.parametrize("path", ["", "/", "/invocations", "/behind/a/proxy"])
def test_an_endpoint_is_asked(path: str, photos: Path, tmp_path: Path) -> None:
    answers = found({**RED, "score": 0.9}, {**BLUE, "score": 0.15})
    options = ("--classes", "red,green", "--threshold", "0.20000001")
    with scripted(healthy(lambda *_: answers)) as server:
        result = run(photos, "--out", tmp_path / "out", "--url", server.url + path, *options)
    assert result.exit_code == 0, result.output
    assert predictions(tmp_path / "out") == {key: [RED] for key in ["a.png", "sub/a.jpg"]}
    assert "(red 2, green 0)" in result.output
    assert {one.path for one in server.posts} == {
        f"{'/behind/a/proxy' if 'proxy' in path else ''}/invocations"
    }
    bodies = {one.body for one in server.posts}
    assert bodies == {(photos / name).read_bytes() for name in ("a.png", "sub/a.jpg")}
    headers = server.posts[0].headers
    assert headers["Accept"] == "application/json;format=objects"
    assert headers["X-Amzn-SageMaker-Custom-Attributes"] == "threshold=0.20000001"


ANSWERS = [
    pytest.param(
        fault(400, "no image", "Send a JPEG."), 2, "answered 400: no image. Send a JPEG.", id="400"
    ),
    pytest.param(fault(413, "too large"), 2, "413: too large", id="413"),
    pytest.param(fault(500, "oops"), 3, "answered 500: oops.", id="500"),
    pytest.param((404, {}, b"<p>lost</p>"), 2, "404: <p>lost</p>. Give the address", id="404"),
    pytest.param((301, {"Location": "/"}, b""), 2, "301: . Give the address", id="redirection"),
    pytest.param(fault(403, "forbidden"), 2, "403: forbidden", id="403"),
    pytest.param((200, {}, b"<html>"), 2, "answer with detections (JSON is malformed", id="a page"),
    pytest.param(
        (200, {}, b'{"prediction": []}'), 2, "with detections ('predictions')", id="format"
    ),
]


@pytest.mark.parametrize(("reply", "code", "what"), ANSWERS)
def test_what_an_endpoint_answers(
    reply: Reply, code: int, what: str, photos: Path, tmp_path: Path
) -> None:
    bad = (photos / "a.png").read_bytes()
    script = healthy(lambda _, one: reply if one.body == bad else found())
    with scripted(script) as server:
        result = run(photos, "--out", tmp_path / "out", "--url", server.url)
    assert result.exit_code == code, result.output
    assert what in result.output
    if reply[0] in (400, 413, 500):  # of this image alone
        assert f"{photos}/a.png: {server.url} answered" in result.output
        assert result.output.endswith("1 of 2 images failed. The messages above name them.\n")
        assert files(tmp_path / "out") == ["sub/a.jpg"]


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_endpoint_is_asked_again(status: int, photos: Path, tmp_path: Path) -> None:
    def answer(state: Scripted, _: Request) -> Reply | None:
        if len(state.posts) == 1:
            return None  # a connection that is closed
        return found() if len(state.posts) > 3 else fault(status, "busy", Retry_After="1")

    with scripted(healthy(answer)) as server:
        began = time.monotonic()
        result = run(photos / "a.png", "--out", tmp_path / "out", "--url", server.url)
        assert result.exit_code == 0, result.output
        assert time.monotonic() - began >= 2
        assert len(server.posts) == 4
        assert len({one.body for one in server.posts}) == 1


def test_a_busy_endpoint_is_given_up(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagemaker_object_detection.tools.detectors.REPETITIONS", 1)
    with scripted(healthy(lambda *_: fault(503, "64 images wait"))) as server:
        result = run(photos, "--out", tmp_path / "out", "--url", server.url)
    assert result.exit_code == 3, result.output
    assert "answered 503: 64 images wait. Try again later" in result.output


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("http://me:secret@127.0.0.1:1", "http://127.0.0.1:1 cannot be reached (Connection ref"),
        ("http://nowhere.invalid", "http://nowhere.invalid cannot be reached ("),
    ],
)
def test_an_endpoint_that_is_not_there(url: str, what: str, photos: Path, tmp_path: Path) -> None:
    result = run(photos, "--out", tmp_path / "out", "--url", url)
    assert result.exit_code == 3
    assert f"PlatformError: {what}" in result.output
    assert "Start it, or correct --url." in result.output
    assert "secret" not in result.output
    assert not (tmp_path / "out").exists()
