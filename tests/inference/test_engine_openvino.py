"""OpenVINO on a twin: MXNet's rows, from any number of threads."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
from sagemaker_object_detection.inference.engine_openvino import OpenVINOEngine, choose_precision
from sagemaker_object_detection.inference.predictor import Predictor
from sagemaker_object_detection.inference.twins import judge_int8, make_twins
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ArtifactError, ModelConfig
from sagemaker_object_detection.platform.processor import BFLOAT16_FLAGS, INT8_FLAGS, cpu_flags
from tests import lively_network, tiny_model
from tests.rows import require_same_detections

PICTURE = tiny_model.picture({(0, 0): "red", (3, 2): "blue", (1, 3): "dim red"})
ZEN4 = frozenset({"avx2", "avx512_vnni", "avx512_bf16"})

WITHOUT_MXNET = """
import sys
from pathlib import Path
from sagemaker_object_detection.inference.engine_openvino import OpenVINOEngine
from sagemaker_object_detection.inference.predictor import Predictor

engine = OpenVINOEngine.from_folder(Path(sys.argv[1]))
found = Predictor(engine, ("red", "blue")).predict(Path(sys.argv[2]).read_bytes())
print(len(found.above(0.2)), {"mxnet", "gluoncv", "onnx"} & set(sys.modules))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artefact of tests/tiny_model with both twins, which nobody may change."""
    made = tiny_model.write(tmp_path_factory.mktemp("tiny"))
    make_twins(made, [lively_network.pictures(8, tiny_model.SIDE)], threads=1)
    judge_int8(made, 0.5, lambda engine: 0.5, threads=1)
    return made


@pytest.fixture(scope="module")
def real_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole ResNet-18 with its float32 twin."""
    made = tmp_path_factory.mktemp("real")
    graph = lively_network.graph("resnet-18")
    graph.save(made)
    names = tuple("abc")
    artifact.write_config(made, ModelConfig(names, graph.image_shape, "resnet-18"))
    make_twins(made, [], threads=2, int8=False)
    return made


def test_heads_are_told_apart_by_their_names(folder: Path, tmp_path: Path) -> None:
    """Of three classes both have four columns."""
    model = onnx.load(folder / artifact.ONNX_FILE)
    heads = list(model.graph.output)
    del model.graph.output[:]
    model.graph.output.extend(reversed(heads))
    path = tmp_path / "turned.onnx"
    path.write_bytes(model.SerializeToString())
    planes = lively_network.pictures(1, tiny_model.SIDE)
    expected = OpenVINOEngine.from_folder(folder, "float32", threads=1).detect(planes)
    found = OpenVINOEngine(path, "float32", threads=1).detect(planes)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8", "auto"])
def test_detects(folder: Path, precision: str) -> None:
    engine = OpenVINOEngine.from_folder(folder, precision, threads=1)
    engine.warm_up()
    found = Predictor(engine, tiny_model.CLASS_NAMES).predict(tiny_model.encoded(PICTURE))
    named = {
        tuple(box): class_id
        for box, class_id in zip(
            found.above(0.2).boxes.round(2).tolist(), found.class_ids, strict=False
        )
    }
    assert named == {
        (0.0, 0.0, 0.25, 0.25): 0,
        (0.75, 0.5, 1.0, 0.75): 1,
        (0.25, 0.75, 0.5, 1.0): 0,
    }


def test_a_real_network_gives_the_rows_of_mxnet(real_folder: Path) -> None:
    planes = lively_network.pictures(3, seed=1)
    expected = MXNetEngine.from_folder(real_folder, mx.cpu()).detect(planes)
    found = OpenVINOEngine.from_folder(real_folder, "float32", threads=2).detect(planes)
    assert found.shape == expected.shape
    require_same_detections(found, expected, 1e-4)


