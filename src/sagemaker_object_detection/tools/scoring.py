"""A model held against the channels of a data set, outside of any job."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sagemaker_object_detection.data.class_names import AnnotatedNames, class_names
from sagemaker_object_detection.data.dataset import Dataset
from sagemaker_object_detection.data.gate import passed, survey
from sagemaker_object_detection.data.loader import Batch, Loader
from sagemaker_object_detection.data.sources import categories, open_sources
from sagemaker_object_detection.data.tally import Limits, refusals
from sagemaker_object_detection.evaluation.evaluate import SCORING_BATCH, evaluate
from sagemaker_object_detection.evaluation.results import Results
from sagemaker_object_detection.inference.conversion import convert
from sagemaker_object_detection.inference.predictor import Engine
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ArtifactError, ModelConfig
from sagemaker_object_detection.platform.channels import Channel
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.forms import with_forms
from sagemaker_object_detection.platform.processor import cpu_flags
from sagemaker_object_detection.platform.progress import Progress
from sagemaker_object_detection.platform.threads import physical_cores, set_threads
from sagemaker_object_detection.tools.folders import NOTES

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineChoice:
    """Which engine, and what it computes in; MXNet computes in float32."""

    name: str = "mxnet"
    precision: str = "float32"


@dataclass(frozen=True)
class Scored:
    """What a model finds in a channel; precision is what was computed in."""

    channel: str
    results: Results
    precision: str


def read_model(folder: Path, image_shape: int | None = None) -> ModelConfig:
    """What the artifact is, ours or the service's own. Raises ClientError where it is none.

    Args:
        image_shape: of the service's, whose files may not say it.
    """
    try:
        if (folder / artifact.MODEL_FILE).is_file():
            return artifact.read_config(folder)
        _prepare_mxnet()
        from sagemaker_object_detection.model.deployed import read_deployed

        return read_deployed(folder, image_shape)[1]
    except ArtifactError as error:
        raise ClientError(f"{error}.") from error


def run_model(
    folder: Path,
    config: ModelConfig,
    channels: Mapping[str, Channel],
    choice: EngineChoice,
    limits: Limits | None = None,
) -> Iterator[Scored]:
    """Detections of the model in the artifact on one channel after the other.

    Args:
        config: what `read_model` says of it.
        channels: those that are scored, and those of their annotations.
        limits: shares of images and boxes that may be unusable.

    Raises:
        ClientError: the faults of all channels as a training job would find them; the model is
            damaged, or has another number of classes.
    """
    data = _checked(channels, config, limits)
    sizes = {name: min(SCORING_BATCH, len(dataset)) for name, dataset in data.items()}
    try:
        engine = _engine(folder, config, choice, sizes.values())
    except ArtifactError as error:
        raise ClientError(f"{error}.") from error
    for name, dataset in data.items():
        loader = Loader(dataset, engine.image_shape, physical_cores())
        try:
            with Progress(f"Channel '{name}' is being scored", len(dataset)) as progress:
                batches = _counted(loader.evaluation_pass(sizes[name]), progress)
                results = evaluate(engine, batches)
        finally:
            loader.close()
        assert results is not None  # nothing stops it
        yield Scored(name, results, getattr(engine, "precision", choice.precision))


def _checked(
    channels: Mapping[str, Channel], config: ModelConfig, limits: Limits | None
) -> dict[str, Dataset]:
    num_classes = len(config.class_names)
    names = [name for name in channels if not name.endswith(NOTES)]
    channels = with_forms(channels, names)
    sources = open_sources(channels, names, None, config.class_names)
    tallies = {
        name: survey(name, source, num_classes, physical_cores(), limits)
        for name, source in sources.items()
    }
    refused = refusals(tallies.values())
    if refused:
        raise ClientError(*refused)
    found = AnnotatedNames.merged(source.found_names for source in sources.values())
    folders_inside = [channel.path for channel in channels.values()]
    try:
        told = class_names((), categories(sources), folders_inside, found, num_classes)
        _warn_of_names(told, config.class_names)
    except ClientError as error:
        log.warning("The data's class names are not compared with the model's. %s", error)
    return {name: passed(source, tallies[name]) for name, source in sources.items()}


def _warn_of_names(data: tuple[str, ...], model: tuple[str, ...]) -> None:
    """A class_id that means one thing in the data and another in the model scores near 0."""
    for class_id, (theirs, ours) in enumerate(zip(data, model, strict=True)):
        if theirs != ours and f"class_{class_id}" not in (theirs, ours):
            log.warning(
                "class_id %d is %r in the data and %r in the model. They are matched by the id: "
                "see that it means the same.",
                class_id,
                theirs,
                ours,
            )


def _engine(
    folder: Path, config: ModelConfig, choice: EngineChoice, batch_sizes: Iterable[int]
) -> Engine:
    if choice.name == "openvino":
        return _openvino(folder, config, choice.precision)
    _prepare_mxnet()
    from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
    from sagemaker_object_detection.model.deployed import read_deployed

    graph, _ = read_deployed(folder, config.image_shape)
    return MXNetEngine(
        graph.symbol, graph.args, graph.auxs, graph.image_shape, batch_sizes=batch_sizes
    )


def _openvino(folder: Path, config: ModelConfig, precision: str) -> Engine:
    from sagemaker_object_detection.inference.engine_openvino import (
        OpenVINOEngine,
        choose_precision,
    )

    cores = physical_cores()
    if (folder / artifact.MODEL_FILE).is_file():
        return OpenVINOEngine.from_folder(folder, precision, cores, streams=cores)
    converted = convert(folder, os.environ, image_shape=config.image_shape)
    if converted.reason:
        raise ClientError(f"{folder} cannot be converted to ONNX ({converted.reason}).")
    chosen = choose_precision(precision, False, cpu_flags())
    return OpenVINOEngine(converted.onnx, chosen, cores, cores)


def _prepare_mxnet() -> None:
    """Set the environment that it reads when it is loaded."""
    if "mxnet" not in sys.modules:
        set_threads(os.environ)
    os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")


def _counted(batches: Iterable[Batch], progress: Progress) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        progress.advance(int((batch.records >= 0).sum()))
