"""Which engine an endpoint takes, on real artefacts."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray

from sagemaker_object_detection.images import resize_square
from sagemaker_object_detection.inference.conversion import convert
from sagemaker_object_detection.inference.engine_openvino import OpenVINOEngine
from sagemaker_object_detection.inference.predictor import to_planes
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ArtifactError
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.serving import engines
from sagemaker_object_detection.serving.engines import Plan, Shifted, facts, load_engine, make_plan
from sagemaker_object_detection.serving.settings import Settings
from tests import service_artifact, tiny_model
from tests.rows import require_same_detections
from tests.service_network import Service


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_model.write(tmp_path / "model")


def _planes() -> NDArray[Any]:
    image = tiny_model.picture({(0, 0): "red", (3, 2): "blue"})
    return to_planes(resize_square(image, tiny_model.SIDE))[None]


def test_a_model_without_a_twin_is_converted(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        plan = make_plan(folder, Settings(), {})
    assert "Engine openvino: this machine has no GPU; model.onnx is missing" in caplog.text
    assert plan.config.class_names == tiny_model.CLASS_NAMES
    assert not (folder / artifact.ONNX_FILE).exists()
    engine = load_engine(plan, Settings(precision="float32"), 1)
    assert isinstance(engine, OpenVINOEngine)
    mxnet = load_engine(Plan(folder, plan.config, "mxnet"), Settings(), 1)
    require_same_detections(engine.detect(_planes()), mxnet.detect(_planes()), 1e-5)


def test_a_twin_is_taken_as_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / artifact.ONNX_FILE).write_bytes(convert(folder, {}).onnx)
    monkeypatch.setattr(engines, "convert", lambda *_: pytest.fail("it was converted"))
    plan = make_plan(folder, Settings(), {})
    assert plan == Plan(folder, artifact.read_config(folder), "openvino")
    engine = load_engine(plan, Settings(max_batch=3), 2)
    assert engine.batch_sizes == (2,)


def test_a_gpu_is_for_mxnet(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engines, "_GPU_DRIVER", folder)
    with caplog.at_level("INFO"):
        plan = make_plan(folder, Settings(max_batch=6), {})
    assert plan.engine == "mxnet"
    assert "this machine has a GPU" in caplog.text
    assert load_engine(plan, Settings(max_batch=6), 1).batch_sizes == (1, 2, 4, 6)


def test_without_openvino(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with caplog.at_level("INFO"):
        assert make_plan(folder, Settings(), {}).engine == "mxnet"
    assert "OpenVINO is not installed here" in caplog.text
    with pytest.raises(ClientError, match="The engine is openvino, which is not"):
        make_plan(folder, Settings(engine="openvino"), {})
    with pytest.raises(ClientError, match="PRECISION is bfloat16, and the engine MXNet"):
        make_plan(folder, Settings(precision="bfloat16"), {})


def _strange(folder: Path) -> None:
    """A graph with an operator that ONNX has not."""
    path = folder / artifact.SYMBOL_FILE
    path.write_text(re.sub(r'"op": "Pooling"', '"op": "Pooling_v1"', path.read_text()))


def test_what_cannot_be_converted_runs_on_mxnet(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _strange(folder)
    with caplog.at_level("INFO"):
        plan = make_plan(folder, Settings(), {})
    assert plan.engine == "mxnet"
    assert re.search(
        r"Engine mxnet: the model cannot be converted to ONNX \(.*Pooling_v1", caplog.text
    )
    with pytest.raises(
        ClientError, match="The engine is openvino, and the model cannot be converted"
    ):
        make_plan(folder, Settings(engine="openvino"), {})


def test_int8_that_is_not_there(folder: Path) -> None:
    with pytest.raises(ClientError, match=r"has no model-int8\.onnx\. Train with quantize=1"):
        make_plan(folder, Settings(precision="int8"), {})


@pytest.mark.parametrize("engine", ["auto", "mxnet"])
@pytest.mark.parametrize("deploy", [False, True], ids=["training graph", "deploy graph"])
def test_an_artefact_of_the_service(tmp_path: Path, engine: str, deploy: bool) -> None:
    """Its detections are those of the service's own graph."""
    service = Service("resnet-50", 2, 300, width=1 / 16, deploy=deploy)
    folder = service_artifact.write(tmp_path, service)
    settings = Settings(engine=engine, precision="float32" if engine == "auto" else "auto")
    plan = make_plan(folder, settings, {})
    assert plan.config.class_names == ("class_0", "class_1")
    assert (plan.config.image_shape, plan.config.base_network) == (300, "resnet-50")
    assert plan.engine == ("openvino" if engine == "auto" else "mxnet")
    picture = service_artifact.picture(300)
    found = load_engine(plan, settings, 1).detect(picture)
    reference = load_engine(Plan(folder, plan.config, "mxnet"), Settings(), 1).detect(picture)
    require_same_detections(found, reference, 1e-5)


def test_an_artefact_of_nobody(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(ClientError, match="holds no pair of files like"):
        make_plan(tmp_path, Settings(), {})


def test_a_twin_that_is_damaged(folder: Path) -> None:
    (folder / artifact.ONNX_FILE).write_bytes(b"\x08\x07garbage")
    plan = make_plan(folder, Settings(), {})
    with pytest.raises(ClientError, match=r"cannot be used: .*is not an ONNX model"):
        load_engine(plan, Settings(), 1)


def test_a_process_that_cannot_convert(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(ArtifactError, match="ended with exit code 1"):
        convert(folder, {})


def test_the_mean_is_subtracted(folder: Path) -> None:
    plan = make_plan(folder, Settings(engine="mxnet"), {})
    settings = Settings(engine="mxnet", mean=(255, 0, 0))
    shifted = load_engine(plan, settings, 1)
    assert isinstance(shifted, Shifted)
    shifted.warm_up()
    found = shifted.detect(_planes())[0]
    assert set(found[found[:, 1] > 0.5][:, 0]) == {1}  # nothing is red any more


def test_nothing_beside_the_folder_is_read(folder: Path, tmp_path: Path) -> None:
    params = folder / artifact.PARAMS_FILE
    inside = params.rename(folder / "values")
    params.symlink_to(inside.name)
    make_plan(folder, Settings(), {})
    secret = inside.rename(tmp_path / "values")
    params.unlink()
    params.symlink_to(secret)
    with pytest.raises(ClientError, match=r"0000\.params is a link to outside of"):
        make_plan(folder, Settings(), {})


@pytest.mark.parametrize("mean", [(0.0, 0.0, 0.0), (1.0, 2.0, 3.0)])
def test_facts_of_a_model(folder: Path, mean: tuple[float, float, float]) -> None:
    settings = Settings(precision="float32", mean=mean)
    plan = make_plan(folder, settings, {})
    wanted = {"Model": str(folder), "Network": "tiny, 32 px", "Engine": "OpenVINO, float32"}
    assert facts(plan, load_engine(plan, settings, 1)) == wanted
    scored = replace(plan, config=replace(plan.config, validation={"mAP": 0.51239}))
    assert facts(scored, load_engine(plan, settings, 1)) == {**wanted, "Validation mAP": "0.5124"}
