"""ResNet-50 of torchvision and timm in GluonCV's resnet50_v1b: same activations, or a refusal."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import pytest
from gluoncv.model_zoo import get_model

from benchmarks.weights_against_pytorch import STAGES, differences
from sagemaker_object_detection.model.network import build_network
from sagemaker_object_detection.model.specs import get_spec
from sagemaker_object_detection.model.torch_resnet import (
    BASE_NETWORK,
    PARAMETERS,
    import_resnet,
    read_resnet,
)
from sagemaker_object_detection.model.weights import find_weights, load_backbone
from sagemaker_object_detection.platform.errors import ClientError
from tests import torch_resnet

pytestmark = [
    pytest.mark.filterwarnings("ignore:Cannot decide type for the following arguments"),
    pytest.mark.filterwarnings("ignore:.*New initializer .* with name constant_"),
]

State = dict[str, Any]
PYTORCH = "PYTORCH_PYTHON"
SIDE = 75
"""Odd in every stage, so that padding on the wrong side would be seen."""


@pytest.fixture(scope="module")
def state() -> State:
    return torch_resnet.state_dict()


@pytest.fixture(scope="module")
def file(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    return torch_resnet.write(path, state)


def _layers(path: Path, picture: Any) -> State:
    """The outputs of the stages of GluonCV's own network, its weights from a .params file."""
    network = get_model("resnet50_v1b", pretrained=False)
    network.load_parameters(str(path), allow_missing=True)
    x = network.conv1(mx.nd.array(picture[None]))
    x = network.maxpool(network.relu(network.bn1(x)))
    found = {}
    for name in ("layer1", "layer2", "layer3", "layer4"):
        x = getattr(network, name)(x)
        found[name] = x.asnumpy()[0]
    return found


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_the_same_activations(dtype: str, state: State, tmp_path: Path) -> None:
    """To 1e-4, of activations up to ten."""
    stored, exact = state, state
    if dtype == "F16":
        stored = {k: v.astype(np.float16) if v.ndim else v for k, v in state.items()}
        exact = stored
    elif dtype == "BF16":
        stored = {k: torch_resnet.bfloat16(v) if v.ndim else v for k, v in state.items()}
        exact = {
            k: (v.astype(np.uint32) << 16).view(np.float32) if v.ndim else v
            for k, v in stored.items()
        }
    path = torch_resnet.write(tmp_path / "model.safetensors", stored)
    picture = np.random.default_rng(1).normal(0, 1, (3, SIDE, SIDE)).astype(np.float32)
    expected = torch_resnet.activations(exact, picture)
    got = _layers(import_resnet(path, tmp_path), picture)
    assert [got[name].shape for name in got] == [
        (256, 19, 19),
        (512, 10, 10),
        (1024, 5, 5),
        (2048, 3, 3),
    ]
    for name, values in expected.items():
        assert 0.1 < values.std() < 10
        np.testing.assert_allclose(got[name], values, rtol=0, atol=1e-4, err_msg=name)


def test_the_activations_tell_where_the_stride_is(state: State, file: Path, tmp_path: Path) -> None:
    """The comparison above can fail: GluonCV's v1, which strides before the 3x3, differs widely."""
    picture = np.random.default_rng(1).normal(0, 1, (3, SIDE, SIDE)).astype(np.float32)
    network = get_model("resnet50_v1b", pretrained=False)
    network.load_parameters(str(import_resnet(file, tmp_path)), allow_missing=True)
    x = network.maxpool(network.relu(network.bn1(network.conv1(mx.nd.array(picture[None])))))
    for name in ("layer1", "layer2"):
        block = getattr(network, name)[0]
        if name == "layer2":
            block.conv1._kwargs["stride"], block.conv2._kwargs["stride"] = (2, 2), (1, 1)
        x = getattr(network, name)(x)
    expected = torch_resnet.activations(state, picture)["layer2"]
    assert np.abs(x.asnumpy()[0] - expected).max() > 0.5


@pytest.mark.skipif(
    PYTORCH not in os.environ,
    reason=f"{PYTORCH} names no interpreter with PyTorch; the reference above stands alone",
)
def test_against_pytorch() -> None:
    """PyTorch itself, in an environment of its own: GluonCV is not imported beside it."""
    found = differences(os.environ[PYTORCH], SIDE, "float32")
    assert list(found) == list(STAGES)
    assert max(difference for difference, _ in found.values()) < 1e-4


def test_training_starts_from_it(state: State, file: Path, tmp_path: Path) -> None:
    """It is found by its name, and the graph's feature maps are PyTorch's of the picture."""
    path = import_resnet(file, tmp_path)
    network = build_network(get_spec(BASE_NETWORK, 300), 2)
    for parameter in network.parameters.values():
        parameter.initialize(init=mx.init.Constant(0.125))
    network.parameters["pixel_mean"].set_data(mx.nd.full((1, 3, 1, 1), 100.0))
    network.parameters["pixel_scale"].set_data(mx.nd.full((1, 3, 1, 1), 0.02))
    environ = {"OBJECT_DETECTION_WEIGHTS": str(tmp_path)}
    assert find_weights(BASE_NETWORK, "resnet50_v1b", None, environ) == path
    assert load_backbone(network, path) == len(PARAMETERS) == 53 + 4 * 53
    picture = np.random.default_rng(2).uniform(0, 255, (3, SIDE, SIDE)).astype(np.float32)
    expected = torch_resnet.activations(state, (picture - 100) * 0.02)
    arrays = {name: p.data() for name, p in network.parameters.items()}
    internals = network.heads.get_internals()
    for layer, output in (
        ("layer3", "ssd_resnetv1b_layers3_relu17_fwd_output"),
        ("layer4", "ssd_resnetv1b_layers4_relu8_fwd_output"),
    ):
        feature = internals[output]
        executor = feature.bind(
            mx.cpu(),
            {n: arrays.get(n, mx.nd.array(picture[None])) for n in feature.list_arguments()},
            aux_states={name: arrays[name] for name in feature.list_auxiliary_states()},
            grad_req="null",
        )
        got = executor.forward(is_train=False)[0].asnumpy()[0]
        np.testing.assert_allclose(got, expected[layer], rtol=0, atol=1e-4, err_msg=layer)


