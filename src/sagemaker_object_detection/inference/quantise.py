"""An INT8 copy of an ONNX network: convolutions and residual sums by integers.

Weights get a scale for each output channel, what convolutions and sums take one range each: the
least and the greatest value on calibration images. All else stays float32. The file holds them as
pairs of QuantizeLinear and DequantizeLinear, from which OpenVINO and ONNX Runtime make integer
arithmetic (Jacob et al. 2018, arXiv:1712.05877). docs/decisions.md has the figures against nncf's
and onnxruntime's quantisers.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import openvino
from onnx import TensorProto, helper, numpy_helper

from sagemaker_object_detection.model import artifact

Array = npt.NDArray[Any]
Ranges = dict[str, tuple[float, float]]

_ACTIVATION_STEPS = 255  # uint8
_WEIGHT_STEPS = 127  # int8, the same on both sides of 0


def quantise_file(source: Path, target: Path, images: Iterable[Array], threads: int) -> None:
    """Write the INT8 copy of an ONNX file, aside and renamed; see quantise.

    Raises OSError where a file cannot be read or written, and what quantise raises.
    """
    copy = quantise(onnx.load(str(source)), images, threads)
    artifact.write_whole(target, copy.SerializeToString())


def quantise(model: onnx.ModelProto, images: Iterable[Array], threads: int) -> onnx.ModelProto:
    """The INT8 copy of a model with one input of fixed size but for its batch.

    Args:
        images: batches (B, 3, S, S), RGB 0-255, uint8 or float32, of the kind that it will see.
        threads: processor cores to use.

    Raises:
        ValueError: there are no images, or the network gives no finite numbers on them.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    fold_batch_norms(copy.graph)
    pull_strides(copy.graph)
    ranges = measure(copy, images, threads)
    _quantise_nodes(copy.graph, ranges)
    onnx.checker.check_model(copy, full_check=True)
    return copy


def measure(model: onnx.ModelProto, images: Iterable[Array], threads: int) -> Ranges:
    """Least and greatest value of what convolutions and sums take, over all images.

    Raises:
        ValueError: there are no images, or a value is not finite.
    """
    tensors = _narrow_tensors(model.graph)
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    for name in tensors:
        for op in ("ReduceMin", "ReduceMax"):
            output = f"{name}_{op}"
            probe.graph.node.append(helper.make_node(op, [name], [output], output, keepdims=0))
            probe.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, ()))
    core = openvino.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    side = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    network = core.read_model(probe.SerializeToString())
    network.reshape([1, 3, side, side])
    compiled = core.compile_model(network, "CPU", options)
    least = np.full(len(tensors), np.inf)
    greatest = np.full(len(tensors), -np.inf)
    for batch in images:
        for image in batch:
            found = compiled([np.ascontiguousarray(image[None], np.float32)])
            limits = np.array([found[i] for i in range(2 * len(tensors))]).reshape(-1, 2)
            if not np.isfinite(limits).all():
                raise ValueError("the network gives numbers that are not finite")
            least = np.minimum(least, limits[:, 0])
            greatest = np.maximum(greatest, limits[:, 1])
    if tensors and not np.isfinite(least).all():
        raise ValueError("there are no images to calibrate on")
    return {name: (float(least[i]), float(greatest[i])) for i, name in enumerate(tensors)}


def _quantise_nodes(graph: onnx.GraphProto, ranges: Ranges) -> None:
    values = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    done: set[str] = set()
    for node in graph.node:
        for i in _narrow_inputs(node, values):
            name = node.input[i]
            if name not in done:
                done.add(name)
                nodes += _round_trip(graph, name, *ranges[name])
            node.input[i] = f"{name}_dequantised"
        if node.op_type == "Conv":
            weight = node.input[1]
            if weight not in done:
                done.add(weight)
                nodes.append(_integer_weight(graph, weight, numpy_helper.to_array(values[weight])))
            node.input[1] = f"{weight}_dequantised"
        nodes.append(node)
    replace_nodes(graph, nodes)


def _narrow_inputs(node: onnx.NodeProto, constants: Container[str]) -> tuple[int, ...]:
    """Which inputs of a node are quantised by ranges: of convolutions and of residual sums."""
    if node.op_type == "Conv":
        return (0,)
    is_sum = node.op_type == "Add" and not any(name in constants for name in node.input)
    return (0, 1) if is_sum else ()


def _round_trip(graph: onnx.GraphProto, name: str, low: float, high: float) -> list[onnx.NodeProto]:
    """Nodes that take a tensor to uint8 and back; 0 stays 0, since borders are padded with it."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / _ACTIVATION_STEPS or 1.0
    zero = np.round(-low / scale)
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(scale, np.float32), f"{name}_scale"),
            numpy_helper.from_array(np.array(zero, np.uint8), f"{name}_zero"),
        ]
    )
    how = [f"{name}_scale", f"{name}_zero"]
    narrow, wide = f"{name}_quantised", f"{name}_dequantised"
    return [
        helper.make_node("QuantizeLinear", [name, *how], [narrow], narrow),
        helper.make_node("DequantizeLinear", [narrow, *how], [wide], wide),
    ]


def _integer_weight(graph: onnx.GraphProto, name: str, weight: Array) -> onnx.NodeProto:
    """Add the int8 weight (out, in, h, w) to the graph; the node that widens it."""
    limit = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = np.where(limit > 0, limit / _WEIGHT_STEPS, 1).astype(np.float32)
    narrow = np.round(weight / scale.reshape(-1, 1, 1, 1)).clip(-_WEIGHT_STEPS, _WEIGHT_STEPS)
    graph.initializer.extend(
        [
            numpy_helper.from_array(narrow.astype(np.int8), f"{name}_quantised"),
            numpy_helper.from_array(scale, f"{name}_scale"),
            numpy_helper.from_array(np.zeros(len(weight), np.int8), f"{name}_zero"),
        ]
    )
    inputs = [f"{name}_quantised", f"{name}_scale", f"{name}_zero"]
    wide = f"{name}_dequantised"
    return helper.make_node("DequantizeLinear", inputs, [wide], wide, axis=0)


def _narrow_tensors(graph: onnx.GraphProto) -> list[str]:
    """Tensors that get a range, each once."""
    constants = {tensor.name for tensor in graph.initializer}
    names = (node.input[i] for node in graph.node for i in _narrow_inputs(node, constants))
    return list(dict.fromkeys(names))


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
