"""The JSON of an MXNet graph, checked, so that parts of it can be cut out.

MXNet's own parser trusts what it reads: an input that refers to no node ends the process. Here a
graph of an unknown origin becomes nodes that hold together, of operators that a network like ours
is made of, before MXNet sees it.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sagemaker_object_detection.model.artifact import CURE, ArtifactError

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
