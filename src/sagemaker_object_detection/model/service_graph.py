"""A network of the service's own algorithm, from its input to its heads and anchors.

Pixels are taken as they are, 0-255: the service's graph has no normalisation of ours.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.model.artifact import CURE, ArtifactError
from sagemaker_object_detection.model.network import name_heads
from sagemaker_object_detection.model.specs import VARIANCES
from sagemaker_object_detection.platform.errors import first_line

MAX_ANCHORS = 10**7  # VGG-16 has some 400,000 on an image of 2048 px
_MULTIPLIERS = {"__lr_mult__": "lr_mult", "__wd_mult__": "wd_mult"}


@dataclass(frozen=True)
class ServiceGraph:
    """A network of the service from its input to its heads.

    Attributes:
        base_network: the hyperparameter's value.
        heads: symbol `data` (B, 3, S, S) -> class scores (B, N, C+1), background first, and box
            offsets (B, N, 4), both before softmax and decoding.
        anchors: symbol `data` -> anchors (1, N, 4), xyxy in 0..1, on nodes that the heads share.
        maps: symbol `data` -> the feature maps that anchors are laid on.
        layout: symbol `map0`, `map1`, ... -> anchors; only the sides of the maps count.
        step: distance of two centres on the first map as a share of the image side; None where
            they are spread evenly, as they are unless the side is 300 or 512 and the base VGG-16.
    """

    base_network: str
    heads: mx.sym.Symbol
    anchors: mx.sym.Symbol
    maps: mx.sym.Symbol
    layout: mx.sym.Symbol
    step: float | None

    def num_classes(self, image_shape: int) -> int:
        """Foreground classes, C, by the graph's shapes.

        Raises:
            ArtifactError: scores, offsets and anchors do not fit together at this image_shape.
        """
        _, (scores, offsets, anchors), _ = _infer(
            mx.sym.Group([*self.heads, self.anchors]), image_shape
        )
        if not (
            len(scores) == len(offsets) == len(anchors) == 3
            and scores[1] == offsets[1] == anchors[1]
            and scores[2] > 1
            and anchors[2] == 4
            and 0 < anchors[1] <= MAX_ANCHORS
        ):
            raise refusal(
                f"has scores {scores}, offsets {offsets} and anchors {anchors}, which do not fit "
                "together"
            )
        return int(scores[2]) - 1

    def lay_anchors(self, image_shape: int) -> NDArray[Any]:
        """Anchors at this side of the image, float32 (1, N, 4), xyxy in 0..1.

        Raises:
            ArtifactError: the graph lays them out for another side.
        """
        _, shapes, _ = _infer(self.maps, image_shape)
        if any(len(shape) != 4 or not all(shape) for shape in shapes):
            raise refusal(f"lays anchors on what are no feature maps: {shapes}")
        trained = self._trained_at(image_shape, shapes[0][2])
        if trained != image_shape:
            raise ArtifactError(
                f"the anchors of this {self.base_network} of the service are laid out for an "
                f"image_shape of {trained}, and do not cover an image of {image_shape}; set "
                f"image_shape to {trained}"
            )
        # The operator looks at nothing of a map but its sides.
        maps = {f"map{i}": mx.nd.zeros((1, 1, *shape[2:])) for i, shape in enumerate(shapes)}
        executor = self.layout.bind(mx.cpu(), maps, grad_req="null")
        anchors: NDArray[Any] = executor.forward(is_train=False)[0].asnumpy()
        return anchors.astype(np.float32)

    def multipliers(self) -> dict[str, dict[str, float]]:
        """Parameters that learn or decay at other rates: name -> lr_mult, wd_mult or both."""
        found: dict[str, dict[str, float]] = {}
        for name, attributes in self.heads.attr_dict().items():
            for key, multiplier in _MULTIPLIERS.items():
                try:
                    value = float(attributes.get(key, 1))
                except ValueError as error:
                    raise refusal(f"has {key} {attributes[key]:.60} at {name}") from error
                if value != 1:
                    found.setdefault(name, {})[multiplier] = value
        return found

    def _trained_at(self, image_shape: int, side: int) -> int:
        """The side of the image that a step in pixels, which is a power of two, speaks of."""
        if self.step is None:
            return image_shape
        return round(2 ** round(math.log2(image_shape / side)) / self.step)


def _infer(symbol: mx.sym.Symbol, image_shape: int) -> Any:
    """Shapes of arguments, outputs and auxiliary states."""
    try:
        shapes = symbol.infer_shape(data=(1, 3, image_shape, image_shape))
    except (mx.MXNetError, UnicodeDecodeError) as error:
        raise refusal(
            f"cannot take an image of {image_shape} px ({first_line(error):.200})"
        ) from error
    if shapes[0] is None:
        raise refusal("leaves shapes of parameters open")
    return shapes


VARIABLE = "null"
MAX_BYTES = 16 * 2**20
_KEPT_OF_VARIABLES = ("__shape__", "__lr_mult__", "__wd_mult__")
_MXNET_VERSION = 10901
_ARITY = {
    VARIABLE: (0, 0),
    "Activation": (1, 1),
    "BatchNorm": (5, 5),
    "Concat": (1, 64),
    "Convolution": (2, 3),
    "Dropout": (1, 1),
    "Flatten": (1, 1),
    "L2Normalization": (1, 1),
    "Pooling": (1, 1),
    "Reshape": (1, 1),
    "_contrib_MultiBoxPrior": (1, 1),
    "_copy": (1, 1),
    "broadcast_mul": (2, 2),
    "elemwise_add": (2, 2),
    "transpose": (1, 1),
}


@dataclass(frozen=True)
class Node:
    """An operator or a variable.

    inputs: numbers of nodes before it.
    ports: which output of each input.
    """

    op: str
    name: str
    attributes: Mapping[str, str]
    inputs: tuple[int, ...]
    ports: tuple[int, ...]

    def value(self, name: str, default: Any) -> Any:
        """An attribute as Python's value; every release of MXNet writes numbers differently.

        Raises:
            ArtifactError: it is none.
        """
        try:
            return ast.literal_eval(self.attributes.get(name, repr(default)))
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            text = self.attributes[name]
            raise refusal(f"has {self.op} {self.name:.60} with {name} {text:.60}") from error


Nodes = Sequence[Node]


def read_nodes(path: Path) -> tuple[Node, ...]:
    """The nodes of a `*-symbol.json`, in an order in which each comes after its inputs.

    Raises:
        ArtifactError: the file is no graph.
    """
    if path.stat().st_size > MAX_BYTES:
        raise refusal(f"of {path} is larger than {MAX_BYTES >> 20} MiB")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        nodes = tuple(_node(i, node) for i, node in enumerate(raw["nodes"]))
    except (ValueError, RecursionError) as error:
        raise refusal(f"of {path} is not JSON or is damaged ({error})") from error
    except (TypeError, LookupError, AttributeError) as error:
        raise refusal(f"of {path} is not written as MXNet does") from error
    if len({node.name for node in nodes if node.op == VARIABLE}) < sum(
        node.op == VARIABLE for node in nodes
    ):
        raise refusal(f"of {path} has two parameters of one name")
    return nodes


def _node(number: int, raw: Mapping[str, Any]) -> Node:
    op, name, attributes = raw["op"], raw["name"], raw.get("attrs") or {}
    texts = [op, name, *attributes, *attributes.values()]
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"node {number} is described by {texts!s:.80}")
    inputs = tuple(entry[0] for entry in raw["inputs"])
    low, high = _ARITY.get(op, (0, math.inf))
    fit = all(type(i) is int and 0 <= i < number for i in inputs)
    if not fit or not low <= len(inputs) <= high:
        raise ValueError(f"node {number}, {op:.60} {name:.60}, has inputs {inputs!s:.80}")
    return Node(op, name, attributes, inputs, tuple(entry[1] for entry in raw["inputs"]))


def ancestors(nodes: Nodes, outputs: Iterable[int]) -> list[int]:
    """Nodes that these are computed from, themselves included, in the graph's order."""
    found = set(outputs)
    for i in range(max(found), -1, -1):
        if i in found:
            found.update(nodes[i].inputs)
    return sorted(found)


