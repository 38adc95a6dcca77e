"""Scoring of an engine on a data set."""

from __future__ import annotations

from collections.abc import Callable

from sagemaker_object_detection.data.dataset import Dataset
from sagemaker_object_detection.data.loader import Loader
from sagemaker_object_detection.evaluation.average_precision import (
    AveragePrecision,
    MeanAveragePrecision,
)
from sagemaker_object_detection.inference.predictor import Engine


def evaluate(
    engine: Engine,
    dataset: Dataset,
    loader: Loader,
    num_classes: int,
    overlap_threshold: float,
    batch_size: int,
    should_stop: Callable[[], bool] = lambda: False,
) -> AveragePrecision | None:
    """Run the engine on every record of the data set, each exactly once, and score it.

    Args:
        loader: a loader of this data set at the engine's image_shape.
        overlap_threshold: IoU that a right detection exceeds.
        batch_size: one the engine was bound for.
        should_stop: asked before every batch; once it says so, the answer is None.
    """
    metric = MeanAveragePrecision(num_classes, overlap_threshold)
    for batch in loader.evaluation_pass(batch_size):
        if should_stop():
            return None
        rows = engine.detect(batch.images)
        for row, record in zip(rows, batch.records, strict=True):
            if record >= 0:
                metric.update(row, *dataset.labels(int(record)))
    return metric.compute()
