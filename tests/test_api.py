"""The Python API: what a detector takes and gives, and how training is called."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

import sagemaker_object_detection
from sagemaker_object_detection import Detector, JobError, load, train
from sagemaker_object_detection.colors import color_of
from sagemaker_object_detection.images import ImageError
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.deployed import read_deploy_graph
from sagemaker_object_detection.model.onnx_heads import convert_heads, write_onnx
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools import training_job
from tests import tiny_model
from tests.tools.format_trees import write, write_tree

CELLS = {(0, 0): "red", (3, 2): "blue", (2, 0): "dim red"}
LOOSE = {"max_dropped_images": 1, "max_dropped_boxes": 1}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_model.write(tmp_path_factory.mktemp("model"))
    write_onnx(convert_heads(read_deploy_graph(folder)), folder / artifact.ONNX_FILE)
    return folder


@pytest.fixture(scope="module")
def detector(model: Path) -> Detector:
    return load(model)


@pytest.mark.parametrize("engine", ["openvino", "mxnet"])
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "model.tar.gz"])
def test_a_model_detects(engine: str, packed: bool, model: Path, tmp_path: Path) -> None:
    if packed:
        with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
            archive.add(model, ".")
    detector = load(tmp_path / "model.tar.gz" if packed else model, engine=engine)  # type: ignore[arg-type]
    assert detector.class_names == ("red", "blue")
    found = detector(tiny_model.encoded(tiny_model.picture(CELLS)))
    assert len(found) == 3
    assert (found.boxes_px.shape, found.boxes_px.dtype) == ((3, 4), np.float32)
    assert (found.scores.dtype, found.class_ids.dtype) == (np.float32, np.int64)
    assert (np.diff(found.scores) <= 0).all()
    named = sorted(zip(found.class_names.tolist(), found.boxes_px.tolist(), strict=True))
    assert named == [
        ("blue", [480, 240, 640, 360]),
        ("red", [0, 0, 160, 120]),
        ("red", [320, 0, 480, 120]),
    ]


def test_an_image_may_be_a_path_bytes_or_pixels(detector: Detector, tmp_path: Path) -> None:
    data = tiny_model.encoded(tiny_model.picture(CELLS))
    (tmp_path / "a.png").write_bytes(data)
    pixels = cv2.imread(str(tmp_path / "a.png"))[..., ::-1]
    for image in (tmp_path / "a.png", str(tmp_path / "a.png"), data, pixels):
        found = detector(image)
        assert found.class_names.tolist().count("red") == 2
        np.testing.assert_array_equal(found.image, pixels)
    pillow = pytest.importorskip("PIL.Image")
    assert len(detector(pillow.open(tmp_path / "a.png").convert("RGBA"))) == 3


def test_a_plot_is_rgb(detector: Detector) -> None:
    found = detector(tiny_model.encoded(tiny_model.picture(CELLS)))
    before = found.image.copy()
    drawn = found.plot()
    assert (drawn.shape, drawn.dtype) == ((480, 640, 3), np.uint8)
    assert tuple(drawn[300, 480]) == color_of(1)  # the left edge of the blue one
    np.testing.assert_array_equal(found.image, before)


def test_nothing_found_keeps_the_shapes(detector: Detector) -> None:
    found = detector(np.zeros((30, 40, 3), np.uint8))
    assert found.boxes_px.shape == (0, 4)
    assert found.class_names.shape == found.scores.shape == found.class_ids.shape == (0,)
    assert found.plot().shape == (30, 40, 3)


def test_a_threshold(model: Path) -> None:
    data = tiny_model.encoded(tiny_model.picture(CELLS))
    least = load(model, threshold=0)(data).scores
    assert len(load(model, threshold=float(least[0]))(data)) == 0


@pytest.mark.parametrize(
    ("image", "error"),
    [
        pytest.param(b"text", ImageError, id="bytes of no image"),
        pytest.param("missing.jpg", FileNotFoundError, id="no file"),
        pytest.param(np.zeros((4, 4), np.uint8), ValueError, id="gray"),
        pytest.param(np.zeros((4, 4, 3)), ValueError, id="floats"),
    ],
)
def test_images_that_are_none(image: object, error: type[Exception], detector: Detector) -> None:
    with pytest.raises(error):
        detector(image)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        pytest.param({"path": "missing"}, "There is no model at missing", id="no model"),
        pytest.param({"engine": "tensorrt"}, "Give auto, openvino or mxnet", id="engine"),
        pytest.param({"threshold": 2}, "Give a number in 0..1", id="threshold"),
    ],
)
def test_models_that_cannot_be_loaded(options: dict[str, object], match: str, model: Path) -> None:
    with pytest.raises(JobError, match=match):
        load(**{"path": model, **options})  # type: ignore[arg-type]


def test_train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = [0, 3, 0]

    def run(paths: training_job.Paths) -> int:
        if len(ended) == 3:
            write(paths.model_dir / "model.json", "{}")
        else:
            write(paths.failure_file, "PlatformError: The disk is full.")
        return ended.pop(0)

    monkeypatch.setattr(training_job, "run", run)
    data, out = write_tree("coco", tmp_path / "data"), tmp_path / "run"
    assert train(data, out, epochs=2, lr_scheduler_step=(1, 2), **LOOSE) == out / "model"
    with pytest.raises(JobError, match="Continue it with --resume"):
        train(data, out, **LOOSE)
    with pytest.raises(JobError, match=r"^The disk is full\.$") as caught:
        train(data, out, overwrite=True, early_stopping=True, **LOOSE)
    assert caught.value.exit_code == 3
    with pytest.raises(JobError, match="stopped before there was a model"):
        train(data, out, resume=True)
    with pytest.raises(ClientError, match="Did you mean epochs"):
        train(data, tmp_path / "other", epoch=2)


def test_the_package_imports_nothing_heavy() -> None:
    names = set(sagemaker_object_detection.__all__)
    assert names <= set(dir(sagemaker_object_detection))
    with pytest.raises(AttributeError, match="no attribute 'loads'"):
        sagemaker_object_detection.loads  # noqa: B018
    program = "import sys, sagemaker_object_detection; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n"
