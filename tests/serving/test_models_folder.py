from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sagemaker_object_detection.platform.paths import Paths
from sagemaker_object_detection.serving.batching import UnusableModel
from sagemaker_object_detection.serving.models_routes import memory_need, model_folder
from sagemaker_object_detection.serving.settings import MXNET, OPENVINO

URL = "/opt/ml/models/a/model"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A tree with the model a, another one b beside it, and a secret outside."""
    base = tmp_path / "ml"
    for name in "ab":
        (base / "models" / name / "model").mkdir(parents=True)
        (base / "models" / name / "model" / "model.json").write_text("{}")
    (base / "secret").write_text("s")
    (base / "elsewhere").mkdir()
    return base


def test_a_url_of_the_platform_in_a_moved_tree(base: Path) -> None:
    assert model_folder(URL, Paths(base)) == base / "models" / "a" / "model"


def test_a_path_of_the_tree_itself(base: Path) -> None:
    folder = base / "models" / "a" / "model"
    assert model_folder(f"{folder}/", Paths(base)) == folder


def test_the_tree_may_lie_behind_a_link(base: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(base)
    assert model_folder(URL, Paths(tmp_path / "link")) == base / "models" / "a" / "model"


@pytest.mark.parametrize(
    ("url", "what"),
    [
        pytest.param("/opt/ml/models/c/model", "is missing", id="missing"),
        pytest.param("/opt/ml/models/a/model/model.json", "no folder", id="a file"),
        pytest.param("/opt/ml/models", "not below", id="all models"),
        pytest.param("/opt/ml/models/", "not below", id="all models, with a slash"),
        pytest.param("/opt/ml/elsewhere", "not below", id="beside"),
        pytest.param("/opt/ml/models/../elsewhere", "not below", id="beside, by dots"),
        pytest.param("/opt/ml/models/a/../../../..", "not below", id="above"),
        pytest.param("/etc", "not below", id="anywhere"),
        pytest.param("models/a/model", "not below", id="relative"),
        pytest.param("file:///opt/ml/models/a/model", "not below", id="a real URL"),
        pytest.param("/opt/ml/models/a\0b", "cannot be used", id="zero byte"),
        pytest.param("/opt/ml/models/\ud800", "cannot be used", id="half a character"),
        pytest.param("/opt/ml/models/" + "x" * 5000, "cannot be used", id="too long a name"),
    ],
)
def test_refused(base: Path, url: str, what: str) -> None:
    with pytest.raises(UnusableModel, match=what):
        model_folder(url, Paths(base))


def _outside(folder: Path, base: Path) -> None:
    (folder / "model.onnx").symlink_to(base / "secret")


def _other_model(folder: Path, base: Path) -> None:
    (folder / "model.onnx").symlink_to("../../b/model/model.json")


def _folder_outside(folder: Path, base: Path) -> None:
    (folder / "more").symlink_to(base / "elsewhere")


def _deep(folder: Path, base: Path) -> None:
    (folder / "more").mkdir()
    (folder / "more" / "weights").symlink_to(base / "secret")


def _dangling(folder: Path, base: Path) -> None:
    (folder / "model.onnx").symlink_to(folder / "nothing")


def _loop(folder: Path, base: Path) -> None:
    (folder / "model.onnx").symlink_to("model.onnx")


def _pipe(folder: Path, base: Path) -> None:
    os.mkfifo(folder / "model.onnx")


def _itself(folder: Path, base: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.symlink_to(base / "elsewhere")


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        pytest.param(_outside, "link to outside", id="a file outside"),
        pytest.param(_other_model, "link to outside", id="a file of another model"),
        pytest.param(_folder_outside, "link to outside", id="a folder outside"),
        pytest.param(_deep, "link to outside", id="in a folder of the artefact"),
        pytest.param(_dangling, "does not exist", id="to nothing"),
        pytest.param(_loop, "does not exist", id="to itself"),
        pytest.param(_pipe, "neither a file nor a folder", id="a pipe, which would never end"),
        pytest.param(_itself, "not below", id="the model's folder itself"),
    ],
)
def test_links(base: Path, damage: Callable[[Path, Path], None], what: str) -> None:
    damage(base / "models" / "a" / "model", base)
    with pytest.raises(UnusableModel, match=what):
        model_folder(URL, Paths(base))


def test_links_inside_are_fine(base: Path) -> None:
    folder = base / "models" / "a" / "model"
    (folder / "more").mkdir()
    (folder / "more" / "model.json").symlink_to("../model.json")
    assert model_folder(URL, Paths(base)) == folder


def test_memory_need_grows_with_the_file_that_is_read(tmp_path: Path) -> None:
    size = 2**30
    for name in ("model.onnx", "model_algo_1-0000.params"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    with_twin = memory_need(tmp_path, OPENVINO)
    on_mxnet = memory_need(tmp_path, MXNET)
    (tmp_path / "model.onnx").unlink()
    to_convert = memory_need(tmp_path, OPENVINO)
    assert size < with_twin < on_mxnet < to_convert
    assert memory_need(tmp_path / "..", OPENVINO) > 2**28  # never nothing