def cut(nodes: Nodes, outputs: Sequence[int]) -> str:
    """JSON of the graph that ends in these nodes, for mx.sym.load_json.

    Of what is noted at variables only shape and multipliers stay.

    Raises:
        ArtifactError: an operator in it that no network of the service has.
    """
    needed = ancestors(nodes, outputs)
    numbers = {old: new for new, old in enumerate(needed)}
    written = []
    for old in needed:
        node = nodes[old]
        if node.op not in _ARITY or any(node.ports):
            raise refusal(f"has {node.op:.60} {node.name:.60}, which no network of it has")
        kept = {k: v for k, v in node.attributes.items() if k in _KEPT_OF_VARIABLES}
        written.append(
            {
                "op": node.op,
                "name": node.name,
                "attrs": kept if node.op == VARIABLE else dict(node.attributes),
                "inputs": [[numbers[i], 0, 0] for i in node.inputs],
            }
        )
    return json.dumps(
        {
            "nodes": written,
            "arg_nodes": [i for i, node in enumerate(written) if node["op"] == VARIABLE],
            "heads": [[numbers[i], 0, 0] for i in outputs],
            "attrs": {"mxnet_version": ["int", _MXNET_VERSION]},
        }
    )


def with_variables(nodes: Nodes, names: Mapping[int, str]) -> tuple[Node, ...]:
    """The nodes with some of them replaced by variables of these names."""
    return tuple(
        replace(node, op=VARIABLE, name=names[i], attributes={}, inputs=(), ports=())
        if i in names
        else node
        for i, node in enumerate(nodes)
    )


def refusal(reason: str) -> ArtifactError:
    """The error about a graph that is none of the service's."""
    return ArtifactError(f"the graph {reason}; {CURE}, or of the service's own algorithm")


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
