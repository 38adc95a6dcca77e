"""Every MXNet API loads an artifact with `data` alone and gives the rows of the endpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.continued import earlier_network
from sagemaker_object_detection.model.deploy import deploy_graph
from tests import lively_network
from tests.model.conftest import SERVICES

SIDE = lively_network.SIDE
Load = Callable[[Path, NDArray[Any]], NDArray[Any]]


def _checkpoint(folder: Path) -> tuple[mx.sym.Symbol, dict[str, Any], dict[str, Any]]:
    return mx.model.load_checkpoint(str(folder / "model_algo_1"), 0)  # type: ignore[no-any-return]


def by_module(folder: Path, images: NDArray[Any]) -> NDArray[Any]:
    symbol, args, auxs = _checkpoint(folder)
    module = mx.mod.Module(symbol=symbol, label_names=None)
    module.bind(for_training=False, data_shapes=[("data", images.shape)])
    module.set_params(args, auxs)
    module.forward(mx.io.DataBatch([mx.nd.array(images)]), is_train=False)
    return np.asarray(module.get_outputs()[0].asnumpy())


def by_simple_bind(folder: Path, images: NDArray[Any]) -> NDArray[Any]:
    symbol, args, auxs = _checkpoint(folder)
    executor = symbol.simple_bind(mx.cpu(), data=images.shape, grad_req="null")
    executor.copy_params_from(args, auxs)
    return np.asarray(executor.forward(is_train=False, data=mx.nd.array(images))[0].asnumpy())


def by_plain_bind(folder: Path, images: NDArray[Any]) -> NDArray[Any]:
    symbol, args, auxs = _checkpoint(folder)
    arrays = {**args, "data": mx.nd.array(images)}
    executor = symbol.bind(mx.cpu(), arrays, aux_states=auxs, grad_req="null")
    return np.asarray(executor.forward(is_train=False)[0].asnumpy())


def by_symbol_block(folder: Path, images: NDArray[Any]) -> NDArray[Any]:
    symbol, params = (str(folder / name) for name in (artifact.SYMBOL_FILE, artifact.PARAMS_FILE))
    block = mx.gluon.SymbolBlock.imports(symbol, ["data"], params, ctx=mx.cpu())
    return np.asarray(block(mx.nd.array(images)).asnumpy())


def by_fused_symbol_block(folder: Path, images: NDArray[Any]) -> NDArray[Any]:
    symbol, params = (str(folder / name) for name in (artifact.SYMBOL_FILE, artifact.PARAMS_FILE))
    block = mx.gluon.SymbolBlock.imports(symbol, ["data"], params, ctx=mx.cpu())
    block.optimize_for(mx.nd.array(images), backend="MKLDNN")
    return np.asarray(block(mx.nd.array(images)).asnumpy())


@pytest.fixture(scope="module", params=["resnet-50", "vgg-16", "fine-tuned from the service's"])
def saved(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    service_folder: Callable[[str], Path],
) -> tuple[Path, NDArray[Any], NDArray[Any]]:
    """The folder of an artifact, two images, and the rows that an endpoint decodes for them."""
    if request.param in ("resnet-50", "vgg-16"):
        network = lively_network.build(request.param)
    else:
        service = SERVICES["resnet-50"]
        network, _ = earlier_network(
            service_folder("resnet-50"),
            service.base_network,
            service.num_classes,
            SIDE,
            "float32",
            mx.cpu(),
        )
    folder = tmp_path_factory.mktemp("artifact")
    deploy_graph(network, 0.45, 400).save(folder)
    images = lively_network.pictures(2).astype(np.float32)
    symbol, args, auxs = _checkpoint(folder)
    engine = MXNetEngine(symbol, args, auxs, SIDE, mx.cpu(), batch_sizes=[len(images)])
    return folder, images, engine.detect(images)


# SymbolBlock asks for the type of `data`, and takes float32 without an answer.
@pytest.mark.filterwarnings("ignore:Cannot decide type:UserWarning")
@pytest.mark.parametrize(
    ("load", "tolerance"),
    [
        pytest.param(by_module, 1e-5, id="Module"),
        pytest.param(by_simple_bind, 1e-5, id="simple_bind"),
        pytest.param(by_plain_bind, 1e-5, id="bind"),
        pytest.param(by_fused_symbol_block, 1e-5, id="SymbolBlock, optimized as the endpoint's"),
        # It fuses no layers, so that float32 rounds elsewhere: by up to 2.1e-5 in these random
        # networks, whose activations grow, and by 6e-7 in a trained one (docs/benchmarks.md).
        pytest.param(by_symbol_block, 5e-5, id="SymbolBlock"),
    ],
)
def test_the_rows_are_those_of_the_endpoint(
    saved: tuple[Path, NDArray[Any], NDArray[Any]], load: Load, tolerance: float
) -> None:
    folder, images, expected = saved
    assert (expected[..., 0] >= 0).any()
    for batch in (images, images[:1]):
        rows = load(folder, batch)
        np.testing.assert_allclose(rows, expected[: len(batch)], rtol=0, atol=tolerance)
        print("largest difference:", np.abs(rows - expected[: len(batch)]).max())  # pytest -s


def test_it_binds_for_training_too(saved: tuple[Path, NDArray[Any], NDArray[Any]]) -> None:
    """A user of Module trains on from it; only the shape of `data` is known then."""
    symbol, *_ = _checkpoint(saved[0])
    module = mx.mod.Module(symbol=symbol, label_names=None)
    module.bind(for_training=True, data_shapes=[("data", (4, 3, SIDE, SIDE))])
    assert module.output_shapes[0][1][0] == 4
