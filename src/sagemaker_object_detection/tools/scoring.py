"""A model held against the channels of a data set, outside of any job."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sagemaker_object_detection.data.class_names import class_names, found_names
from sagemaker_object_detection.data.dataset import Dataset
from sagemaker_object_detection.data.gate import passed, survey
from sagemaker_object_detection.data.loader import Batch, Loader
from sagemaker_object_detection.data.sources import categories, open_sources
from sagemaker_object_detection.data.tally import Limits, refusals
from sagemaker_object_detection.evaluation.evaluate import SCORING_BATCH, evaluate
from sagemaker_object_detection.evaluation.results import Results
from sagemaker_object_detection.inference.predictor import Engine
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.archive import extract
from sagemaker_object_detection.model.artifact import ArtifactError, ModelConfig
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.forms import with_forms
from sagemaker_object_detection.platform.progress import Progress
from sagemaker_object_detection.platform.threads import physical_cores, set_threads
from sagemaker_object_detection.tools.folders import channels_of

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


@contextmanager
def opened_model(path: Path) -> Iterator[Path]:
    """The folder of an artefact, which may be packed as a model.tar.gz; it lasts for the block.

    Raises ClientError where it is neither, or the archive is damaged or unsafe.
    """
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="model-") as scratch:
        extract(path, Path(scratch))
        yield Path(scratch)


def read_model(folder: Path) -> ModelConfig:
    """What the artefact says of itself. Raises ClientError where it is none."""
    try:
        return artifact.read_config(folder)
    except ArtifactError as error:
        raise ClientError(f"{error}.") from error


def run_model(
    folder: Path, folders: Mapping[str, Path], choice: EngineChoice, limits: Limits | None = None
) -> Iterator[Scored]:
    """Detections of the model in the artefact on one channel after the other.

    Args:
        folders: channel -> its folder; the folder of its annotations lies beside it.
        limits: shares of images and boxes that may be unusable.

    Raises:
        ClientError: the faults of all channels as a training job would find them; the model is
            damaged, or has another number of classes.
    """
    config = read_model(folder)
    data = _checked(folders, config, limits)
    sizes = {name: min(SCORING_BATCH, len(dataset)) for name, dataset in data.items()}
    try:
        engine = _engine(folder, choice, sizes.values())
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
    folders: Mapping[str, Path], config: ModelConfig, limits: Limits | None
) -> dict[str, Dataset]:
    num_classes = len(config.class_names)
    channels = with_forms(channels_of(folders), folders)
    sources = open_sources(channels, folders, num_classes)
    tallies = {
        name: survey(name, source, num_classes, physical_cores(), limits)
        for name, source in sources.items()
    }
    refused = refusals(tallies.values())
    if refused:
        raise ClientError(*refused)
    told = class_names(
        (),
        categories(sources),
        [channel.path for channel in channels.values()],
        found_names(sources.values()),
        num_classes,
    )
    _warn_of_names(told, config.class_names)
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


def _engine(folder: Path, choice: EngineChoice, batch_sizes: Iterable[int]) -> Engine:
    if choice.name == "openvino":
        from sagemaker_object_detection.inference.engine_openvino import OpenVINOEngine

        cores = physical_cores()
        return OpenVINOEngine.from_folder(folder, choice.precision, cores, streams=cores)
    if "mxnet" not in sys.modules:  # which reads them when it is loaded
        set_threads(os.environ)
    os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")
    from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine

    return MXNetEngine.from_folder(folder, batch_sizes=batch_sizes)


def _counted(batches: Iterable[Batch], progress: Progress) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        progress.advance(int((batch.records >= 0).sum()))
