"""Writing the model folder."""

from __future__ import annotations

import importlib.metadata
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import mxnet as mx

from sagemaker_object_detection.evaluation.average_precision import AveragePrecision
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ModelConfig
from sagemaker_object_detection.model.deploy import DeployGraph
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.training.epochs import EpochResult

MAP_DEFINITION = (
    "all-point interpolated AP, mean over the classes that occur, every image once, detections "
    "above 0.01 after per-class NMS"
)
_LIBRARIES = ("gluoncv", "numpy", "opencv-python-headless", "openvino")


def save_model(
    job: Job, graph: DeployGraph, names: tuple[str, ...], result: EpochResult | None
) -> Path:
    """Write the whole artefact into the model folder; returns the path of the parameters.

    Twins of other weights that are in the folder are deleted.

    Args:
        result: the epoch after which the weights were scored; None for weights that were not.
    """
    hyperparameters = job.hyperparameters
    folder = job.paths.model_dir
    for twin in (artifact.ONNX_FILE, artifact.INT8_FILE, artifact.UNSCORED_FILE):
        (folder / twin).unlink(missing_ok=True)
    path = graph.save(folder)
    artifact.write_text_whole(
        folder / artifact.HYPERPARAMETERS_FILE, json.dumps(hyperparameters.as_strings())
    )
    config = ModelConfig(
        class_names=names,
        image_shape=hyperparameters.image_shape,
        base_network=hyperparameters.base_network,
        nms_threshold=hyperparameters.nms_threshold,
        validation={}
        if result is None
        else {"epoch": result.epoch, **score_summary(job, names, result.score)},
        versions=versions(),
    )
    artifact.write_config(folder, config)
    return path


def versions() -> dict[str, str]:
    """The libraries that a model and its figures depend on."""
    # The wheel of MXNet has another name for cards, so MXNet says itself which version it is.
    installed = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"mxnet": mx.__version__, **installed}


def save_test_score(job: Job, score: AveragePrecision) -> dict[str, Any]:
    """Add the score on the test channel to the artefact's description, and return it."""
    config = artifact.read_config(job.paths.model_dir)
    summary = score_summary(job, config.class_names, score)
    artifact.write_config(job.paths.model_dir, replace(config, test=summary))
    return summary


def score_summary(job: Job, names: tuple[str, ...], score: AveragePrecision) -> dict[str, Any]:
    """A score as model.json holds it."""
    per_class = {
        name: None if math.isnan(value) else value
        for name, value in zip(names, score.per_class, strict=True)
    }
    return {
        "mAP": score.mean,
        "AP": per_class,
        "overlap_threshold": job.hyperparameters.overlap_threshold,
        "definition": MAP_DEFINITION,
    }
