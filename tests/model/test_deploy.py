"""The deploy graph: what its rows are, and that any MXNet program gets the same from the files."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import mxnet as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from sagemaker_object_detection.boxes import iou
from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
from sagemaker_object_detection.model import artifact, deploy
from sagemaker_object_detection.model.deploy import DeployGraph, deploy_graph
from sagemaker_object_detection.model.detection import DetectionRule
from sagemaker_object_detection.model.network import Network, build_network, initialize
from sagemaker_object_detection.model.onnx_heads import detection_rule
from sagemaker_object_detection.model.specs import get_spec
from tests import lively_network

SIDE = lively_network.SIDE

WITH_MXNET_ALONE = """
import sys
import mxnet as mx
import numpy as np

folder, images, rows = sys.argv[1:]
data = mx.nd.array(np.load(images))
symbol, args, auxs = mx.model.load_checkpoint(folder + "/model_algo_1", 0)
executor = symbol.bind(mx.cpu(), {**args, "data": data}, aux_states=auxs, grad_req="null")
np.save(rows, executor.forward(is_train=False)[0].asnumpy())
assert symbol.list_outputs() == ["detection_output"]
assert not {"gluoncv", "sagemaker_object_detection"} & set(sys.modules)
"""


class Model(NamedTuple):
    network: Network
    images: NDArray[Any]
    heads: tuple[NDArray[Any], NDArray[Any]]


@pytest.fixture(scope="module")
def model() -> Model:
    """A network with heads of random weights that see something in two random images."""
    network = lively_network.build("mobilenet1.0")
    images = lively_network.pictures(2).astype(np.float32)
    scores, offsets = (head.asnumpy() for head in network.block(mx.nd.array(images)))
    return Model(network, images, (scores, offsets))


def _detect(graph: DeployGraph, images: NDArray[Any]) -> NDArray[Any]:
    engine = MXNetEngine(
        graph.symbol, graph.args, graph.auxs, SIDE, mx.cpu(), batch_sizes=[len(images)]
    )
    return engine.detect(images)


def _expected(model: Model, image: int, nms_threshold: float, nms_topk: int) -> NDArray[Any]:
    """Rows that survive, by numpy: best class of each anchor, then suppression class by class."""
    scores, offsets = (head[image].astype(np.float64) for head in model.heads)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    class_ids = shares[:, 1:].argmax(axis=1)
    best = shares[:, 1:].max(axis=1)
    anchors = model.network.anchors[0].astype(np.float64)
    size = anchors[:, 2:] - anchors[:, :2]
    centre = (anchors[:, 2:] + anchors[:, :2]) / 2 + offsets[:, :2] * 0.1 * size
    half = size * np.exp(offsets[:, 2:] * 0.2) / 2
    boxes = np.clip(np.hstack([centre - half, centre + half]), 0, 1)
    order = np.flatnonzero(best > 0.01)
    order = order[np.argsort(-best[order], kind="stable")][:nms_topk]
    kept: list[int] = []
    for candidate in order:
        rivals = [k for k in kept if class_ids[k] == class_ids[candidate]]
        if not rivals or iou(boxes[[candidate]], boxes[rivals]).max() <= nms_threshold:
            kept.append(candidate)
    return np.hstack([class_ids[kept, None], best[kept, None], boxes[kept]])


@pytest.mark.parametrize(
    ("nms_threshold", "nms_topk"),
    [
        pytest.param(0.45, 400, id="the defaults"),
        pytest.param(0.1, 400, id="hardly any overlap"),
        pytest.param(1.0, 400, id="nothing is suppressed"),
        pytest.param(0.45, 5, id="few candidates"),
        pytest.param(0.45, 1, id="one"),
        pytest.param(0.45, 100_000, id="more than there are anchors"),
    ],
)
def test_rows(model: Model, nms_threshold: float, nms_topk: int) -> None:
    rows = _detect(deploy_graph(model.network, nms_threshold, nms_topk), model.images)
    assert rows.shape == (2, get_spec("mobilenet1.0", SIDE).num_anchors, 6)
    for image in range(2):
        found = rows[image][rows[image, :, 0] >= 0]
        expected = _expected(model, image, nms_threshold, nms_topk)
        assert 0 < len(found) <= nms_topk
        assert len(found) == len(expected)
        assert (np.diff(found[:, 1]) <= 0).all()  # the best first
        distance = np.abs(found[:, None] - expected[None]).max(axis=2)
        assert distance.min(axis=0).max() < 1e-4
        assert distance.min(axis=1).max() < 1e-4


def test_the_interface(model: Model) -> None:
    graph = deploy_graph(model.network, 0.45, 400)
    symbol = graph.symbol
    assert symbol.list_outputs() == ["detection_output"]
    assert set(symbol.list_arguments()) == set(graph.args) | {"data"}
    assert set(symbol.list_auxiliary_states()) == set(graph.auxs)
    assert graph.args["anchors"].shape == (1, 2268, 4)
    assert graph.image_shape == SIDE
    assert detection_rule(symbol) == DetectionRule(0.01, 0.45, 400)
    assert graph.num_classes() == lively_network.CLASSES
    heads = DeployGraph(model.network.heads, graph.args, graph.auxs, SIDE)
    assert heads.num_classes() is None


def test_a_fresh_process_with_mxnet_alone_gets_the_same(model: Model, tmp_path: Path) -> None:
    graph = deploy_graph(model.network, 0.45, 400)
    expected = _detect(graph, model.images)
    folder = tmp_path / "model"
    folder.mkdir()
    assert graph.save(folder) == folder / "model_algo_1-0000.params"
    images, rows = tmp_path / "images.npy", tmp_path / "rows.npy"
    np.save(images, model.images)
    command = [sys.executable, "-W", "ignore", "-c", WITH_MXNET_ALONE]
    subprocess.run([*command, str(folder), str(images), str(rows)], check=True, cwd=tmp_path)
    np.testing.assert_allclose(np.load(rows), expected, atol=1e-5)


def test_the_files(model: Model, tmp_path: Path) -> None:
    graph = deploy_graph(model.network, 0.45, 400)
    graph.save(tmp_path)
    graph.save(tmp_path)  # the next epoch's, over the first
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [artifact.PARAMS_FILE, artifact.SYMBOL_FILE]
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o644}
    saved = mx.nd.load(str(tmp_path / artifact.PARAMS_FILE))
    assert {key.partition(":")[0] for key in saved} == {"arg", "aux"}
    assert {array.dtype for array in saved.values()} == {np.float32}
    assert len(saved) == len(graph.args) + len(graph.auxs)
    assert "__init__" in graph.symbol.tojson()  # addresses in memory, other ones in each run
    assert "__init__" not in (tmp_path / artifact.SYMBOL_FILE).read_text()


def test_the_graph_follows_the_training(tmp_path: Path) -> None:
    """The arrays are the network's own: what is saved is what the network has become."""
    network = build_network(get_spec("mobilenet1.0", SIDE), 3)
    initialize(network, [mx.cpu()], 0)
    graph = deploy_graph(network, 0.45, 400)
    for name in ("ssd_expand_conv0_weight", "ssd_expand_bn0_moving_var"):
        parameter = network.parameters[name]
        parameter.set_data(mx.nd.full(parameter.shape, 7.0))
    graph.save(tmp_path)
    saved = mx.nd.load(str(tmp_path / artifact.PARAMS_FILE))
    assert (saved["arg:ssd_expand_conv0_weight"].asnumpy() == 7).all()
    assert (saved["aux:ssd_expand_bn0_moving_var"].asnumpy() == 7).all()


