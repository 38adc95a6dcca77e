"""Symbol files of the service: what in them is refused, or left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sagemaker_object_detection.model import service_graph
from sagemaker_object_detection.model.artifact import ArtifactError
from sagemaker_object_detection.model.service_graph import read_graph
from tests.service_network import Service, graph


def test_initialisers_are_left_out(tmp_path: Path) -> None:
    """Words of another program, which MXNet would look up; the values are in the params file."""
    path = tmp_path / "model_algo_1-symbol.json"
    graph(Service("vgg-16", 1, 300, width=1 / 16)).save(str(path))
    assert "__init__" in path.read_text()
    heads = read_graph(path).heads.tojson()
    assert "__init__" not in heads
    assert "__shape__" in heads


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
    monkeypatch.setattr(service_graph, "MAX_BYTES", path.stat().st_size)
    read_graph(path)
    monkeypatch.setattr(service_graph, "MAX_BYTES", path.stat().st_size - 1)
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
