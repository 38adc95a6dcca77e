"""Networks of earlier models: they answer as before, and go on training."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon
from numpy.typing import NDArray

from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ModelConfig
from sagemaker_object_detection.model.continued import earlier_network
from sagemaker_object_detection.model.deploy import DeployGraph, deploy_graph
from sagemaker_object_detection.model.loss import MultiBoxLoss, Targets
from sagemaker_object_detection.model.names import frozen_names
from sagemaker_object_detection.model.network import Network, build_network, initialize
from sagemaker_object_detection.model.specs import get_spec
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.processor import BFLOAT16_FLAGS, cpu_flags
from tests import service_artifact
from tests.model.conftest import SERVICES
from tests.service_network import graph

NMS = (0.45, 400)  # what the service's graphs hold

bfloat16 = pytest.param(
    "bfloat16",
    marks=pytest.mark.skipif(not cpu_flags() & BFLOAT16_FLAGS, reason="this CPU has no bfloat16"),
)


def _continued(folder: Path, name: str, precision: str = "float32") -> Network:
    service = SERVICES[name]
    network, _ = earlier_network(
        folder,
        service.base_network,
        service.num_classes,
        service.image_shape,
        precision,
        mx.cpu(),
    )
    return network


def _detect(deployed: DeployGraph, picture: NDArray[Any]) -> NDArray[Any]:
    engine = MXNetEngine(
        deployed.symbol, deployed.args, deployed.auxs, deployed.image_shape, mx.cpu()
    )
    return engine.detect(picture)


def _same_detections(ours: NDArray[Any], theirs: NDArray[Any]) -> bool:
    """Whether the rows that were not suppressed are equal to 1e-5, in any order of equal scores."""
    first, second = ours[0][ours[0, :, 0] >= 0], theirs[0][theirs[0, :, 0] >= 0]
    np.testing.assert_allclose(first[:, 1], second[:, 1], atol=1e-5)
    distance = np.abs(first[:, None] - second[None]).max(axis=2)
    return bool((distance.min(axis=0) <= 1e-5).all() and (distance.min(axis=1) <= 1e-5).all())


@pytest.mark.parametrize("name", SERVICES)
def test_it_detects_what_the_services_graph_detects(
    name: str, service_folder: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    """The training graph's det_out, which needs a label, and the deploy graph's only output."""
    caplog.set_level(logging.INFO)
    service = SERVICES[name]
    original = graph(service)
    picture = service_artifact.picture(service.image_shape, seed=3)
    theirs = service_artifact.run(original, service_artifact.values(service, original), picture)
    network = _continued(service_folder(name), name)
    assert caplog.messages[-1] == "done loading checkpoint"
    assert (network.base_network, network.num_classes, network.image_shape) == (
        service.base_network,
        service.num_classes,
        service.image_shape,
    )
    ours = _detect(deploy_graph(network, *NMS), picture)
    assert ours.shape == theirs[-1].shape
    assert (ours[0, :, 0] >= 0).sum() > 50
    assert _same_detections(ours, theirs[-1])


@pytest.mark.parametrize("name", ["resnet-50", "vgg-16 at 300"])
def test_it_lies_ready_to_train(name: str, service_folder: Callable[[str], Path]) -> None:
    network = _continued(service_folder(name), name)
    auxiliary = set(network.heads.list_auxiliary_states())
    for key, parameter in network.parameters.items():
        assert parameter.grad_req == ("null" if key in auxiliary else "write"), key
        assert parameter.data(mx.cpu()).dtype == np.float32
    assert len(auxiliary) == (100 if name == "resnet-50" else 0)
    bias = network.parameters["multi_feat_2_conv_1x1_conv_bias"]
    assert (bias.lr_mult, bias.wd_mult) == (2.0, 1.0)
    assert network.parameters["multi_feat_2_conv_1x1_conv_weight"].lr_mult == 1.0


def _step(network: Network, learning_rate: float = 1e-4) -> list[float]:
    """Losses of two steps on one picture with one box."""
    picture = mx.nd.array(service_artifact.picture(network.image_shape))
    labels = mx.nd.array([[[1, 0.1, 0.1, 0.6, 0.5], [-1] * 5]])
    anchors = mx.nd.array(network.anchors)
    network.block.hybridize(static_alloc=True, static_shape=True)
    loss = MultiBoxLoss()
    learning = {name: p for name, p in network.parameters.items() if p.grad_req != "null"}
    trainer = gluon.Trainer(
        learning, "sgd", {"learning_rate": learning_rate, "wd": 5e-4}, kvstore=None
    )
    losses = []
    for _ in range(2):
        with autograd.record():
            total = sum(loss(*network.block(picture), *Targets()(anchors, labels)))
        total.backward()
        trainer.step(1)
        losses.append(float(total.asscalar()))
    return losses


@pytest.mark.parametrize("precision", ["float32", bfloat16])
@pytest.mark.parametrize("name", ["resnet-50", "vgg-16 at 300"])
def test_a_step_of_training(
    name: str, precision: str, service_folder: Callable[[str], Path]
) -> None:
    network = _continued(service_folder(name), name, precision)
    before = {key: p.data().asnumpy() for key, p in network.parameters.items()}
    deployed = deploy_graph(network, *NMS)
    losses = _step(network)
    assert losses[1] < losses[0]
    after = {key: p.data().asnumpy() for key, p in network.parameters.items()}
    same = {key for key in before if np.array_equal(before[key], after[key])}
    # MXNet holds a fixed gamma at 1.
    assert same <= {"bn_data_gamma"}
    assert all(np.isfinite(value).all() for value in after.values())
    assert deployed.args["fc6_weight" if "vgg" in name else "conv0_weight"].dtype == np.float32
    np.testing.assert_array_equal(
        next(iter(deployed.args.values())).asnumpy(), after[next(iter(deployed.args))]
    )


@pytest.mark.parametrize(
    ("name", "pattern", "frozen"),
    [
        pytest.param("vgg-16 at 300", "^(conv1_|conv2_).*", 8, id="the documentation's"),
        # 1 convolution and a norm of two; 3 units of 3 convolutions and norms, and a shortcut
        pytest.param("resnet-50", "^(conv0|bn0|stage1_).*", 3 + 3 * 9 + 1, id="of a ResNet"),
    ],
)
def test_the_services_patterns_freeze_its_layers(
    name: str, pattern: str, frozen: int, service_folder: Callable[[str], Path]
) -> None:
    network = _continued(service_folder(name), name)
    names = [key for key, p in network.parameters.items() if p.grad_req != "null"]
    found = frozen_names(pattern, names, network.base_network)
    assert len(found) == frozen
    assert all(key.startswith(("conv0", "bn0", "stage1_", "conv1_", "conv2_")) for key in found)


@pytest.mark.parametrize("name", ["resnet-50", "vgg-16 at 512 deploy"])
def test_a_job_after_the_next_goes_on_with_the_same_network(
    name: str, service_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    """Our artefact of a network of the service stays one, through any number of jobs."""
    service = SERVICES[name]
    network = _continued(service_folder(name), name)
    _step(network)
    picture = service_artifact.picture(service.image_shape, seed=2)
    expected = _detect(deploy_graph(network, *NMS), picture)
    names = tuple("abc"[: service.num_classes])
    inputs = set()
    for job in ("second", "third"):
        folder = tmp_path / job
        folder.mkdir()
        deploy_graph(network, *NMS).save(folder)
        config = ModelConfig(names, service.image_shape, service.base_network)
        artifact.write_config(folder, config)
        np.testing.assert_array_equal(
            MXNetEngine.from_folder(folder, mx.cpu()).detect(picture), expected
        )
        network, earlier = earlier_network(
            folder,
            service.base_network,
            service.num_classes,
            service.image_shape,
            "float32",
            mx.cpu(),
        )
        assert (earlier.kind, earlier.class_names) == ("service", names)
        np.testing.assert_array_equal(_detect(deploy_graph(network, *NMS), picture), expected)
        symbol = mx.sym.load(str(folder / artifact.SYMBOL_FILE))
        inputs.add(len(symbol.get_internals().list_outputs()))
        biases = network.parameters["multi_feat_2_conv_1x1_conv_bias"]
        assert biases.lr_mult == 2.0
    assert len(inputs) == 1  # the graph does not grow


def test_another_image_shape(service_folder: Callable[[str], Path]) -> None:
    """Evenly spread anchors go with any; a graph with steps of its own says which it needs."""
    network, _ = earlier_network(
        service_folder("resnet-50"), "resnet-50", 2, 350, "float32", mx.cpu()
    )
    rows = _detect(deploy_graph(network, *NMS), service_artifact.picture(350))
    assert rows.shape == (1, network.anchors.shape[1], 6)
    with pytest.raises(ClientError, match="set image_shape to 300"):
        earlier_network(service_folder("vgg-16 at 300"), "vgg-16", 3, 350, "float32", mx.cpu())


@pytest.mark.parametrize(
    ("base_network", "num_classes"),
    [
        pytest.param("resnet-50", 3, id="other network"),
        pytest.param("vgg-16", 20, id="other classes"),
        pytest.param("resnet-18", 7, id="both"),
    ],
)
def test_a_disagreement_names_both_values_of_each(
    base_network: str, num_classes: int, service_folder: Callable[[str], Path]
) -> None:
    with pytest.raises(ClientError) as caught:
        earlier_network(
            service_folder("vgg-16 at 300"), base_network, num_classes, 300, "float32", mx.cpu()
        )
    assert len(caught.value.faults) == 1
    assert "has base_network vgg-16 and num_classes 3" in str(caught.value)
    assert f"say base_network {base_network} and num_classes {num_classes}." in str(caught.value)


def _without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda arrays: arrays.pop(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            _without("arg:fc6_bias"),
            r"parameter fc6_bias of shape \(64,\) is missing",
            id="missing",
        ),
        pytest.param(
            lambda a: a.update({"arg:fc6_bias": mx.nd.zeros((65,))}),
            r"parameter fc6_bias has shape \(65,\), the network wants \(64,\)",
            id="shape",
        ),
        pytest.param(
            lambda a: a.update({"arg:fc8_bias": mx.nd.zeros((1, 2))}),
            r"the network has no parameter fc8_bias of shape \(1, 2\)",
            id="one more",
        ),
        pytest.param(
            lambda a: [a.pop(key) for key in list(a) if "multi_feat" in key],
            r"; .*; .* and 27 more\. Give the files of one job",
            id="many are counted",
        ),
    ],
)
def test_values_that_do_not_fit(
    change: Callable[[dict[str, Any]], object],
    message: str,
    service_folder: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(service_folder("vgg-16 at 300"), tmp_path / "model"))
    arrays = mx.nd.load(str(folder / artifact.PARAMS_FILE))
    change(arrays)
    mx.nd.save(str(folder / artifact.PARAMS_FILE), arrays)
    with pytest.raises(ClientError, match=message):
        earlier_network(folder, "vgg-16", 3, 300, "float32", mx.cpu())


def test_a_damaged_file_is_told_as_the_channels(
    service_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(service_folder("vgg-16 at 300"), tmp_path / "model"))
    (folder / artifact.PARAMS_FILE).write_bytes(b"no arrays")
    with pytest.raises(ClientError, match=r"^The model in the channel 'model': .*params is not"):
        earlier_network(folder, "vgg-16", 3, 300, "float32", mx.cpu())


def _save_ours(folder: Path, network: Network) -> None:
    folder.mkdir()
    deploy_graph(network, *NMS).save(folder)
    names = tuple(f"class {i}" for i in range(network.num_classes))
    artifact.write_config(folder, ModelConfig(names, network.image_shape, network.base_network))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Network]:
    network = build_network(get_spec("mobilenet1.0", 300), 3)
    initialize(network, [mx.cpu()], 0)
    _step(network)
    folder = tmp_path_factory.mktemp("ours") / "model"
    _save_ours(folder, network)
    return folder, network


def test_ours_goes_on_as_it_was(ours: tuple[Path, Network]) -> None:
    folder, network = ours
    again, earlier = earlier_network(folder, "mobilenet1.0", 3, 300, "float32", mx.cpu())
    assert earlier.kind == "ours"
    assert earlier.class_names == ("class 0", "class 1", "class 2")
    for name, parameter in network.parameters.items():
        other = again.parameters[name]
        assert other.grad_req == parameter.grad_req
        np.testing.assert_array_equal(other.data().asnumpy(), parameter.data().asnumpy())
    losses = _step(again)
    assert np.isfinite(losses).all()


def test_ours_at_another_image_shape(ours: tuple[Path, Network]) -> None:
    network, _ = earlier_network(ours[0], "mobilenet1.0", 3, 330, "float32", mx.cpu())
    np.testing.assert_array_equal(network.anchors, _anchors("mobilenet1.0", 330))


def _anchors(base_network: str, side: int) -> NDArray[Any]:
    return build_network(get_spec(base_network, side), 1).anchors


def test_ours_with_other_anchors(ours: tuple[Path, Network], tmp_path: Path) -> None:
    """Laid out by a version with another table: offsets would mean other boxes."""
    folder = Path(shutil.copytree(ours[0], tmp_path / "model"))
    path = str(folder / artifact.PARAMS_FILE)
    arrays = mx.nd.load(path)
    mx.nd.save(path, arrays | {"arg:anchors": arrays["arg:anchors"] * 1.01})
    with pytest.raises(ClientError, match="2268 anchors that are not the 2268 of this version's"):
        earlier_network(folder, "mobilenet1.0", 3, 300, "float32", mx.cpu())


def test_vgg_has_other_layers_at_another_image_shape(tmp_path: Path) -> None:
    network = build_network(get_spec("vgg-16", 300), 1)
    for parameter in network.parameters.values():
        parameter.initialize(init=mx.init.Zero())
    _save_ours(tmp_path / "model", network)
    with pytest.raises(ClientError) as caught:
        earlier_network(tmp_path / "model", "vgg-16", 1, 512, "float32", mx.cpu())
    text = str(caught.value)
    assert "parameter ssd_vggatrousextractor0_extra4_conv0_weight of shape (128, 256, 1, 1)" in text
    assert text.endswith(
        "It was trained at image_shape 300, where vgg-16 has 6 feature maps; at 512 it has 7. Set "
        "image_shape to 300, or train without the channel."
    )
