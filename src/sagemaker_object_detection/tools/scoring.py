"""A model held against the channels of a data set, outside of any job."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sagemaker_object_detection.data.class_names import AnnotatedNames, class_names
from sagemaker_object_detection.data.dataset import Dataset
from sagemaker_object_detection.data.gate import passed, survey
from sagemaker_object_detection.data.loader import Batch, Loader
from sagemaker_object_detection.data.sources import categories, open_sources
from sagemaker_object_detection.data.tally import Limits, refusals
from sagemaker_object_detection.evaluation.evaluate import SCORING_BATCH, evaluate
from sagemaker_object_detection.evaluation.results import Results
from sagemaker_object_detection.model.artifact import ModelConfig
from sagemaker_object_detection.platform.channels import Channel
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.forms import with_forms
from sagemaker_object_detection.platform.progress import Progress
from sagemaker_object_detection.platform.threads import physical_cores
from sagemaker_object_detection.tools.folders import NOTES
from sagemaker_object_detection.tools.models import Model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """What a model finds in a channel; precision is what was computed in."""

    channel: str
    results: Results
    precision: str


def run_model(
    model: Model, channels: Mapping[str, Channel], limits: Limits | None = None
) -> Iterator[Scored]:
    """Detections of the model on one channel after the other.

    Args:
        channels: those that are scored, and those of their annotations.
        limits: shares of images and boxes that may be unusable.

    Raises:
        ClientError: the faults of all channels as a training job would find them; the model is
            damaged, or has another number of classes.
    """
    data = _checked(channels, model.config, limits)
    engine = model.load()
    for name, dataset in data.items():
        loader = Loader(dataset, engine.image_shape, physical_cores())
        try:
            with Progress(f"Channel '{name}' is being scored", len(dataset)) as progress:
                batches = loader.evaluation_pass(min(SCORING_BATCH, len(dataset)))
                results = evaluate(engine, _counted(batches, progress))
        finally:
            loader.close()
        assert results is not None  # nothing stops it
        yield Scored(name, results, getattr(engine, "precision", "float32"))


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


def _counted(batches: Iterable[Batch], progress: Progress) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        progress.advance(int((batch.records >= 0).sum()))
