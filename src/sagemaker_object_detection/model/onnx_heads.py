"""The network of a deploy graph as ONNX: the twin that engines without MXNet run.

Input `data` (batch, 3, S, S), RGB 0-255, as the deploy graph's. Outputs `scores`
(batch, N, C + 1), softmax over the classes with the background first; `offsets` (batch, N, 4); and
`anchors` (1, N, 4), which are constant. How detections are made of them is in the metadata,
see model.detection; inference.decode does it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import onnx
from mxnet.onnx.mx2onnx._export_onnx import MXNetGraph
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ArtifactError
from sagemaker_object_detection.model.deploy import DeployGraph
from sagemaker_object_detection.model.detection import DetectionRule

OPSET = 13  # what MXNet's translations are written for
IR_VERSION = 8
INPUT = "data"
SCORES, OFFSETS, ANCHORS = "scores", "offsets", "anchors"  # names that no layer has
PRODUCER = "sagemaker-object-detection"


def convert_heads(graph: DeployGraph) -> onnx.ModelProto:
    """The twin of a deploy graph with the values that its arrays have now, in float32.

    Raises:
        ArtifactError: the graph does not end in MultiBoxDetection.
    """
    rule = detection_rule(graph.symbol)
    shares, flat_offsets, anchor_graph = graph.symbol.get_children()
    with mx.name.NameManager():
        heads = mx.sym.Group(
            [
                mx.sym.transpose(shares, axes=(0, 2, 1), name=SCORES),
                mx.sym.reshape(flat_offsets, shape=(0, -1, 4), name=OFFSETS),
            ]
        )
    anchors = _lay_anchors(anchor_graph, graph)
    translated = _translate(heads, graph.image_shape)
    _give_values(translated, heads, {**graph.args, **graph.auxs})
    translated.initializer.append(numpy_helper.from_array(anchors, "constant_anchors"))
    translated.node.append(helper.make_node("Identity", ["constant_anchors"], [ANCHORS], ANCHORS))
    _declare_ends(translated, heads, graph.image_shape)
    _drop_unused(translated)
    model = helper.make_model(
        translated,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name=PRODUCER,
        doc_string=" ".join(__doc__.split()),
    )
    helper.set_model_props(model, {"image_shape": str(graph.image_shape), **rule.as_texts()})
    onnx.checker.check_model(model, full_check=True)
    return model


def write_onnx(model: onnx.ModelProto, path: Path) -> None:
    """Write a model aside and rename it; raises OSError when there is no room."""
    artifact.write_whole(path, model.SerializeToString())


def detection_rule(symbol: mx.sym.Symbol) -> DetectionRule:
    """How a deploy graph makes detections. Raises ArtifactError when it is none."""
    node = json.loads(symbol.tojson())["nodes"][-1]
    if node["op"] != "_contrib_MultiBoxDetection" or len(symbol.list_outputs()) != 1:
        raise ArtifactError(
            f"the graph ends in {node['op']} {node['name']}, expected MultiBoxDetection; "
            f"{artifact.CURE}"
        )
    return DetectionRule.from_texts(node.get("attrs", {}), "the graph")


def _lay_anchors(symbol: mx.sym.Symbol, graph: DeployGraph) -> NDArray[Any]:
    """Anchors (1, N, 4): a constant, or laid out by a graph that looks at an image's size alone."""
    values = {**graph.args, **graph.auxs}
    if symbol.name in values:
        constant: NDArray[Any] = values[symbol.name].asnumpy().astype(np.float32)
        return constant.reshape(1, -1, 4)
    side = graph.image_shape
    given = {name: values[name] for name in symbol.list_inputs() if name != INPUT}
    given = {name: value.as_in_context(mx.cpu()) for name, value in given.items()}
    if INPUT in symbol.list_inputs():
        given[INPUT] = mx.nd.zeros((1, 3, side, side))
    auxiliary = {name: given.pop(name) for name in symbol.list_auxiliary_states()}
    executor = symbol.bind(mx.cpu(), given, aux_states=auxiliary, grad_req="null")
    anchors: NDArray[Any] = executor.forward(is_train=False)[0].asnumpy()
    return anchors.astype(np.float32).reshape(1, -1, 4)


def _translate(heads: mx.sym.Symbol, side: int) -> onnx.GraphProto:
    """MXNet's own translation, every parameter an input.

    Parameters that are given as values would go through lists of Python numbers: 16 s for
    ResNet-50 and gigabytes of memory.
    """
    shapes = _input_shapes(heads, side)
    dynamic = [("batch", *shape[1:]) if n == INPUT else shape for n, shape in shapes.items()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # onnx.mapping, a thousand times
        return MXNetGraph().create_onnx_graph_proto(
            heads,
            {},
            list(shapes.values()),
            [TensorProto.FLOAT] * len(shapes),
            opset_version=OPSET,
            dynamic=True,
            dynamic_input_shapes=dynamic,
        )


def _input_shapes(heads: mx.sym.Symbol, side: int) -> dict[str, tuple[int, ...]]:
    args, _, auxs = heads.infer_shape(data=(1, 3, side, side))
    shapes = dict(zip(heads.list_arguments(), args, strict=True))
    shapes |= dict(zip(heads.list_auxiliary_states(), auxs, strict=True))
    return {name: shapes[name] for name in heads.list_inputs()}


def _give_values(
    graph: onnx.GraphProto, heads: mx.sym.Symbol, values: Mapping[str, mx.nd.NDArray]
) -> None:
    """Turn the inputs that are parameters into initializers."""
    fixed = _fixed_gammas(heads)
    for name in heads.list_inputs():
        if name != INPUT:
            value = values[name].asnumpy()
            if name in fixed:
                value = np.ones_like(value)
            graph.initializer.append(numpy_helper.from_array(value, name))


def _fixed_gammas(heads: mx.sym.Symbol) -> set[str]:
    """Scales of BatchNorm that MXNet takes as 1, which its translation to ONNX forgets."""
    nodes = json.loads(heads.tojson())["nodes"]
    return {
        nodes[node["inputs"][1][0]]["name"]
        for node in nodes
        if node["op"] == "BatchNorm"
        and node.get("attrs", {}).get("fix_gamma", "True") in ("True", "1")
    }


def _declare_ends(graph: onnx.GraphProto, heads: mx.sym.Symbol, side: int) -> None:
    """Name the dimensions of inputs and outputs; parameters are no inputs."""
    _, (scores, offsets), _ = heads.infer_shape(data=(1, 3, side, side))
    del graph.input[:]
    del graph.output[:]
    graph.input.append(_info(INPUT, ("batch", 3, side, side)))
    graph.output.extend(
        [
            _info(SCORES, ("batch", *scores[1:])),
            _info(OFFSETS, ("batch", *offsets[1:])),
            _info(ANCHORS, (1, *offsets[1:])),
        ]
    )


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Drop constants that MXNet's translation leaves behind."""
    used = {name for node in graph.node for name in node.input}
    for i in reversed(range(len(graph.initializer))):
        if graph.initializer[i].name not in used:
            del graph.initializer[i]


def _info(name: str, shape: tuple[int | str, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
