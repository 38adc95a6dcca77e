"""`object-detection evaluate`: score a model on labeled images, or detections from a file."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from sagemaker_object_detection.data.class_names import AnnotatedNames, class_names
from sagemaker_object_detection.data.dataset import Dataset
from sagemaker_object_detection.data.gate import passed, survey
from sagemaker_object_detection.data.loader import Batch, Loader
from sagemaker_object_detection.data.sources import categories, open_sources
from sagemaker_object_detection.data.tally import Limits, refusals
from sagemaker_object_detection.evaluation.coco import read_results
from sagemaker_object_detection.evaluation.evaluate import SCORING_BATCH, evaluate
from sagemaker_object_detection.evaluation.interval import in_words, interval
from sagemaker_object_detection.evaluation.report_files import metrics_of
from sagemaker_object_detection.evaluation.results import Results
from sagemaker_object_detection.evaluation.summary import Summary, summarise
from sagemaker_object_detection.model.artifact import ModelConfig
from sagemaker_object_detection.model.specs import MINIMUM_IMAGE_SHAPE
from sagemaker_object_detection.platform.channels import Channel
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.forms import with_forms
from sagemaker_object_detection.platform.progress import Progress
from sagemaker_object_detection.platform.threads import physical_cores
from sagemaker_object_detection.serving.settings import AUTO, MXNET, OPENVINO, Settings
from sagemaker_object_detection.tools.findings import DEFAULTS, NOTES, channels_of
from sagemaker_object_detection.tools.models import Model, open_model
from sagemaker_object_detection.tools.options import (
    Share,
    attribute_names_option,
    limit_options,
    named_folders,
)
from sagemaker_object_detection.tools.output import logged, prepare_file, printable, write_file


@click.command("evaluate", short_help="Score a MODEL on DATA.")
@click.argument("first", metavar="MODEL", type=click.Path(exists=True, path_type=Path))
@click.argument("data", metavar="DATA...", nargs=-1, callback=named_folders)
@click.option(
    "--overlap-threshold",
    type=Share(),
    help="IoU that a right detection exceeds. By default that of the model's training, or "
    f"{DEFAULTS.overlap_threshold}.",
)
@click.option(
    "--engine",
    type=click.Choice([MXNET, OPENVINO]),
    default=MXNET,
    show_default=True,
    help="What runs the network. The mAP of training is MXNet's.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "int8"]),
    help="What OpenVINO computes in; by default auto, as an endpoint does.",
)
@click.option(
    "--image-shape",
    type=click.IntRange(MINIMUM_IMAGE_SHAPE),
    help="Side of the network's input, for a model of the service without hyperparams.json.",
)
@attribute_names_option
@limit_options
@click.option(
    "--detections",
    "detections_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Score the detections in this file (COCO results), no model. A COCO file of what is there "
    "then takes the place of MODEL.",
)
@click.option(
    "--against",
    type=click.Path(exists=True, path_type=Path),
    help="Another model, to be compared with MODEL on the same images.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the scores to this file too.",
)
def command(
    first: Path,
    data: dict[str, Path],
    overlap_threshold: float | None,
    engine: str,
    precision: str | None,
    image_shape: int | None,
    attribute_names: tuple[str, ...],
    max_dropped_images: float,
    max_dropped_boxes: float,
    detections_file: Path | None,
    against: Path | None,
    json_file: Path | None,
) -> None:
    """Score a MODEL, the folder or the model.tar.gz of a training job, on DATA.

    The job may be one of this container or of the service's algorithm.

    DATA is a channel: a folder, or name=folder, in any form that training reads; the folder of its
    annotations, <folder>_annotation, is found beside it. Each channel is scored by itself. On the
    validation channel of the training job mAP is that of the job.

    \b
    object-detection evaluate model.tar.gz data/validation --json scores.json
    object-detection evaluate ground_truth.json --detections detections.json
    object-detection evaluate old/model data/test --against new/model
    """
    if precision and engine != OPENVINO:
        raise click.UsageError("--precision is for --engine openvino; MXNet computes in float32.")
    prepare_file(json_file)
    if detections_file is not None:
        if data or against or not first.is_file():
            raise click.UsageError(
                "--detections takes one COCO file of the boxes that are there, and no model."
            )
        channels = _score_file(first, detections_file, overlap_threshold)
        about: dict[str, Any] = {"ground_truth": str(first), "detections": str(detections_file)}
    else:
        if not data:
            raise click.UsageError("Missing argument 'DATA...'.")
        batch = SCORING_BATCH if engine == MXNET else None
        settings = Settings(engine=engine, precision=precision or AUTO, max_batch=batch)
        limits = Limits(max_dropped_images, max_dropped_boxes)
        opened = channels_of(data, attribute_names)
        channels = _score_model(first, image_shape, opened, settings, limits, overlap_threshold)
        about = {"model": str(first), "engine": engine}
    written: dict[str, dict[str, Any]] = {}
    seen: dict[str, Summary] = {}
    with logged():
        for scored, summary in channels:
            click.echo(scores_text(scored.channel, scored.results, summary) + "\n")
            computed = {"precision": scored.precision} if scored.precision else {}
            written[scored.channel] = metrics_of(scored.results, summary, computed)
            seen[scored.channel] = summary
        if against is not None:
            about["against"] = str(against)
            others = _score_model(against, image_shape, opened, settings, limits, overlap_threshold)
            for scored, summary in others:
                click.echo(scores_text(f"{scored.channel}, {against}", scored.results, summary))
                difference = _compare(seen[scored.channel], summary)
                written[scored.channel]["against"] = difference
                words = in_words(str(first), str(against), *difference.values())
                click.echo(printable(f"  {words}\n"))
    if json_file is not None:
        write_file(json_file, json.dumps({**about, "channels": written}, indent=1) + "\n")


def _compare(one: Summary, other: Summary) -> dict[str, float]:
    """By how much the second model's mAP is better, over the same images."""
    if one.labels != other.labels:
        raise ClientError(
            f"The models have different classes ({', '.join(one.labels)}; "
            f"{', '.join(other.labels)}). Compare models of the same classes."
        )
    low, high = interval(other.sampled_means - one.sampled_means)
    return {"difference": other.mean - one.mean, "low": low, "high": high}


