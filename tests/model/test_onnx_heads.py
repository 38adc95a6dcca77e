"""The twin: a file that stands by itself and computes what the deploy graph computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mxnet as mx
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from sagemaker_object_detection.inference.decode import decode
from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
from sagemaker_object_detection.model import onnx_heads
from sagemaker_object_detection.model.artifact import ArtifactError
from sagemaker_object_detection.model.deploy import DeployGraph
from sagemaker_object_detection.model.deployed import read_deploy_graph
from sagemaker_object_detection.model.detection import DetectionRule
from sagemaker_object_detection.model.onnx_heads import convert_heads, detection_rule, write_onnx
from sagemaker_object_detection.model.specs import BASE_NETWORKS
from tests import lively_network, tiny_model
from tests.model.conftest import SERVICES
from tests.rows import require_same_detections


def _tiny() -> DeployGraph:
    symbol, args = tiny_model.graph()
    return DeployGraph(symbol, args, {}, tiny_model.SIDE)


def _require_same(graph: DeployGraph, planes: np.ndarray, tolerance: float = 1e-4) -> None:
    """Heads by ONNX Runtime, decoded by numpy, against the deploy graph in MXNet."""
    model = convert_heads(graph)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    scores, offsets, anchors = session.run(None, {"data": planes.astype(np.float32)})
    rows = decode(scores, offsets, anchors, detection_rule(graph.symbol))
    engine = MXNetEngine(graph.symbol, graph.args, graph.auxs, graph.image_shape, mx.cpu())
    require_same_detections(rows, engine.detect(planes), tolerance)


@pytest.mark.parametrize("base_network", BASE_NETWORKS)
def test_every_base_network(base_network: str) -> None:
    _require_same(lively_network.graph(base_network), lively_network.pictures(1))


@pytest.mark.parametrize("name", SERVICES)
def test_networks_of_the_service(service_folder: Callable[[str], Path], name: str) -> None:
    """ResNet-50 of the service has a BatchNorm whose scale MXNet takes as 1."""
    graph = read_deploy_graph(service_folder(name))
    _require_same(graph, lively_network.pictures(1, graph.image_shape))


def test_a_scale_that_counts_as_one() -> None:
    """MXNet's own translation takes the number that is stored."""
    data = mx.sym.var("data")
    normalised = mx.sym.BatchNorm(data, fix_gamma=True, name="norm")
    symbol, args = tiny_model.graph()
    graph = DeployGraph(
        symbol(data=normalised),
        {**args, "norm_gamma": mx.nd.full(3, 5.0), "norm_beta": mx.nd.array([1.0, 2.0, 3.0])},
        {"norm_moving_mean": mx.nd.full(3, 10.0), "norm_moving_var": mx.nd.full(3, 4.0)},
        tiny_model.SIDE,
    )
    _require_same(graph, lively_network.pictures(2, tiny_model.SIDE))


def test_any_batch() -> None:
    _require_same(_tiny(), lively_network.pictures(3, tiny_model.SIDE))


def test_the_interface() -> None:
    model = convert_heads(_tiny())
    assert [value.name for value in model.graph.input] == ["data"]
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert shapes == {
        "data": ["batch", 3, 32, 32],
        "scores": ["batch", 16, 3],
        "offsets": ["batch", 16, 4],
        "anchors": [1, 16, 4],
    }
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 13)]
    texts = {p.key: p.value for p in model.metadata_props}
    assert texts.pop("image_shape") == "32"
    assert DetectionRule.from_texts(texts, "it") == DetectionRule(0.01, 0.45, 400)


def test_no_constant_is_left_over() -> None:
    graph = convert_heads(_tiny()).graph
    used = {name for node in graph.node for name in node.input}
    assert {tensor.name for tensor in graph.initializer} <= used


def test_values_are_those_of_now() -> None:
    graph = _tiny()
    graph.args["class_bias"][:] = 7
    values = {t.name: numpy_helper.to_array(t) for t in convert_heads(graph).graph.initializer}
    assert values["class_bias"].tolist() == [7, 7, 7]


def test_it_is_silent_and_leaves_nothing(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """MXNet's translation warns hundreds of times, which fails any test here, and logs."""
    graph = _tiny()
    folder = tmp_path / "model"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")
    write_onnx(convert_heads(graph), folder / "model.onnx")
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]
    onnx.checker.check_model(str(folder / "model.onnx"), full_check=True)


def test_a_model_that_is_there_stays_if_the_next_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    model = convert_heads(_tiny())
    write_onnx(model, path)
    before = path.read_bytes()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        onnx_heads.write_onnx(model, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_graph_that_detects_nothing_is_refused() -> None:
    graph = _tiny()
    inner = graph.symbol.get_internals()["class_output"]
    with pytest.raises(ArtifactError, match="ends in Convolution class"):
        convert_heads(DeployGraph(inner, graph.args, {}, tiny_model.SIDE))