@pytest.mark.parametrize(
    "left",
    [
        pytest.param(lambda name: not name.startswith("fc."), id="without a classifier, as timm's"),
        pytest.param(lambda name: "num_batches" not in name, id="without counters of batches"),
    ],
)
def test_what_a_file_need_not_hold(
    left: Callable[[str], bool], state: State, file: Path, tmp_path: Path
) -> None:
    fewer = {name: values for name, values in state.items() if left(name)}
    assert len(fewer) < len(state)
    path = torch_resnet.write(tmp_path / "fewer.safetensors", fewer)
    expected = read_resnet(file)
    got = read_resnet(path)
    assert list(got) == list(expected)
    assert all((got[name] == expected[name]).all() for name in got)


def test_a_classifier_of_other_classes(state: State, tmp_path: Path) -> None:
    other = state | {"fc.weight": np.zeros((37, 2048), np.float32)}
    path = torch_resnet.write(tmp_path / "flowers.safetensors", other)
    assert len(read_resnet(path)) == len(PARAMETERS)


def _without(*names: str) -> Callable[[State], State]:
    return lambda state: {name: v for name, v in state.items() if name not in names}


def _with(**given: Any) -> Callable[[State], State]:
    return lambda state: state | {name.replace("__", "."): v for name, v in given.items()}


def _basic_blocks(state: State) -> State:
    return {
        name: v
        for name, v in state.items()
        if ".conv3." not in name and ".bn3." not in name and "layer1.0.downsample" not in name
    }


def _not_a_number(state: State) -> State:
    broken = state["layer2.0.bn1.running_var"].copy()
    broken[3] = np.nan
    return state | {"layer2.0.bn1.running_var": broken}


FEW = np.zeros(2, np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            _without("layer1.0.conv2.weight", "bn1.bias"),
            r"it lacks bn1\.bias, layer1\.0\.conv2\.weight\.",
            id="two are missing",
        ),
        pytest.param(
            _with(layer1__0__se__fc1__weight=FEW),
            r"a ResNet-50 has no layer1\.0\.se\.fc1\.weight\.",
            id="one too many",
        ),
        pytest.param(
            _with(layer1__0__conv1__weight=np.zeros((128, 64, 1, 1), np.float32)),
            r"layer1\.0\.conv1\.weight has shape \(128, 64, 1, 1\), expected \(64, 64, 1, 1\)",
            id="wider, as wide_resnet50_2 and resnext50",
        ),
        pytest.param(
            _with(bn1__weight=np.zeros(64)),
            r"bn1\.weight is of type F64, expected one of F32, F16, BF16",
            id="float64",
        ),
        pytest.param(
            lambda state: {f"encoder.{name}": v for name, v in state.items()},
            r"it lacks conv1\.weight, .*, 259 more; a ResNet-50 has no encoder\.bn1\.bias, ",
            id="other names",
        ),
        pytest.param(lambda _: {}, r"it lacks conv1\.weight", id="no tensors"),
        pytest.param(
            _not_a_number, r"no finite numbers, in layer2\.0\.bn1\.running_var\.", id="not a number"
        ),
        pytest.param(_basic_blocks, "basic blocks, such as resnet18 or resnet34", id="resnet34"),
        pytest.param(
            lambda state: _without("conv1.weight")(state) | {"conv1.0.weight": FEW},
            "a deep stem, such as resnet50d",
            id="resnet50d",
        ),
        pytest.param(
            _with(layer1__0__downsample__2__weight=FEW),
            "whose shortcuts average",
            id="resnet50t: the bare shortcut of resnet50d",
        ),
        pytest.param(_with(layer3__6__conv1__weight=FEW), "deeper ResNet", id="resnet101"),
    ],
)
def test_refused(
    change: Callable[[State], State], message: str, state: State, tmp_path: Path
) -> None:
    path = torch_resnet.write(tmp_path / "other.safetensors", change(state))
    with pytest.raises(ClientError, match=message) as caught:
        import_resnet(path, tmp_path)
    assert str(caught.value).startswith(str(path))
    assert [path.name for path in tmp_path.iterdir()] == ["other.safetensors"]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"<html>", bytes(100)], ids=["empty", "short", "a page", "zeros"]
)
def test_what_is_no_safetensors_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(ClientError, match=r"a\.safetensors is no safetensors file, or is damaged"):
        import_resnet(path, tmp_path)


def test_a_torn_file(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ClientError, match="or is damaged"):
        import_resnet(path, tmp_path)