def test_precisions_are_really_computed_in(real_folder: Path) -> None:
    """OpenVINO takes bfloat16 by itself where it can; float32 has to be float32."""
    planes = lively_network.pictures(1)
    found = {
        name: OpenVINOEngine.from_folder(real_folder, name, threads=2).detect(planes)
        for name in ("float32", "bfloat16")
    }
    differs = not np.allclose(found["float32"], found["bfloat16"], atol=1e-4)
    assert differs or not cpu_flags() & BFLOAT16_FLAGS


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("streams", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_number_of_pictures(folder: Path, count: int, streams: int, dtype: Any) -> None:  # noqa: ANN401
    planes = lively_network.pictures(5, tiny_model.SIDE)[:count].astype(dtype)
    one = OpenVINOEngine.from_folder(folder, "float32", threads=1)
    engine = OpenVINOEngine.from_folder(folder, "float32", threads=streams, streams=streams)
    got = engine.detect(planes)
    assert got.shape == (count, 16, 6)
    assert got.dtype == np.float32
    expected = np.concatenate([one.detect(picture[None]) for picture in planes])
    np.testing.assert_allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize("streams", [1, 2])
def test_threads_do_not_mix_their_pictures(folder: Path, streams: int) -> None:
    engine = OpenVINOEngine.from_folder(folder, "float32", threads=2, streams=streams)
    pictures = lively_network.pictures(8, tiny_model.SIDE)
    expected = [engine.detect(pictures[i : i + 3]) for i in range(6)]

    def ask(i: int) -> bool:
        return bool(np.array_equal(engine.detect(pictures[i % 6 : i % 6 + 3]), expected[i % 6]))

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(ask, range(300)))


def test_rows_are_not_overwritten_by_the_next_call(folder: Path) -> None:
    engine = OpenVINOEngine.from_folder(folder, "float32", threads=1)
    first = engine.detect(lively_network.pictures(1, tiny_model.SIDE, seed=1))
    copy = first.copy()
    engine.detect(lively_network.pictures(1, tiny_model.SIDE, seed=2))
    np.testing.assert_array_equal(first, copy)


