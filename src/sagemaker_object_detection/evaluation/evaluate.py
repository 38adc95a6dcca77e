"""Scoring of an engine on a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sagemaker_object_detection.data.loader import Batch
from sagemaker_object_detection.evaluation.average_precision import (
    AveragePrecision,
    MeanAveragePrecision,
)
from sagemaker_object_detection.inference.predictor import Engine


def evaluate(
    engine: Engine,
    batches: Iterable[Batch],
    num_classes: int,
    overlap_threshold: float,
    should_stop: Callable[[], bool] = lambda: False,
) -> AveragePrecision | None:
    """Run the engine on every record of an evaluation pass and score it.

    Args:
        batches: with their truth, at the engine's image_shape, of a size it was bound for.
        overlap_threshold: IoU that a right detection exceeds.
        should_stop: asked before every batch, and at the end, since a stream that is given up
            just ends; once it says so, the answer is None.
    """
    metric = MeanAveragePrecision(num_classes, overlap_threshold)
    for batch in batches:
        if should_stop():
            return None
        rows = engine.detect(batch.images)
        for row, labels in zip(rows, batch.truth, strict=True):
            if labels is not None:
                metric.update(row, *labels)
    return None if should_stop() else metric.compute()
