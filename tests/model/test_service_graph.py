"""Graphs of the service: what is cut out of them answers what they answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sagemaker_object_detection.model import graph_json
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


def test_initialisers_are_left_out(tmp_path: Path) -> None:
    """Words of another program, which MXNet would look up; the values are in the params file."""
    service = Service("vgg-16", 1, 300, width=1 / 16)
    assert "__init__" in graph(service).tojson()
    found = _read(service, tmp_path)
    assert "__init__" not in found.heads.tojson()
    assert "__shape__" in found.heads.tojson()


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


def _nodes(raw: Any, op: str) -> list[Any]:
    return [node for node in raw["nodes"] if node["op"] == op]


def _no_detection(raw: Any) -> None:
    _nodes(raw, "_contrib_MultiBoxDetection")[0]["op"] = "add_n"


def _other_variances(raw: Any) -> None:
    _nodes(raw, "_contrib_MultiBoxDetection")[0]["attrs"]["variances"] = "(1.0, 1.0, 1.0, 1.0)"


def _other_background(raw: Any) -> None:
    _nodes(raw, "_contrib_MultiBoxDetection")[0]["attrs"]["background_id"] = "1"


def _no_softmax(raw: Any) -> None:
    _nodes(raw, "SoftmaxActivation")[0]["op"] = "_copy"


def _softmax_over_anchors(raw: Any) -> None:
    _nodes(raw, "SoftmaxActivation")[0].update(op="softmax", attrs={"axis": "2"})


def _fixed_anchors(raw: Any) -> None:
    raw["nodes"][-2].update(op="null", inputs=[])


def _uneven_steps(raw: Any) -> None:
    _nodes(raw, "_contrib_MultiBoxPrior")[0]["attrs"]["steps"] = "(0.1, 0.2)"


def _tiny_steps(raw: Any) -> None:
    _nodes(raw, "_contrib_MultiBoxPrior")[0]["attrs"]["steps"] = "(5e-324, 5e-324)"


def _a_huge_map(raw: Any) -> None:
    _nodes(raw, "Convolution")[0]["attrs"]["pad"] = "(9999, 9999)"


def _anchors_of_a_layer(raw: Any) -> None:
    concat = _nodes(raw, "Concat")[-1]
    concat["inputs"][0] = [raw["nodes"].index(_nodes(raw, "Flatten")[0]), 0, 0]


def _words_for_variances(raw: Any) -> None:
    _nodes(raw, "_contrib_MultiBoxDetection")[0]["attrs"]["variances"] = "sys.exit()"


def _other_layers(raw: Any) -> None:
    for node in raw["nodes"]:
        node["name"] = node["name"].replace("conv5_3", "conv6_1")


def _unknown_operator(raw: Any) -> None:
    _nodes(raw, "Pooling")[0].update(op="Custom", attrs={"op_type": "mine"})


def _second_output(raw: Any) -> None:
    _nodes(raw, "Activation")[3]["inputs"][0][1] = 1


def _input_that_is_not_there(raw: Any) -> None:
    _nodes(raw, "Activation")[3]["inputs"][0][0] = len(raw["nodes"])


def _circle(raw: Any) -> None:
    node = raw["nodes"].index(_nodes(raw, "Activation")[3])
    raw["nodes"][node]["inputs"][0][0] = node


def _lacks_an_input(raw: Any) -> None:
    _nodes(raw, "Convolution")[3]["inputs"] = []


def _two_of_one_name(raw: Any) -> None:
    first, second = _nodes(raw, "null")[3:5]
    second["name"] = first["name"]


def _attribute_of_no_kind(raw: Any) -> None:
    _nodes(raw, "Convolution")[3]["attrs"]["kernel"] = "round"


def _attribute_is_a_list(raw: Any) -> None:
    _nodes(raw, "Convolution")[3]["attrs"]["kernel"] = [3, 3]


def _multiplier_is_a_word(raw: Any) -> None:
    next(n for n in raw["nodes"] if n["name"] == "relu7_cls_pred_conv_bias")["attrs"] = {
        "__lr_mult__": "twice"
    }


def _too_few_scores(raw: Any) -> None:
    _nodes(raw, "Reshape")[0]["attrs"]["shape"] = "(0, -1, 2)"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_detection, "has 0 MultiBoxDetection operators"),
        (_other_variances, "expected variances"),
        (_other_background, "background as class 0"),
        (_no_softmax, "where a softmax over the classes is due"),
        (_softmax_over_anchors, "where a softmax over the classes is due"),
        (_fixed_anchors, "lays out no anchors"),
        (_uneven_steps, "expected two that are equal"),
        (_tiny_steps, "expected two that are equal"),
        (_a_huge_map, "do not fit together"),
        (_anchors_of_a_layer, "lays out anchors by .*conv1_1_weight.*expected maps alone"),
        (_words_for_variances, r"with variances sys\.exit\(\)"),
        (_other_layers, "layers of neither of the service's networks"),
        (_unknown_operator, "has Custom pool1, which no network of it has"),
        (_second_output, "which no network of it has"),
        (_input_that_is_not_there, "node 18, Activation relu2_2, has inputs"),
        (_circle, "node 18, Activation relu2_2, has inputs"),
        (_lacks_an_input, "Convolution conv2_2, has inputs"),
        (_two_of_one_name, "two parameters of one name"),
        (_attribute_of_no_kind, "operators that MXNet refuses"),
        (_attribute_is_a_list, "is described by"),
        (_multiplier_is_a_word, "__lr_mult__ twice at relu7_cls_pred_conv_bias"),
        (_too_few_scores, "do not fit together"),
    ],
)
def test_graphs_that_are_refused(
    damage: Callable[[Any], None], message: str, tmp_path: Path
) -> None:
    raw = json.loads(graph(Service("vgg-16", 3, 512, width=1 / 16, deploy=True)).tojson())
    damage(raw)
    path = tmp_path / "model_algo_1-symbol.json"
    path.write_text(json.dumps(raw))
    with pytest.raises(ArtifactError, match=message):
        _use(path, 512)


def _use(path: Path, side: int) -> None:
    found = read_graph(path)
    found.num_classes(side)
    found.lay_anchors(side)
    found.multipliers()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b"7", id="a number"),
        pytest.param(b"{}", id="no nodes"),
        pytest.param(b'{"nodes": {}}', id="nodes are no list"),
        pytest.param(b'{"nodes": []}', id="no node"),
        pytest.param(b'{"nodes": [7]}', id="a node is no object"),
        pytest.param(b'{"nodes": [{"op": "null", "name": "x", "inputs": [[]]}]}', id="no input"),
    ],
)
def test_files_that_are_no_graph(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x-symbol.json"
    path.write_bytes(content)
    with pytest.raises(ArtifactError):
        read_graph(path)


def test_a_file_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x-symbol.json"
    graph(Service("vgg-16", 1, 300, width=1 / 16)).save(str(path))
    monkeypatch.setattr(graph_json, "MAX_BYTES", path.stat().st_size)
    read_graph(path)
    monkeypatch.setattr(graph_json, "MAX_BYTES", path.stat().st_size - 1)
    with pytest.raises(ArtifactError, match=r"x-symbol\.json is larger than"):
        read_graph(path)


ANYTHING = st.one_of(
    st.none(),
    st.integers(-2, 2**40),
    st.floats(),
    st.sampled_from(
        ["", "(0, 2, 1)", "[1,2", "None", "1e999", "Flatten", "null", "_copy", "(0, 0)"]
    ),
    st.lists(st.integers(-1, 200), max_size=3),
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.lists(st.tuples(st.integers(0, 10_000), ANYTHING), min_size=1, max_size=3))
def test_any_change_is_understood_or_refused(
    changes: list[tuple[int, Any]], tmp_path: Path
) -> None:
    """MXNet's own parser ends the process on some of these."""
    raw = json.loads(graph(Service("vgg-16", 3, 300, width=1 / 16)).tojson())
    for number, value in changes:
        places = list(_places(raw["nodes"]))
        holder, key = places[number % len(places)]
        holder[key] = value
    path = tmp_path / "model_algo_1-symbol.json"
    path.write_text(json.dumps(raw))
    with suppress(ArtifactError):
        _use(path, 300)


def _places(value: Any) -> Any:
    """(container, key) of everything inside."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in list(keys):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])
