"""The deploy graph of an artefact on disk, ours or the service's own."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import mxnet as mx

from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ArtifactError, ModelConfig
from sagemaker_object_detection.model.continued import service_network
from sagemaker_object_detection.model.deploy import DeployGraph, deploy_graph
from sagemaker_object_detection.model.earlier import load_earlier
from sagemaker_object_detection.model.stored import load_arrays, load_symbol

_SERVICE_DEFAULTS = {"nms_threshold": 0.45, "nms_topk": 400}


def read_deploy_graph(folder: Path) -> DeployGraph:
    """The graph of read_deployed. Raises as that."""
    return read_deployed(folder)[0]


def read_deployed(folder: Path, image_shape: int | None = None) -> tuple[DeployGraph, ModelConfig]:
    """The graph that makes detections, with its values on the CPU, and what it is.

    What our artefacts say in model.json, the service's network tells itself; its classes are
    called class_0, class_1 and so on.

    Args:
        folder: our artifact, or the extracted files of the service's model.tar.gz.
        image_shape: of the service's, whose files may not say it.

    Raises:
        ArtifactError: files are missing, damaged or contradict each other, or it cannot be told for
            which image_shape the service's were made.
    """
    if (folder / artifact.MODEL_FILE).is_file() or not folder.is_dir():
        artifact.require_files(folder)
        config = artifact.read_config(folder)
        arrays = load_arrays(folder / artifact.PARAMS_FILE)
        symbol = load_symbol(folder / artifact.SYMBOL_FILE)
        names = [n for n in symbol.list_inputs() if n != "data" and n not in arrays.by_name]
        if names:
            raise ArtifactError(
                f"{folder / artifact.PARAMS_FILE} lacks {', '.join(names[:5])}; {artifact.CURE}"
            )
        graph = DeployGraph(symbol, arrays.args, arrays.auxs, config.image_shape)
        num_classes = graph.num_classes()
        if num_classes is not None:
            config.require_names(num_classes, folder / artifact.SYMBOL_FILE)
        return graph, config
    return _of_service(folder, image_shape)


def _of_service(folder: Path, image_shape: int | None) -> tuple[DeployGraph, ModelConfig]:
    earlier = load_earlier(folder)
    image_shape = image_shape or earlier.image_shape
    if earlier.graph is None or image_shape is None:
        raise ArtifactError(
            f"{folder} does not say for which image_shape it was trained: it has neither "
            f"{artifact.MODEL_FILE} nor an image_shape in {artifact.HYPERPARAMETERS_FILE}; "
            "add that file of the job, or give evaluate the option --image-shape"
        )
    network = service_network(earlier.graph, image_shape, "float32")
    values = earlier.arrays.by_name
    for name, parameter in network.parameters.items():
        value = values.get(name)
        if value is None or value.shape != parameter.shape:
            found = "is missing" if value is None else f"has shape {value.shape}"
            raise ArtifactError(
                f"{folder}: parameter {name} {found}, the network wants {parameter.shape}; "
                f"{artifact.CURE}, all files of one job"
            )
        parameter.initialize(init=mx.init.Zero(), ctx=[mx.cpu()], force_reinit=True)
        parameter.set_data(value)
    nms_threshold, nms_topk = _suppression(folder)
    graph = deploy_graph(network, nms_threshold, nms_topk)
    names = tuple(f"class_{number}" for number in range(earlier.num_classes))
    config = ModelConfig(names, image_shape, earlier.base_network, nms_threshold)
    return graph, config


def _suppression(folder: Path) -> tuple[float, int]:
    """nms_threshold and nms_topk of the service's job; load_earlier has read the same file."""
    path = folder / artifact.HYPERPARAMETERS_FILE
    said = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    stated = {**_SERVICE_DEFAULTS, **said}
    threshold, topk = (stated[name] for name in _SERVICE_DEFAULTS)
    with suppress(TypeError, ValueError, OverflowError):
        if 0 < float(threshold) <= 1 and 1 <= float(topk) < 2**31:
            return float(threshold), int(float(topk))
    raise ArtifactError(
        f"{path}: nms_threshold must be above 0 and at most 1 and nms_topk a positive integer, got "
        f"{threshold!s:.40} and {topk!s:.40}; {artifact.CURE}, all files of one job"
    )
