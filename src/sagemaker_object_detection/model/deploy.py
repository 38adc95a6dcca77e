"""The deploy graph, and writing it as an artefact.

Input `data` (B, 3, S, S), RGB 0-255; one output `detection_output` (B, N, 6), rows
[class_id, score, xmin, ymin, xmax, ymax] in 0..1, class_id -1 in suppressed rows: the best class
of every anchor, per-class NMS over the best `nms_topk` (MXNet's MultiBoxDetection, as the
service's algorithm does). Any MXNet program can run it.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mxnet as mx

from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.network import Network
from sagemaker_object_detection.model.specs import VARIANCES

SCORE_THRESHOLD = 0.01


@dataclass(frozen=True)
class DeployGraph:
    """The symbol and the arrays it needs.

    The arrays are the network's own and not copies; an engine bound to them has to be refreshed
    after they have changed.
    """

    symbol: mx.sym.Symbol
    args: Mapping[str, mx.nd.NDArray]
    auxs: Mapping[str, mx.nd.NDArray]
    image_shape: int

    def num_classes(self) -> int | None:
        """Foreground classes, C, by the shapes; None where there is no detection or none fits."""
        heads = self.symbol.get_children()
        if heads is None or len(heads.list_outputs()) != 3:
            return None
        scores = heads[0]  # (B, C + 1, N)
        shapes = {name: array.shape for name, array in {**self.args, **self.auxs}.items()}
        shapes["data"] = (1, 3, self.image_shape, self.image_shape)
        try:
            _, ((_, classes, _),), _ = scores.infer_shape(
                **{name: shapes[name] for name in scores.list_inputs()}
            )
        except (mx.MXNetError, ValueError):
            return None
        return int(classes) - 1

    def save(self, folder: Path) -> Path:
        """Write symbol and parameters, each aside and renamed; returns the parameters' path.

        Raises:
            OSError: the folder cannot be written to, or has no room.
        """
        artifact.write_text_whole(folder / artifact.SYMBOL_FILE, _plain_json(self.symbol))
        arrays = {f"arg:{name}": array for name, array in self.args.items()}
        arrays |= {f"aux:{name}": array for name, array in self.auxs.items()}
        path = folder / artifact.PARAMS_FILE
        with artifact.written_aside(path) as aside:
            _save_arrays(aside, arrays)
        return path


def _plain_json(symbol: mx.sym.Symbol) -> str:
    """The symbol without its initialisers: GluonCV's are written as addresses in memory."""
    graph = json.loads(symbol.tojson())
    for node in graph["nodes"]:
        node.get("attrs", {}).pop("__init__", None)
    return json.dumps(graph, indent=1)


def _save_arrays(path: Path, arrays: Mapping[str, mx.nd.NDArray]) -> None:
    """mx.nd.save, whose error does not say that the disk is full."""
    needed = sum(4 * array.size for array in arrays.values())
    try:
        mx.nd.save(str(path), dict(arrays))
    except mx.MXNetError as error:
        if shutil.disk_usage(path.parent).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    if path.stat().st_size < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def deploy_graph(
    network: Network,
    nms_threshold: float,
    nms_topk: int,
    averaged: Mapping[str, mx.nd.NDArray] | None = None,
) -> DeployGraph:
    """The deploy graph of a network that has been initialised, in float32.

    Args:
        averaged: values to take instead of the network's own, by name.
    """
    scores, offsets = network.heads
    shares = mx.sym.softmax(scores, axis=-1, name="class_shares")
    symbol = mx.sym.contrib.MultiBoxDetection(
        mx.sym.transpose(shares, axes=(0, 2, 1), name="class_shares_by_class"),
        mx.sym.flatten(offsets, name="flat_offsets"),
        _anchors(network),
        name="detection",
        threshold=SCORE_THRESHOLD,
        nms_threshold=nms_threshold,
        nms_topk=nms_topk,
        force_suppress=False,
        clip=True,
        variances=VARIANCES,
    )
    parameters = network.parameters
    values = {name: parameter.list_data()[0] for name, parameter in parameters.items()}
    ctx = next(iter(values.values())).context
    values |= averaged or {}
    values["anchors"] = mx.nd.array(network.anchors, ctx=ctx)
    return DeployGraph(
        symbol,
        {name: values[name] for name in symbol.list_arguments() if name != "data"},
        {name: values[name] for name in symbol.list_auxiliary_states()},
        network.image_shape,
    )


def _anchors(network: Network) -> mx.sym.Symbol:
    """Its shape is declared: Module and simple_bind are told that of `data` alone."""
    if network.anchor_graph is not None:
        return network.anchor_graph
    return mx.sym.var("anchors", shape=network.anchors.shape)
