"""One file with decoding and suppression inside, run as its users do, by ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from numpy.typing import NDArray

from sagemaker_object_detection import images
from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
from sagemaker_object_detection.inference.predictor import to_planes
from sagemaker_object_detection.model.deploy import DeployGraph, deploy_graph
from sagemaker_object_detection.model.deployed import read_deploy_graph
from sagemaker_object_detection.model.detection import DetectionRule
from sagemaker_object_detection.model.network import Network
from sagemaker_object_detection.model.onnx_export import convert_detector
from tests import lively_network, tiny_model
from tests.model.conftest import SERVICES
from tests.rows import require_same_detections

BCCD = Path(__file__).resolve().parents[3] / "shared" / "data" / "bccd" / "BCCD" / "JPEGImages"


def _run(model: onnx.ModelProto, planes: NDArray[Any]) -> NDArray[Any]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    (rows,) = session.run(None, {"data": planes.astype(np.float32)})
    return rows


def _expected(graph: DeployGraph, planes: NDArray[Any]) -> NDArray[Any]:
    engine = MXNetEngine(graph.symbol, graph.args, graph.auxs, graph.image_shape, mx.cpu())
    return engine.detect(planes)


@pytest.fixture(scope="module")
def network() -> Network:
    return lively_network.build("resnet-18")


def _photographs(side: int) -> NDArray[np.uint8]:
    """50 of BCCD; drawn ones where the data set is not there."""
    paths = sorted(BCCD.glob("*.jpg"))[:50]
    if not paths:
        return lively_network.pictures(8, side)
    squares = [images.resize_square(images.decode(p.read_bytes(), p.name), side) for p in paths]
    return np.stack([to_planes(square) for square in squares])


def test_photographs(network: Network) -> None:
    graph = deploy_graph(network, 0.45, 400)
    planes = _photographs(lively_network.SIDE)
    rows = _run(convert_detector(graph), planes)
    assert rows.shape == (len(planes), 400, 6)
    require_same_detections(rows, _expected(graph, planes), 1e-4)


@pytest.mark.parametrize(
    ("nms_threshold", "nms_topk", "rows"),
    [
        pytest.param(0.1, 400, 400, id="hardly any overlap"),
        pytest.param(1.0, 400, 400, id="only boxes that are the same suppress each other"),
        pytest.param(0.45, 5, 5, id="few candidates"),
        pytest.param(0.45, 1, 1, id="one"),
        pytest.param(0.45, 100_000, 2268, id="more than there are anchors"),
        pytest.param(0.45, -1, 2268, id="all"),
        pytest.param(0.0, 5, 2268, id="no suppression, and all candidates"),
    ],
)
def test_settings(network: Network, nms_threshold: float, nms_topk: int, rows: int) -> None:
    graph = deploy_graph(network, nms_threshold, nms_topk)
    planes = lively_network.pictures(2)
    found = _run(convert_detector(graph), planes)
    assert found.shape == (2, rows, 6)
    assert (np.diff(found[..., 1], axis=1) <= 0).all()  # the best first
    require_same_detections(found, _expected(graph, planes), 1e-4)


@pytest.mark.parametrize(
    "rule",
    [
        DetectionRule(0.3, 0.45, 400),
        DetectionRule(0.01, 0.1, -1, force_suppress=True),
        DetectionRule(0.01, 0.45, 400, clip=False, variances=(1.0, 0.5, 0.3, 0.4)),
        DetectionRule(0.0, 0.5, 10),
    ],
    ids=lambda rule: f"{rule.threshold} {rule.nms_topk}",
)
def test_rules_of_other_graphs(rule: DetectionRule) -> None:
    """Graphs that were not made here may suppress across classes, or not clip."""
    symbol, args = tiny_model.graph()
    random = np.random.default_rng(0)
    args["anchors"] = args["anchors"] * 2 - 0.3  # they overlap, and lie outside in part
    args["offset_weight"] = mx.nd.array(random.normal(0, 0.003, (4, 3, 1, 1)))
    args["class_bias"] = mx.nd.array([0, -3, -3])
    heads = symbol.get_children()
    detection = mx.sym.contrib.MultiBoxDetection(*heads, **asdict(rule))
    graph = DeployGraph(detection, args, {}, tiny_model.SIDE)
    planes = lively_network.pictures(4, tiny_model.SIDE)
    require_same_detections(_run(convert_detector(graph), planes), _expected(graph, planes), 1e-4)


def test_an_overlap_that_equals_the_threshold_suppresses() -> None:
    """As in MXNet; ONNX's own operator lets both boxes stand."""
    symbol, args = tiny_model.graph()
    args["anchors"][0, 0], args["anchors"][0, 1] = (0, 0, 0.5, 0.5), (0, 0, 0.5, 0.25)
    detection = mx.sym.contrib.MultiBoxDetection(*symbol.get_children(), nms_threshold=0.5)
    graph = DeployGraph(detection, args, {}, tiny_model.SIDE)
    picture = tiny_model.picture(
        {(0, 0): "red", (1, 0): "dim red"}, tiny_model.SIDE, tiny_model.SIDE
    )
    planes = to_planes(picture)[None]
    rows = _run(convert_detector(graph), planes)
    assert not (rows[0, rows[0, :, 0] == 0, 2:] == (0, 0, 0.5, 0.25)).all(axis=1).any()
    require_same_detections(rows, _expected(graph, planes), 1e-4)


@pytest.mark.parametrize("name", SERVICES)
def test_networks_of_the_service(service_folder: Callable[[str], Path], name: str) -> None:
    graph = read_deploy_graph(service_folder(name))
    planes = lively_network.pictures(1, graph.image_shape)
    require_same_detections(_run(convert_detector(graph), planes), _expected(graph, planes), 1e-4)


def test_a_picture_in_which_nothing_is() -> None:
    symbol, args = tiny_model.graph()
    args["class_bias"] = mx.nd.array([0, -90, -90])
    model = convert_detector(DeployGraph(symbol, args, {}, tiny_model.SIDE))
    rows = _run(model, np.zeros((2, 3, 32, 32)))
    assert rows.shape == (2, 16, 6)
    assert (rows[..., 0] == -1).all()


def test_the_interface() -> None:
    symbol, args = tiny_model.graph()
    names = ("red", "größer")
    model = convert_detector(DeployGraph(symbol, args, {}, tiny_model.SIDE), names)
    ends = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert ends == {"data": ["batch", 3, 32, 32], "detections": ["batch", 16, 6]}
    texts = {p.key: p.value for p in model.metadata_props}
    assert json.loads(texts["class_names"]) == list(names)
    assert texts["image_shape"] == "32"
    assert texts["nms_threshold"] == "0.45"
    for word in ("data", "RGB", "bilinear", "detections", "class_id", "-1"):
        assert word in model.doc_string
    assert {domain.domain for domain in model.opset_import} == {""}  # ONNX's own operators alone


def test_other_runtimes_take_it_too() -> None:
    symbol, args = tiny_model.graph()
    graph = DeployGraph(symbol, args, {}, tiny_model.SIDE)
    planes = lively_network.pictures(2, tiny_model.SIDE)
    core = openvino.Core()
    model = core.read_model(convert_detector(graph).SerializeToString())
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    require_same_detections(
        compiled([planes.astype(np.float32)])[0], _expected(graph, planes), 1e-4
    )
