"""Deploy graphs of folders, ours and the service's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest

from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ArtifactError
from sagemaker_object_detection.model.deployed import read_deploy_graph, read_deployed
from sagemaker_object_detection.model.onnx_heads import detection_rule
from tests import service_artifact, tiny_model
from tests.model.conftest import SERVICES
from tests.rows import require_same_detections
from tests.service_network import Service


def test_ours(tmp_path: Path) -> None:
    found = read_deploy_graph(tiny_model.write(tmp_path))
    symbol, args = tiny_model.graph()
    assert found.image_shape == tiny_model.SIDE
    assert found.symbol.list_arguments() == symbol.list_arguments()
    np.testing.assert_array_equal(found.args["anchors"].asnumpy(), args["anchors"].asnumpy())


@pytest.mark.parametrize("name", [name for name in SERVICES if SERVICES[name].deploy])
def test_the_services_own_deploy_graph_says_the_same(
    service_folder: Callable[[str], Path], name: str
) -> None:
    folder = service_folder(name)
    found = read_deploy_graph(folder)
    assert found.image_shape == SERVICES[name].image_shape
    (symbol,) = folder.glob("*-symbol.json")
    (params,) = folder.glob("*.params")
    arrays = {key: value.asnumpy() for key, value in mx.nd.load(str(params)).items()}
    picture = service_artifact.picture(found.image_shape)
    expected = service_artifact.run(mx.sym.load(str(symbol)), arrays, picture)[0]
    engine = MXNetEngine(found.symbol, found.args, found.auxs, found.image_shape, mx.cpu())
    require_same_detections(engine.detect(picture), expected, 1e-4)


def test_suppression_is_as_the_job_of_the_service_was_told(tmp_path: Path) -> None:
    told = {"nms_threshold": "0.3", "nms_topk": "77"}
    service = Service("vgg-16", 2, 300, width=1 / 16, hyperparameters=told)
    graph, config = read_deployed(service_artifact.write(tmp_path, service))
    rule = detection_rule(graph.symbol)
    assert (rule.nms_threshold, rule.nms_topk) == (0.3, 77)
    assert config.nms_threshold == 0.3


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        pytest.param({"image_shape": ""}, "does not say for which image_shape", id="no side"),
        pytest.param({"nms_topk": "many"}, "positive integer, got 0.45 and many", id="a word"),
        pytest.param({"nms_topk": "inf"}, "positive integer, got 0.45 and inf", id="infinite"),
        pytest.param({"nms_topk": "0"}, "positive integer, got 0.45 and 0", id="none at all"),
        pytest.param({"nms_threshold": "nan"}, "above 0 and at most 1", id="suppresses nothing"),
        pytest.param({"nms_threshold": "45"}, "above 0 and at most 1", id="a percentage"),
        pytest.param({"num_classes": "5"}, r"hyperparams\.json says", id="of another job"),
    ],
)
def test_hyperparameters_of_the_service_that_do_not_tell(
    tmp_path: Path, hyperparameters: dict[str, str], message: str
) -> None:
    service = Service("vgg-16", 2, 300, width=1 / 16, hyperparameters=hyperparameters)
    with pytest.raises(ArtifactError, match=message):
        read_deploy_graph(service_artifact.write(tmp_path, service))


def test_a_parameter_is_missing(tmp_path: Path) -> None:
    path = tiny_model.write(tmp_path) / artifact.PARAMS_FILE
    params = mx.nd.load(str(path))
    del params["arg:class_bias"]
    mx.nd.save(str(path), params)
    with pytest.raises(ArtifactError, match="lacks class_bias"):
        read_deploy_graph(tmp_path)


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        pytest.param(None, r"fc6_bias is missing, the network wants \(64,\)", id="missing"),
        pytest.param((65,), r"has shape \(65,\), the network wants \(64,\)", id="misshapen"),
    ],
)
def test_a_parameter_of_the_service(
    service_folder: Callable[[str], Path],
    tmp_path: Path,
    bias: tuple[int, ...] | None,
    message: str,
) -> None:
    folder = Path(shutil.copytree(service_folder("vgg-16 at 300"), tmp_path / "model"))
    path = folder / artifact.PARAMS_FILE
    arrays = mx.nd.load(str(path))
    del arrays["arg:fc6_bias"]
    if bias is not None:
        arrays["arg:fc6_bias"] = mx.nd.zeros(bias)
    mx.nd.save(str(path), arrays)
    with pytest.raises(ArtifactError, match=message):
        read_deploy_graph(folder)


def test_a_class_without_a_name(tmp_path: Path) -> None:
    """Else it would be noticed when the first picture shows one."""
    folder = tiny_model.write(tmp_path)
    config = artifact.read_config(folder)
    artifact.write_config(folder, replace(config, class_names=("red", "blue", "not there")))
    read_deploy_graph(folder)
    artifact.write_config(folder, replace(config, class_names=("red",)))
    with pytest.raises(ArtifactError, match=r"json tells 2 .* has 1 class_names; name every"):
        read_deploy_graph(folder)


def test_a_folder_that_is_not_there_or_empty(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        read_deploy_graph(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match="holds no pair of files"):
        read_deploy_graph(tmp_path)