def test_lower_precision_is_left_behind() -> None:
    """A network that trains in bfloat16 is deployed in float32."""
    network = build_network(get_spec("mobilenet1.0", SIDE), 3, "bfloat16")
    initialize(network, [mx.cpu()], 0)
    assert "amp_cast" not in deploy_graph(network, 0.45, 400).symbol.tojson()


def _fail(path: str, arrays: object) -> None:
    Path(path).write_bytes(b"half")
    raise mx.MXNetError("Check failed: fwrite")


def _stop_short(path: str, arrays: object) -> None:
    Path(path).write_bytes(b"half")


@pytest.mark.parametrize(
    ("save", "free", "expected"),
    [
        pytest.param(_fail, 0, OSError, id="the disk is full: MXNet's error does not say so"),
        pytest.param(_fail, 2**40, mx.MXNetError, id="there was room: MXNet's own error"),
        pytest.param(_stop_short, 0, OSError, id="MXNet says nothing at all"),
    ],
)
def test_a_disk_that_is_full(
    model: Model,
    save: Any,
    free: int,
    expected: type[Exception],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The model that is there stays whole, and nothing is left beside it."""
    graph = deploy_graph(model.network, 0.45, 400)
    path = graph.save(tmp_path)
    before = path.read_bytes()
    usage = shutil._ntuple_diskusage(free, 0, free)  # type: ignore[attr-defined]
    monkeypatch.setattr(deploy.mx.nd, "save", save)
    monkeypatch.setattr(deploy.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(expected) as caught:
        graph.save(tmp_path)
    if isinstance(caught.value, OSError):
        assert caught.value.errno == errno.ENOSPC
        assert os.fspath(tmp_path) in str(caught.value)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_is_not_there(model: Model, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        deploy_graph(model.network, 0.45, 400).save(tmp_path / "nowhere")