def test_a_failure_gives_the_request_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the next caller would wait for ever."""
    engine = OpenVINOEngine.from_folder(folder, "float32", threads=1)
    planes = lively_network.pictures(1, tiny_model.SIDE)
    with monkeypatch.context() as patch:
        patch.setattr("sagemaker_object_detection.inference.engine_openvino.decode", None)
        with pytest.raises(TypeError):
            engine.detect(planes)
    assert len(engine.detect(planes)) == 1


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((3, 32, 32), "one picture without its batch"),
        ((1, 32, 32, 3), "channels last"),
        ((1, 3, 16, 16), "another side"),
        ((0, 3, 32, 32), "no picture"),
    ],
)
def test_wrong_shape(folder: Path, shape: tuple[int, ...], reason: str) -> None:
    engine = OpenVINOEngine.from_folder(folder, "float32", threads=1)
    with pytest.raises(ValueError, match="expected pictures"):
        engine.detect(np.zeros(shape, np.uint8))


def test_without_mxnet(folder: Path, tmp_path: Path) -> None:
    """Only the twin and model.json are needed."""
    for name in (artifact.ONNX_FILE, artifact.MODEL_FILE):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    picture = tmp_path / "picture.png"
    picture.write_bytes(tiny_model.encoded(PICTURE))
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_MXNET, str(tmp_path), str(picture)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (run.stdout, run.stderr) == ("3 set()\n", "")


def test_the_log_says_what_was_chosen(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    OpenVINOEngine.from_folder(folder, "int8", threads=1)
    (record,) = caplog.records
    assert "on model-int8.onnx, computing in int8 with 1 threads." in record.getMessage()


@pytest.mark.parametrize(
    ("asked", "has_int8", "flags", "expected"),
    [
        pytest.param("auto", True, ZEN4, "int8", id="the fastest that is there"),
        pytest.param("auto", False, ZEN4, "bfloat16", id="no INT8 twin"),
        pytest.param("auto", True, ZEN4 - INT8_FLAGS, "bfloat16", id="no INT8 instructions"),
        pytest.param("auto", True, frozenset({"avx2"}), "float32", id="an old CPU"),
        pytest.param("auto", True, frozenset({"avx_vnni"}), "int8", id="VNNI of 256 bits"),
        pytest.param("float32", True, ZEN4, "float32", id="as asked"),
        pytest.param("int8", False, frozenset(), "int8", id="as asked: a missing file is told"),
        pytest.param("bfloat16", False, frozenset(), "bfloat16", id="as asked, though slow"),
    ],
)
def test_choice_of_precision(
    asked: str, has_int8: bool, flags: frozenset[str], expected: str
) -> None:
    assert choose_precision(asked, has_int8, flags) == expected


def test_an_unknown_precision() -> None:
    with pytest.raises(ValueError, match="auto, float32, bfloat16, int8, got 'fp16'"):
        choose_precision("fp16", True, ZEN4)


def _cut(folder: Path) -> None:
    path = folder / artifact.ONNX_FILE
    path.write_bytes(path.read_bytes()[:100])


def _other_outputs(folder: Path) -> None:
    model = onnx.load(folder / artifact.ONNX_FILE)
    del model.graph.output[0]
    onnx.save(model, folder / artifact.ONNX_FILE)


def _without_metadata(folder: Path) -> None:
    model = onnx.load(folder / artifact.ONNX_FILE)
    del model.metadata_props[:]
    onnx.save(model, folder / artifact.ONNX_FILE)


def _other_side(folder: Path) -> None:
    config = artifact.read_config(folder)
    artifact.write_config(folder, replace(config, image_shape=64))


def _change(change: Callable[[onnx.GraphProto], object]) -> Callable[[Path], None]:
    """Change the graph of the twin."""

    def changed(folder: Path) -> None:
        model = onnx.load(folder / artifact.ONNX_FILE)
        change(model.graph)
        (folder / artifact.ONNX_FILE).write_bytes(model.SerializeToString())

    return changed


def _any_side(graph: onnx.GraphProto) -> None:
    for side in graph.input[0].type.tensor_type.shape.dim[2:]:
        side.dim_param = "side"


def _other_picture(graph: onnx.GraphProto) -> None:
    for side in graph.input[0].type.tensor_type.shape.dim[2:]:
        side.dim_value = 16


def _fewer_anchors(graph: onnx.GraphProto) -> None:
    (anchors,) = (tensor for tensor in graph.initializer if tensor.name == "constant_anchors")
    anchors.CopyFrom(numpy_helper.from_array(np.zeros((1, 3, 4), np.float32), anchors.name))


def _values_of_another(graph: onnx.GraphProto) -> None:
    """ONNX may keep values in a file that it names: OpenVINO reads none outside of the folder."""
    (bias,) = (tensor for tensor in graph.initializer if tensor.name == "class_bias")
    bias.ClearField("raw_data")
    bias.data_location = onnx.TensorProto.EXTERNAL
    place = bias.external_data.add()
    place.key, place.value = "location", "../secret"


def _a_name_less(folder: Path) -> None:
    config = artifact.read_config(folder)
    artifact.write_config(folder, replace(config, class_names=config.class_names[1:]))


@pytest.mark.parametrize(
    ("damage", "precision", "message"),
    [
        (_cut, "float32", r"model\.onnx is not an ONNX model or is damaged"),
        (_other_outputs, "float32", r"has outputs \['anchors', 'offsets'\]"),
        (_without_metadata, "float32", "does not say how detections are made"),
        (_change(_any_side), "float32", r"takes pictures of shape .*expected \(batch, 3, S, S\)"),
        (_change(_other_picture), "float32", r"'scores': \(1, 4, 3\), .* for 16 anchors"),
        (_change(_fewer_anchors), "float32", r"'scores': \(1, 16, 3\), .* for 3 anchors"),
        (_change(_values_of_another), "float32", "outside the base directory"),
        (_a_name_less, "float32", r"model\.onnx tells 2 classes apart, model\.json .* has 1 class"),
        (_other_side, "float32", r"takes images of 32 px, model\.json says 64"),
        (lambda f: (f / artifact.ONNX_FILE).unlink(), "float32", r"lacks model\.onnx"),
        (lambda f: (f / artifact.INT8_FILE).unlink(), "int8", r"lacks model-int8\.onnx"),
        (lambda f: (f / artifact.MODEL_FILE).unlink(), "float32", r"model\.json is missing"),
    ],
)
def test_damaged_artifact(
    folder: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    precision: str,
    message: str,
) -> None:
    (tmp_path / "secret").write_bytes(bytes(12))
    copy = Path(shutil.copytree(folder, tmp_path / "model"))
    damage(copy)
    with pytest.raises(ArtifactError, match=message):
        OpenVINOEngine.from_folder(copy, precision)


IN_A_PROCESS_WITH_SIGNALS = """
import signal, sys, threading
from pathlib import Path
from sagemaker_object_detection.inference.engine_openvino import OpenVINOEngine
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
engines = [OpenVINOEngine.from_folder(Path(sys.argv[1]))]
thread = threading.Thread(target=engines.clear)
thread.start()
thread.join()
signal.raise_signal(signal.SIGTERM)
"""


def test_a_signal_after_another_thread_has_dropped_the_engine(folder: Path) -> None:
    """Where the CPU has AMX, OpenVINO would leave this thread without a stack for the handler."""
    command = [sys.executable, "-c", IN_A_PROCESS_WITH_SIGNALS, folder]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "handled\n"
