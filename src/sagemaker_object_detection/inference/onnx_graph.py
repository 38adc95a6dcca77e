"""Rewriting an ONNX graph before its numbers become integers; what it computes stays the same."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def fold_batch_norms(graph: onnx.GraphProto) -> None:
    """Put each BatchNormalization that only scales a convolution's output into its weights.

    Otherwise the integers would be chosen for weights that are not the ones that count.
    """
    values = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    uses = _count_uses(graph)
    nodes = []
    for node in graph.node:
        conv = makers.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        if conv is None or conv.op_type != "Conv" or uses[conv.output[0]] > 1:
            nodes.append(node)
            continue
        scale, shift, mean, variance = (numpy_helper.to_array(values[n]) for n in node.input[1:5])
        factor = scale / np.sqrt(variance + _attribute(node, "epsilon", 1e-5))
        weight = numpy_helper.to_array(values[conv.input[1]])
        bias = numpy_helper.to_array(values[conv.input[2]]) if len(conv.input) > 2 else 0
        name = conv.output[0]
        folded = {
            f"{name}_weight": weight * factor.reshape(-1, 1, 1, 1),
            f"{name}_bias": (bias - mean) * factor + shift,
        }
        for key, value in folded.items():
            graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), key))
        del conv.input[1:]
        conv.input.extend(folded)
        conv.output[0] = node.output[0]
    replace_nodes(graph, nodes)


def pull_strides(graph: onnx.GraphProto) -> None:
    """Let convolutions of 1 x 1 that skip pixels take a picture from which they are left out.

    OpenVINO does it too, but behind the quantisation of what they take, and computes them in
    float32 then: a fifth of ResNet-50's time.
    """
    nodes: list[onnx.NodeProto] = []
    thinned: dict[tuple[str, tuple[int, ...]], str] = {}
    for node in graph.node:
        sizes = {attribute.name: attribute.ints for attribute in node.attribute}
        strides = tuple(sizes.get("strides", ()))
        plain = set(sizes.get("kernel_shape", ())) == {1} and not any(sizes.get("pads", ()))
        if node.op_type == "Conv" and plain and any(stride > 1 for stride in strides):
            taken = node.input[0]
            if (taken, strides) not in thinned:
                name = thinned[taken, strides] = f"{taken}_thinned_{len(thinned)}"
                one = [1] * len(strides)
                nodes.append(
                    helper.make_node(
                        "MaxPool", [taken], [name], name, kernel_shape=one, strides=strides
                    )
                )
            node.input[0] = thinned[taken, strides]
            sizes["strides"][:] = [1] * len(strides)
        nodes.append(node)
    replace_nodes(graph, nodes)


def replace_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Set the nodes; constants that none of them takes are dropped."""
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    constants = [tensor for tensor in graph.initializer if tensor.name in used]
    constants = [TensorProto.FromString(tensor.SerializeToString()) for tensor in constants]
    del graph.initializer[:]
    graph.initializer.extend(constants)


def _count_uses(graph: onnx.GraphProto) -> dict[str, int]:
    uses = {name: 0 for node in graph.node for name in node.output}
    for name in [*(n for node in graph.node for n in node.input), *(o.name for o in graph.output)]:
        uses[name] = uses.get(name, 0) + 1
    return uses


def _attribute(node: onnx.NodeProto, name: str, default: float) -> float:
    found = [attribute.f for attribute in node.attribute if attribute.name == name]
    return found[0] if found else default
