"""Quantising by figures that can be done by hand, and of a whole network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sagemaker_object_detection.inference.quantise import (
    fold_batch_norms,
    measure,
    pull_strides,
    quantise,
)
from sagemaker_object_detection.model.onnx_heads import convert_heads
from tests import lively_network

RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.normal(0, 1, (4, 3, 3, 3)).astype(np.float32)
SECOND = RANDOM.normal(0, 1, (2, 4, 1, 1)).astype(np.float32)
BIAS = np.array([0.5, -0.5, 1.0, 0.0], np.float32)
NORM = {
    "gamma": np.array([1.0, -2.0, 0.5, 0.0], np.float32),
    "beta": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
    "mean": np.array([0.0, 1.0, -1.0, 2.0], np.float32),
    "variance": np.array([1.0, 4.0, 0.25, 1.0], np.float32),
}


def _model(with_bias: bool = True, shared: bool = False) -> onnx.ModelProto:
    """data -> convolution -> BatchNormalization -> convolution.

    shared: the output of the first convolution is used twice.
    """
    values = {"weight": WEIGHT, "bias": BIAS, "second": SECOND, **NORM}
    if not with_bias:
        del values["bias"]
    first = ["data", "weight", *(["bias"] if with_bias else [])]
    nodes = [
        helper.make_node("Conv", first, ["conv"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["conv", *NORM], ["norm"], "norm", epsilon=1e-3),
        helper.make_node("Conv", ["norm", "second"], ["last"], "last"),
    ]
    outputs = ["last", *(["conv"] if shared else [])]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def _run(model: onnx.ModelProto, images: NDArray[Any]) -> list[NDArray[Any]]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {"data": images.astype(np.float32)})


def _images(count: int = 4, seed: int = 1) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 8, 8)).astype(np.uint8)


@pytest.mark.parametrize("with_bias", [True, False])
def test_folding_changes_nothing(with_bias: bool) -> None:
    model = _model(with_bias)
    expected = _run(model, _images())
    fold_batch_norms(model.graph)
    assert [node.op_type for node in model.graph.node] == ["Conv", "Conv"]
    np.testing.assert_allclose(_run(model, _images())[0], expected[0], rtol=1e-4, atol=1e-2)


def test_a_convolution_that_others_use_is_left_alone() -> None:
    model = _model(shared=True)
    fold_batch_norms(model.graph)
    assert [node.op_type for node in model.graph.node] == ["Conv", "BatchNormalization", "Conv"]


@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "pulled"),
    [
        pytest.param(1, 2, 0, True, id="every second pixel"),
        pytest.param(1, 3, 0, True, id="every third"),
        pytest.param(1, 1, 0, False, id="every pixel"),
        pytest.param(1, 2, 1, False, id="a border"),
        pytest.param(3, 2, 1, False, id="a window that sees the others too"),
    ],
)
def test_pulling_strides_changes_nothing(kernel: int, stride: int, pad: int, pulled: bool) -> None:
    """Two convolutions that skip the same pixels take the same thinned picture."""
    random = np.random.default_rng(0)
    weights = {
        name: random.normal(0, 1, (2, 3, kernel, kernel)).astype(np.float32)
        for name in ("left", "right")
    }
    how = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["data"], ["plain"]),
            *(
                helper.make_node("Conv", ["plain", name], [f"{name}_out"], **how)
                for name in weights
            ),
        ],
        "g",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [
            helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, [None] * 4)
            for name in weights
        ],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    expected = _run(model, _images())
    pull_strides(model.graph)
    operators = [node.op_type for node in model.graph.node]
    assert operators == ["Relu", *(["MaxPool"] if pulled else []), "Conv", "Conv"]
    for found, wanted in zip(_run(model, _images()), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_sums_are_quantised_and_biases_are_not() -> None:
    """A residual sum has two inputs that are computed; one with a constant stays as it is."""
    nodes = [
        helper.make_node("Conv", ["data", "weight"], ["conv"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["conv", "data"], ["sum"], "sum"),
        helper.make_node("Add", ["sum", "constant"], ["last"], "last"),
    ]
    values = {"weight": WEIGHT[:3], "constant": np.ones(1, np.float32)}
    ends = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, 8, 8])]
        for name in ("data", "last")
    ]
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "g", *ends, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    result = quantise(model, [_images()], threads=1)
    inputs = {node.name: list(node.input) for node in result.graph.node}
    assert inputs["sum"] == ["conv_dequantised", "data_dequantised"]
    assert inputs["last"] == ["sum", "constant"]
    expected, found = _run(model, _images())[0], _run(result, _images())[0]
    assert 0 < np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_ranges() -> None:
    """Of all images, whatever their batches."""
    model = _model()
    images = np.concatenate([_images(3), np.full((1, 3, 8, 8), 255, np.uint8)])
    ranges = measure(model, [images[:1], images[1:]], threads=1)
    normalised = _norm(_run(_model(shared=True), images)[1])
    assert ranges["data"] == (images.min(), 255)
    np.testing.assert_allclose(ranges["norm"], (normalised.min(), normalised.max()), rtol=1e-4)


def _norm(x: NDArray[Any]) -> NDArray[Any]:
    gamma, beta, mean, variance = (value.reshape(1, -1, 1, 1) for value in NORM.values())
    return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta


def test_weights_and_zero_points() -> None:
    result = quantise(_model(), [_images()], threads=1)
    values = {t.name: numpy_helper.to_array(t) for t in result.graph.initializer}
    narrow = next(v for n, v in values.items() if v.dtype == np.int8 and v.shape == WEIGHT.shape)
    scale = next(v for n, v in values.items() if n.startswith("conv_weight") and v.shape == (4,))
    folded = WEIGHT * (NORM["gamma"] / np.sqrt(NORM["variance"] + 1e-3)).reshape(-1, 1, 1, 1)
    assert np.abs(narrow[:3]).reshape(3, -1).max(axis=1).tolist() == [127] * 3
    assert not narrow[3].any()  # its gamma is 0
    error = np.abs(narrow * scale.reshape(-1, 1, 1, 1) - folded)
    assert (error <= scale.reshape(-1, 1, 1, 1) / 2 + 1e-6).all()
    assert values["data_zero"] == 0
    assert 0 < values["norm_zero"] < 255
    assert values["data_zero"].dtype == values["norm_zero"].dtype == np.uint8


def test_zero_is_in_every_range() -> None:
    """Borders are padded with it, though no pixel of these images is so dark."""
    images = np.maximum(_images(), 100)
    result = quantise(_model(), [images], threads=1)
    values = {t.name: numpy_helper.to_array(t) for t in result.graph.initializer}
    assert values["data_zero"] == 0
    assert values["data_scale"] == pytest.approx(images.max() / 255)


def test_the_result_is_near() -> None:
    """Of the images that it was calibrated on: others may reach beyond the ranges."""
    model = _model()
    expected = _run(model, _images())[0]
    found = _run(quantise(model, [_images()], threads=1), _images())[0]
    assert 0 < np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_the_model_given_stays_as_it_is() -> None:
    model = _model()
    before = model.SerializeToString()
    quantise(model, [_images()], threads=1)
    assert model.SerializeToString() == before


def test_a_network_that_ends_in_nothing() -> None:
    """Activations that are 0 throughout have no range."""
    found = _run(quantise(_model(), [np.zeros((1, 3, 8, 8), np.uint8)], 1), _images(1) * 0)
    assert np.isfinite(found[0]).all()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "no images"),
        ([np.zeros((0, 3, 8, 8), np.uint8)], "no images"),
        ([np.full((1, 3, 8, 8), 2e38, np.float32)], "not finite"),
    ],
    ids=["no batch", "an empty batch", "a network that overflows"],
)
def test_nothing_to_calibrate_on(images: list[NDArray[Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantise(_model(), images, threads=1)


def _computed_in(model: onnx.ModelProto) -> set[str]:
    """The number formats that OpenVINO computes the convolutions in."""
    core = openvino.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", options)
    about = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    return {
        info["runtimePrecision"].value for info in about if info["layerType"].value == "Convolution"
    }


def test_a_whole_network(tmp_path: Path) -> None:
    """Every convolution is by integers, and the file is near a quarter of the size."""
    model = convert_heads(lively_network.graph("resnet-18"))
    result = quantise(model, [lively_network.pictures(3)], threads=2)
    convolutions = [node for node in result.graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 20
    assert _computed_in(result) == {"u8"}
    for node in convolutions:
        assert all(name.endswith("_dequantised") for name in node.input[:2])
    assert "BatchNormalization" not in {node.op_type for node in result.graph.node}
    assert result.ByteSize() < 0.3 * model.ByteSize()
    assert [o.name for o in result.graph.output] == [o.name for o in model.graph.output]
    assert result.metadata_props == model.metadata_props
