"""What a model that a job goes on from says about itself: one of ours, or the service's own.

Whose network it is, is decided by the names of its parameters, so that a model continued from one
of the service stays the service's network in every job that follows.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.archive import SYMBOL_ENDING
from sagemaker_object_detection.model.artifact import ArtifactError
from sagemaker_object_detection.model.names import PREFIX
from sagemaker_object_detection.model.service_graph import ServiceGraph, read_graph
from sagemaker_object_detection.model.specs import get_spec
from sagemaker_object_detection.model.stored import Arrays, load_arrays

log = logging.getLogger(__name__)

_STEM = re.compile(r"(?P<deploy>deploy_)?model_algo_(?P<host>\d+)")
_EPOCH = re.compile(r"-\d{4,}\.params")
_ANY_SIDE = 512  # the classes of a graph are the same at every side


@dataclass(frozen=True)
class EarlierModel:
    """A model to go on from.

    Attributes:
        kind: whose network it is: "ours" (GluonCV's SSD) or "service".
        base_network, num_classes: of the network.
        class_names: empty where the artefact has none, as the service's.
        image_shape: side that it was trained at; None where the artefact does not say.
        validation_map: validation mAP of its job; None where the artefact does not say.
        arrays: values of its parameters.
        graph: the service's network; None for ours, which is built anew.
    """

    kind: Literal["ours", "service"]
    base_network: str
    num_classes: int
    class_names: tuple[str, ...]
    image_shape: int | None
    validation_map: float | None
    arrays: Arrays = field(repr=False)
    graph: ServiceGraph | None = field(default=None, repr=False)


class _Stated(NamedTuple):
    """What hyperparams.json of the service says; None where it says nothing."""

    base_network: str | None = None
    num_classes: int | None = None
    image_shape: int | None = None


def load_earlier(folder: Path) -> EarlierModel:
    """Read the artefact in `folder`, which holds a graph and its parameters.

    Raises:
        ArtifactError: files are missing, damaged or contradict each other.
    """
    symbol_path, params_path = _choose_files(folder)
    stem = symbol_path.with_name(symbol_path.name.removesuffix(SYMBOL_ENDING))
    log.info("Using model weights from file %s.", stem)
    arrays = load_arrays(params_path)
    _require_finite(params_path, arrays)
    if any(name.startswith(PREFIX) for name in arrays.args):
        return _ours(folder, arrays)
    graph = read_graph(symbol_path)
    if (folder / artifact.MODEL_FILE).is_file():
        return _continued(folder, graph, arrays)
    return _of_service(folder, graph, arrays)


def _choose_files(folder: Path) -> tuple[Path, Path]:
    """Graph and parameters: the algorithm's own before a deploy graph made of them, the first host
    before others, the last epoch before others."""
    pairs = []
    for symbol in folder.glob(f"*{SYMBOL_ENDING}"):
        stem = symbol.name.removesuffix(SYMBOL_ENDING)
        named = _STEM.fullmatch(stem)
        params = [p for p in folder.iterdir() if _EPOCH.fullmatch(p.name.removeprefix(stem))]
        if named and params:
            rank = (bool(named["deploy"]), int(named["host"]))
            last = max(params, key=lambda path: int(path.stem.rpartition("-")[2]))
            pairs.append((rank, symbol, last))
    if not pairs:
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:10])
        raise ArtifactError(
            f"{folder} holds no pair of files like {artifact.SYMBOL_FILE} and "
            f"{artifact.PARAMS_FILE} (it holds {found}); {artifact.CURE}"
        )
    _, symbol, params_path = min(pairs)
    return symbol, params_path


def _require_finite(path: Path, arrays: Arrays) -> None:
    for name, array in arrays.by_name.items():
        if not np.isfinite(array.asnumpy()).all():
            raise ArtifactError(
                f"{path}: parameter {name} holds NaN or infinity, its training had diverged; give "
                "a model that was validated"
            )


def _ours(folder: Path, arrays: Arrays) -> EarlierModel:
    config = artifact.read_config(folder)
    try:
        get_spec(config.base_network, config.image_shape)
    except ValueError as error:
        raise ArtifactError(f"{folder / artifact.MODEL_FILE}: {error}; {artifact.CURE}") from error
    return EarlierModel(
        "ours",
        config.base_network,
        len(config.class_names),
        config.class_names,
        config.image_shape,
        config.validation_map,
        arrays,
    )


def _continued(folder: Path, graph: ServiceGraph, arrays: Arrays) -> EarlierModel:
    """A model of this algorithm on a network of the service."""
    config = artifact.read_config(folder)
    stated = _Stated(config.base_network, len(config.class_names), config.image_shape)
    return EarlierModel(
        "service",
        graph.base_network,
        _agreed_classes(graph, stated, folder / artifact.MODEL_FILE),
        config.class_names,
        config.image_shape,
        config.validation_map,
        arrays,
        graph,
    )


def _of_service(folder: Path, graph: ServiceGraph, arrays: Arrays) -> EarlierModel:
    path = folder / artifact.HYPERPARAMETERS_FILE
    stated = _read_hyperparameters(path) if path.is_file() else _Stated()
    return EarlierModel(
        "service",
        graph.base_network,
        _agreed_classes(graph, stated, path),
        (),
        stated.image_shape,
        None,
        arrays,
        graph,
    )


def _agreed_classes(graph: ServiceGraph, stated: _Stated, path: Path) -> int:
    """num_classes of the graph, which has to be what the file beside it, at `path`, says."""
    num_classes = graph.num_classes(stated.image_shape or _ANY_SIDE)
    ours = (stated.base_network or graph.base_network, stated.num_classes or num_classes)
    if ours != (graph.base_network, num_classes):
        raise ArtifactError(
            f"{path} says base_network {ours[0]} and num_classes {ours[1]}, the graph beside it is "
            f"{graph.base_network} with {num_classes}; {artifact.CURE}, all files of one job"
        )
    return num_classes


def _read_hyperparameters(path: Path) -> _Stated:
    """The service's configuration: one flat object, every value a string."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is not JSON ({error}); {artifact.CURE}") from error
    if not isinstance(raw, dict):
        raise ArtifactError(f"{path} must hold a JSON object; {artifact.CURE}")
    numbers = []
    for name in ("num_classes", "image_shape"):
        text = str(raw.get(name) or "")
        if text and not re.fullmatch(r"[1-9]\d{0,5}", text):
            raise ArtifactError(
                f"{path}: {name} must be a positive integer, got {text:.40}; {artifact.CURE}"
            )
        numbers.append(int(text) if text else None)
    base_network = raw.get("base_network")
    return _Stated(str(base_network)[:40] if base_network else None, *numbers)
