"""`object-detection evaluate`: score a model on labelled images, or detections from a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from sagemaker_object_detection.data.tally import Limits
from sagemaker_object_detection.evaluation.coco_files import read_results
from sagemaker_object_detection.evaluation.evaluate import SCORING_BATCH
from sagemaker_object_detection.evaluation.report_files import metrics_of
from sagemaker_object_detection.evaluation.summary import Summary, summarise
from sagemaker_object_detection.model.specs import MINIMUM_IMAGE_SHAPE
from sagemaker_object_detection.platform.channels import Channel
from sagemaker_object_detection.serving.settings import AUTO, MXNET, OPENVINO, Settings
from sagemaker_object_detection.tools.folders import (
    channels_of,
    named_folders,
    prepare_file,
    write_file,
)
from sagemaker_object_detection.tools.limit_options import DEFAULTS, limit_options
from sagemaker_object_detection.tools.models import open_model
from sagemaker_object_detection.tools.scores_text import scores_text
from sagemaker_object_detection.tools.scoring import Scored, run_model
from sagemaker_object_detection.tools.share import Share
from sagemaker_object_detection.tools.share_options import attribute_names_option
from sagemaker_object_detection.tools.shown_log import logged

Channels = Iterator[tuple[Scored, Summary]]


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
    """
    if precision and engine != OPENVINO:
        raise click.UsageError("--precision is for --engine openvino; MXNet computes in float32.")
    prepare_file(json_file)
    if detections_file is not None:
        if data or not first.is_file():
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
    written = {}
    with logged():
        for scored, summary in channels:
            click.echo(scores_text(scored.channel, scored.results, summary) + "\n")
            computed = {"precision": scored.precision} if scored.precision else {}
            written[scored.channel] = metrics_of(scored.results, summary, computed)
    if json_file is not None:
        write_file(json_file, json.dumps({**about, "channels": written}, indent=1) + "\n")


def _score_model(
    model: Path,
    image_shape: int | None,
    channels: dict[str, Channel],
    settings: Settings,
    limits: Limits,
    overlap_threshold: float | None,
) -> Channels:
    with open_model(model, settings, image_shape) as opened:
        config = opened.config
        trained = config.validation.get("overlap_threshold", DEFAULTS.overlap_threshold)
        threshold = trained if overlap_threshold is None else overlap_threshold
        for scored in run_model(opened, channels, limits):
            yield scored, summarise(scored.results, config.class_names, threshold)


def _score_file(truth: Path, detections: Path, overlap_threshold: float | None) -> Channels:
    read = read_results(truth, detections)
    threshold = DEFAULTS.overlap_threshold if overlap_threshold is None else overlap_threshold
    summary = summarise(read.results, read.class_names, threshold, read.suite)
    yield Scored(detections.stem, read.results, ""), summary
