"""A detector as one ONNX file with decoding and suppression inside, for other runtimes.

Input `data` (batch, 3, S, S), float32, RGB 0-255, the picture resized to a square by bilinear
interpolation without keeping its aspect ratio. Output `detections` (batch, K, 6), the best first:
rows [class_id, score, xmin, ymin, xmax, ymax], corners in 0..1 of the picture; class_id is -1 in
rows that are to be ignored. Class names and settings are in the metadata.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from sagemaker_object_detection.model.deploy import DeployGraph
from sagemaker_object_detection.model.detection import DetectionRule
from sagemaker_object_detection.model.onnx_heads import (
    ANCHORS,
    OFFSETS,
    SCORES,
    convert_heads,
    detection_rule,
)

DETECTIONS = "detections"
_NONE = -1.0


def convert_detector(graph: DeployGraph, class_names: Sequence[str] = ()) -> onnx.ModelProto:
    """The whole deploy graph; ONNX's NonMaxSuppression stands for MultiBoxDetection's.

    Args:
        class_names: one for each class_id; empty if they are not known.

    Raises:
        ArtifactError: the graph does not end in MultiBoxDetection.
    """
    model = convert_heads(graph)
    rule = detection_rule(graph.symbol)
    body = model.graph
    classes = body.output[0].type.tensor_type.shape.dim[2].dim_value - 1
    (anchors,) = (
        numpy_helper.to_array(tensor)
        for tensor in body.initializer
        if tensor.name == f"constant_{ANCHORS}"
    )
    steps = _Steps(body)
    rows = _detect(steps, anchors, classes, rule)
    steps.named("Identity", [rows], DETECTIONS)
    _keep_one_output(body, _rows_of(anchors, rule))
    model.doc_string = " ".join(__doc__.split())
    texts = {p.key: p.value for p in model.metadata_props}
    if class_names:
        texts["class_names"] = json.dumps(list(class_names), ensure_ascii=False)
    helper.set_model_props(model, texts)
    onnx.checker.check_model(model, full_check=True)
    return model


class _Steps:
    """Adds operators to a graph one by one; a constant is an array."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._count = 0

    def __call__(self, op: str, *inputs: str | NDArray[Any], **attributes: Any) -> str:
        self._count += 1
        return self.named(op, inputs, f"detect_{self._count}_{op}", **attributes)

    def named(
        self, op: str, inputs: Sequence[str | NDArray[Any]], output: str, **attributes: Any
    ) -> str:
        """Add one operator whose first output has this name; a second one ends in `_2`."""
        names = [
            value if isinstance(value, str) else self._constant(value, f"{output}_input_{i}")
            for i, value in enumerate(inputs)
        ]
        outputs = [output, f"{output}_2"] if op == "TopK" else [output]
        self._graph.node.append(helper.make_node(op, names, outputs, output, **attributes))
        return output

    def _constant(self, value: NDArray[Any], name: str) -> str:
        self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name


def _rows_of(anchors: NDArray[Any], rule: DetectionRule) -> int:
    """Rows of the output, K."""
    count = anchors.shape[1]
    return min(rule.nms_topk, count) if rule.suppresses and rule.nms_topk > 0 else count


def _detect(steps: _Steps, anchors: NDArray[Any], classes: int, rule: DetectionRule) -> str:
    """From the heads' outputs to rows (batch, K, 6)."""
    last, first_class = _integers(2), _integers(1)
    shares = steps("Slice", SCORES, first_class, _integers(classes + 1), last)
    best = steps("ReduceMax", shares, axes=[2], keepdims=0)
    class_ids = steps("ArgMax", shares, axis=2, keepdims=0)
    enough = steps("GreaterOrEqual", best, _number(rule.threshold))
    best = steps("Where", enough, best, _number(_NONE))
    scores = steps("TopK", best, _integers(_rows_of(anchors, rule)), axis=1)
    order = f"{scores}_2"
    class_ids = steps("GatherElements", class_ids, order, axis=1)
    order_of_corners = steps("Unsqueeze", order, last)
    order_of_corners = steps("Expand", order_of_corners, _integers(1, 1, 4))
    boxes = steps("GatherElements", _decode(steps, anchors, rule), order_of_corners, axis=1)
    kept = steps("Greater", scores, _number(_NONE))
    if rule.suppresses:
        kept = _suppress(steps, boxes, scores, class_ids, classes, rule)
    numbers = steps("Cast", class_ids, to=TensorProto.FLOAT)
    numbers = steps("Where", kept, numbers, _number(_NONE))
    columns = [steps("Unsqueeze", column, last) for column in (numbers, scores)]
    return steps("Concat", *columns, boxes, axis=2)


