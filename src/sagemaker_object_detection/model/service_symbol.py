"""Reading graphs of the service's own algorithm, cut where our network ends.

The service stores its training graph (inputs `data` and `label`, four outputs); its users turn
that into a deploy graph (one output). Both hold a MultiBoxDetection operator, whose three inputs
are all that we need: scores behind a softmax, offsets, and anchors. They are found by operators
and not by names, so that a graph which we saved ourselves reads the same.
"""

from __future__ import annotations

from pathlib import Path

import mxnet as mx

from sagemaker_object_detection.model.graph_json import (
    Node,
    Nodes,
    ancestors,
    cut,
    read_nodes,
    refusal,
    with_variables,
)
from sagemaker_object_detection.model.network import name_heads
from sagemaker_object_detection.model.service_graph import ServiceGraph
from sagemaker_object_detection.model.specs import VARIANCES
from sagemaker_object_detection.platform.errors import first_line

_SMALLEST_STEP = 1e-6
_BY_CLASS, _BY_ANCHOR = 1, 2  # axis of the classes in (B, C+1, N) and in (B, N, C+1)
_TELLING_NAMES = {
    "vgg-16": {"conv1_1_weight", "conv5_3_weight", "fc7_weight"},
    "resnet-50": {f"stage{i}_unit{n}_conv3_weight" for i, n in enumerate((3, 4, 6, 3), 1)},
}


def read_graph(path: Path) -> ServiceGraph:
    """Cut a training or deploy graph of the service, or one that was continued from it.

    Args:
        path: the file `*-symbol.json`.

    Raises:
        ArtifactError: there is no such detector in it.
    """
    nodes = read_nodes(path)
    detections = [node for node in nodes if node.op == "_contrib_MultiBoxDetection"]
    if len(detections) != 1 or len(detections[0].inputs) != 3:
        raise refusal(f"has {len(detections)} MultiBoxDetection operators, expected one")
    _check_detection(detections[0])
    shares, flat_offsets, anchors = detections[0].inputs
    scores, axis = _before_softmax(nodes, shares)
    offsets = _below_views(nodes, flat_offsets)
    priors = [i for i in ancestors(nodes, [anchors]) if nodes[i].op == "_contrib_MultiBoxPrior"]
    if not priors:
        raise refusal("lays out no anchors: it has no MultiBoxPrior operator")
    maps = [nodes[i].inputs[0] for i in priors]
    # Loaded at once, so that the parts share their nodes.
    parts = list(_load(cut(nodes, [scores, offsets, anchors, *maps])))
    if axis == _BY_CLASS:
        parts[0] = mx.sym.transpose(parts[0], axes=(0, 2, 1), name="scores_by_anchor")
    parts[1] = mx.sym.reshape(parts[1], shape=(0, -1, 4), name="offsets_by_anchor")
    heads = name_heads(parts[0], parts[1])
    variables = {number: f"map{i}" for i, number in enumerate(maps)}
    layout = _load(cut(with_variables(nodes, variables), [anchors]))
    if not set(layout.list_arguments()) <= set(variables.values()):
        raise refusal(f"lays out anchors by {layout.list_arguments()!s:.200}, expected maps alone")
    return ServiceGraph(
        _base_network(heads),
        heads,
        parts[2],
        mx.sym.Group(parts[3:]),
        layout,
        _step(nodes[priors[0]]),
    )


def _check_detection(node: Node) -> None:
    variances = node.value("variances", VARIANCES)
    if variances != VARIANCES or node.value("background_id", 0) != 0:
        raise refusal(
            f"decodes boxes with {dict(node.attributes)}, expected variances {VARIANCES} and the "
            "background as class 0"
        )


def _step(prior: Node) -> float | None:
    steps = prior.value("steps", (-1.0, -1.0))
    try:
        vertical, horizontal = (float(step) for step in steps)
    except (TypeError, ValueError) as error:
        raise refusal(f"has {prior.name} with steps {steps}") from error
    if vertical != horizontal or 0 < vertical < _SMALLEST_STEP:
        raise refusal(f"has {prior.name} with steps {steps}, expected two that are equal")
    return vertical if vertical > 0 else None


def _before_softmax(nodes: Nodes, number: int) -> tuple[int, int]:
    """What the one softmax between `number` and the heads takes, and its axis of the classes."""
    axis = _BY_CLASS  # what MultiBoxDetection wants
    softmaxes = 0
    while True:
        node = nodes[number]
        if node.op == "transpose" and node.value("axes", ()) == (0, 2, 1):
            axis = _BY_ANCHOR if axis == _BY_CLASS else _BY_CLASS
        elif _softmax_axis(node) == axis and not softmaxes:
            softmaxes += 1
        elif node.op != "_copy":
            break
        if not node.inputs:
            break
        number = node.inputs[0]
    if not softmaxes:
        raise refusal(f"has {node.op} {node.name:.60} where a softmax over the classes is due")
    return number, axis


def _softmax_axis(node: Node) -> int | None:
    """The axis of three that this operator is a softmax over; None for any other operator."""
    if node.op == "softmax" and node.value("axis", -1) in (-1, 1, 2):
        return int(node.value("axis", -1)) % 3
    if node.op == "SoftmaxActivation" and node.attributes.get("mode") == "channel":
        return 1
    if node.op == "SoftmaxOutput" and node.attributes.get("multi_output") in ("True", "1"):
        return 1
    return None


def _below_views(nodes: Nodes, number: int) -> int:
    """The node below those that only shape it anew: rows of four stay rows of four."""
    while nodes[number].op in ("_copy", "Flatten", "Reshape") and nodes[number].inputs:
        number = nodes[number].inputs[0]
    return number


def _load(graph: str) -> mx.sym.Symbol:
    try:
        return mx.sym.load_json(graph)
    except mx.MXNetError as error:
        raise refusal(f"has operators that MXNet refuses ({first_line(error):.200})") from error


def _base_network(heads: mx.sym.Symbol) -> str:
    names = set(heads.list_arguments())
    for base_network, telling in _TELLING_NAMES.items():
        if telling <= names:
            return base_network
    raise refusal("has the layers of neither of the service's networks, vgg-16 and resnet-50")