def _score_model(
    model: Path,
    image_shape: int | None,
    channels: dict[str, Channel],
    settings: Settings,
    limits: Limits,
    overlap_threshold: float | None,
) -> Iterator[tuple[Scored, Summary]]:
    with open_model(model, settings, image_shape) as opened:
        config = opened.config
        trained = config.validation.get("overlap_threshold", DEFAULTS.overlap_threshold)
        threshold = trained if overlap_threshold is None else overlap_threshold
        for scored in run_model(opened, channels, limits):
            yield scored, summarise(scored.results, config.class_names, threshold)


def _score_file(
    truth: Path, detections: Path, overlap_threshold: float | None
) -> Iterator[tuple[Scored, Summary]]:
    read = read_results(truth, detections)
    threshold = DEFAULTS.overlap_threshold if overlap_threshold is None else overlap_threshold
    summary = summarise(read.results, read.class_names, threshold, read.suite)
    yield Scored(detections.stem, read.results, ""), summary


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


_COLUMNS = ("boxes", "AP", "score >=", "F1", "precision", "recall")


def scores_text(name: str, results: Results, summary: Summary) -> str:
    """Lines to read: average precision by class with the score of the best F1, mAP, COCO's suite.

    Args:
        name: what the data goes by.
    """
    return printable(
        "\n".join([name, *(f"  {line}".rstrip() for line in _lines(results, summary))])
    )


def _lines(results: Results, summary: Summary) -> Iterator[str]:
    difficult = int(results.difficult.sum())
    yield (
        f"{len(results):,} images, {len(results.boxes) - difficult:,} boxes to find"
        + (f" and {difficult:,} difficult ones that do not count" if difficult else "")
        + f", {len(results.detections):,} detections"
    )
    width = max(len("class"), *(len(label) for label in summary.labels))
    yield f"{'class':{width}}  " + "  ".join(f"{name:>9}" for name in _COLUMNS)
    for label, curve, best in zip(summary.labels, summary.curves, summary.best, strict=True):
        parts = () if best is None else (best.score, best.f1, best.precision, best.recall)
        figures = [_figure(curve.average_precision), *map(_figure, parts)]
        row = [f"{curve.positives:,}", *figures, *["-"] * (len(_COLUMNS) - 1 - len(figures))]
        yield f"{label:{width}}  " + "  ".join(f"{text:>9}" for text in row)
    yield (
        f"mAP {summary.mean:.4f} (IoU above {summary.overlap_threshold:g}, all points, mean over "
        "the classes that occur)"
    )
    low, high = summary.interval
    yield f"    95 % interval {low:.4f} to {high:.4f}, by drawing other images from these"
    coco = [f"{name} {_figure(value)}" for name, value in summary.coco.items()]
    yield "COCO: " + ", ".join(coco[:6])
    yield "      " + ", ".join(coco[6:])


def _figure(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"
