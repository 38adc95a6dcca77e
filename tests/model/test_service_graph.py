"""Networks of the service: what is cut out of its graphs answers what they answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest

from sagemaker_object_detection.model.artifact import ArtifactError
from sagemaker_object_detection.model.service_graph import ServiceGraph, read_graph
from tests import service_artifact
from tests.model.conftest import SERVICES
from tests.service_network import Service, graph

PUBLIC = Path(__file__).resolve().parents[3] / "shared" / "data" / "builtin-artifact"
with_public = pytest.mark.skipif(
    not PUBLIC.is_dir(), reason=f"the public artefact is not in {PUBLIC}"
)


def _read(service: Service, tmp_path: Path) -> ServiceGraph:
    path = tmp_path / "model_algo_1-symbol.json"
    graph(service).save(str(path))
    return read_graph(path)


@with_public
def test_the_tests_graph_has_the_shapes_of_a_public_artefact() -> None:
    expected = json.loads((PUBLIC / "param_shapes.json").read_text())
    found = service_artifact.shapes(graph(Service("resnet-50", 2, 512)), 512)
    assert {name: list(shape) for name, shape in found.items()} == expected


@pytest.mark.parametrize(
    ("service", "tensors", "values"),
    [
        pytest.param(Service("resnet-50", 2, 512), 293, 27_531_422, id="resnet-50, 2 classes"),
        pytest.param(Service("vgg-16", 3, 512), 79, 24_451_936, id="vgg-16 at 512, 3 classes"),
    ],
)
def test_the_tests_graph_is_as_large_as_public_artefacts(
    service: Service, tensors: int, values: int
) -> None:
    shapes = service_artifact.shapes(graph(service), service.image_shape).values()
    assert (len(shapes), sum(int(np.prod(shape)) for shape in shapes)) == (tensors, values)


@with_public
def test_a_public_deploy_graph() -> None:
    found = read_graph(PUBLIC / "deploy_model_algo_1-symbol.json")
    assert found.base_network == "resnet-50"
    assert [found.num_classes(side) for side in (300, 512)] == [2, 2]
    assert [found.lay_anchors(side).shape[1] for side in (300, 512)] == [2268, 6132]
    biases = [name for name in found.heads.list_arguments() if name.endswith("_bias")]
    assert found.multipliers() == {name: {"lr_mult": 2.0} for name in biases}


@pytest.mark.parametrize("name", SERVICES)
def test_heads_and_anchors_are_what_the_detection_is_made_of(
    name: str, service_folder: Callable[[str], Path]
) -> None:
    service, folder = SERVICES[name], service_folder(name)
    found = read_graph(next(folder.glob("*-symbol.json")))
    assert found.base_network == service.base_network
    assert found.num_classes(service.image_shape) == service.num_classes
    assert found.heads.list_outputs() == ["class_scores_output", "box_offsets_output"]
    original = graph(service)
    arrays = service_artifact.values(service, original)
    picture = service_artifact.picture(service.image_shape, seed=1)
    internals = original.get_internals()
    names = ("multibox_cls_pred", "multibox_loc_pred", "multibox_anchors")
    scores, offsets, anchors = service_artifact.run(
        mx.sym.Group([internals[f"{layer}_output"] for layer in names]), arrays, picture
    )
    ours = service_artifact.run(mx.sym.Group([*found.heads, found.anchors]), arrays, picture)
    np.testing.assert_array_equal(ours[0], scores.transpose(0, 2, 1))
    np.testing.assert_array_equal(ours[1], offsets.reshape(1, -1, 4))
    np.testing.assert_array_equal(ours[2], anchors)
    laid = found.lay_anchors(service.image_shape)
    assert laid.dtype == np.float32
    np.testing.assert_array_equal(laid, anchors)
    assert set(found.heads.list_arguments()) == {"data"} | {
        key.removeprefix("arg:") for key in arrays if key.startswith("arg:")
    }


@pytest.mark.parametrize(
    ("service", "side", "outcome"),
    [
        pytest.param(Service("resnet-50", 1, 512), 300, 2268, id="evenly spread at every side"),
        pytest.param(Service("vgg-16", 1, 300), 300, 8732, id="as it was trained"),
        pytest.param(Service("vgg-16", 1, 512), 512, 24576, id="as it was trained, large"),
        pytest.param(Service("vgg-16", 1, 512), 300, "image_shape of 512", id="covers too little"),
        pytest.param(Service("vgg-16", 1, 300), 512, "image_shape of 300", id="would overhang"),
        pytest.param(Service("vgg-16", 1, 300), 304, "image_shape of 300", id="a little off"),
        pytest.param(Service("vgg-16", 1, 400), 304, 8732, id="evenly spread at other sides"),
    ],
)
def test_anchors_at_another_image_shape(
    service: Service, side: int, outcome: int | str, tmp_path: Path
) -> None:
    found = _read(service, tmp_path)
    if isinstance(outcome, int):
        anchors = found.lay_anchors(side)
        assert anchors.shape == (1, outcome, 4)
        centres = (anchors[0, :, :2] + anchors[0, :, 2:]) / 2
        assert 0.9 < centres.max() < 1.02 or outcome == 24576
    else:
        with pytest.raises(ArtifactError, match=outcome):
            found.lay_anchors(side)


def test_multipliers_are_the_services(tmp_path: Path) -> None:
    found = _read(Service("vgg-16", 1, 300, width=1 / 16), tmp_path).multipliers()
    assert found.pop("relu4_3_scale") == {"wd_mult": 0.1}
    assert set(found) == {
        *(f"multi_feat_{k}_conv_{size}_conv_bias" for k in (2, 3, 4, 5) for size in ("1x1", "3x3")),
        *(
            f"{layer}_{kind}_pred_conv_bias"
            for layer in (
                "relu4_3",
                "relu7",
                *(f"multi_feat_{k}_conv_3x3_relu" for k in range(2, 6)),
            )
            for kind in ("cls", "loc")
        ),
    }
    assert all(multipliers == {"lr_mult": 2.0} for multipliers in found.values())
