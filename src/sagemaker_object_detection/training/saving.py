"""Writing the model folder."""

from __future__ import annotations

import importlib.metadata
import json
import math
from pathlib import Path

from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ModelConfig
from sagemaker_object_detection.model.deploy import DeployGraph
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.training.history import EpochResult

MAP_DEFINITION = (
    "all-point interpolated AP, mean over the classes that occur, every image once, detections "
    "above 0.01 after per-class NMS"
)
_LIBRARIES = ("mxnet", "gluoncv", "numpy")


def save_model(job: Job, graph: DeployGraph, names: tuple[str, ...], result: EpochResult) -> Path:
    """Write the whole artefact into the model folder; returns the path of the parameters."""
    hyperparameters = job.hyperparameters
    folder = job.paths.model_dir
    path = graph.save(folder)
    artifact.write_text_whole(
        folder / artifact.HYPERPARAMETERS_FILE, json.dumps(hyperparameters.as_strings())
    )
    per_class = {
        name: None if math.isnan(value) else value
        for name, value in zip(names, result.score.per_class, strict=True)
    }
    config = ModelConfig(
        class_names=names,
        image_shape=hyperparameters.image_shape,
        base_network=hyperparameters.base_network,
        nms_threshold=hyperparameters.nms_threshold,
        validation={
            "mAP": result.score.mean,
            "AP": per_class,
            "epoch": result.epoch,
            "overlap_threshold": hyperparameters.overlap_threshold,
            "definition": MAP_DEFINITION,
        },
        versions={name: importlib.metadata.version(name) for name in _LIBRARIES},
    )
    artifact.write_config(folder, config)
    return path