def _decode(steps: _Steps, anchors: NDArray[Any], rule: DetectionRule) -> str:
    """Boxes (batch, N, 4), xyxy, in the order of operations of inference.decode."""
    size = anchors[..., 2:] - anchors[..., :2]
    centre = (anchors[..., :2] + anchors[..., 2:]) / np.float32(2)
    scaled = steps("Mul", OFFSETS, np.array(rule.variances, np.float32))
    moved = steps("Slice", scaled, _integers(0), _integers(2), _integers(2))
    grown = steps("Slice", scaled, _integers(2), _integers(4), _integers(2))
    middle = steps("Add", steps("Mul", moved, size), centre)
    half = steps("Mul", steps("Exp", grown), size / np.float32(2))
    boxes = steps("Concat", steps("Sub", middle, half), steps("Add", middle, half), axis=2)
    return steps("Clip", boxes, _number(0), _number(1)) if rule.clip else boxes


def _suppress(
    steps: _Steps, boxes: str, scores: str, class_ids: str, classes: int, rule: DetectionRule
) -> str:
    """Which of the candidates (batch, K) stay."""
    by_class = steps("Unsqueeze", scores, _integers(1))
    if not rule.force_suppress:  # each class sees its own candidates alone
        ids = np.arange(classes, dtype=np.int64).reshape(1, -1, 1)
        own = steps("Equal", steps("Unsqueeze", class_ids, _integers(1)), ids)
        by_class = steps("Where", own, by_class, _number(_NONE))
    # The operator keeps an IoU that equals its threshold, MXNet's suppresses it.
    iou = np.nextafter(np.float32(rule.nms_threshold), np.float32(0))
    everything = _integers(np.iinfo(np.int32).max)
    chosen = steps("NonMaxSuppression", boxes, by_class, everything, iou.reshape(1), _numbers(-0.5))
    places = steps("Gather", chosen, _integers(0, 2), axis=1)
    nothing = steps("ConstantOfShape", steps("Shape", scores), value=_zero())
    marks = steps("Slice", steps("Shape", places), _integers(0), _integers(1))
    ones = steps("Add", steps("ConstantOfShape", marks, value=_zero()), _number(1))
    return steps("Greater", steps("ScatterND", nothing, places, ones), _number(0.5))


def _keep_one_output(graph: onnx.GraphProto, rows: int) -> None:
    """The heads are no outputs any more, and the constant that told the anchors is not needed."""
    del graph.output[:]
    shape = ("batch", rows, 6)
    graph.output.append(helper.make_tensor_value_info(DETECTIONS, TensorProto.FLOAT, shape))
    for i in reversed(range(len(graph.node))):
        if graph.node[i].output[0] == ANCHORS:
            del graph.node[i]
    for i in reversed(range(len(graph.initializer))):
        if graph.initializer[i].name == f"constant_{ANCHORS}":
            del graph.initializer[i]


def _integers(*values: int) -> NDArray[Any]:
    return np.array(values, np.int64)


def _number(value: float) -> NDArray[Any]:
    return np.array(value, np.float32)


def _numbers(*values: float) -> NDArray[Any]:
    return np.array(values, np.float32)


def _zero() -> onnx.TensorProto:
    return numpy_helper.from_array(np.zeros(1, np.float32))
