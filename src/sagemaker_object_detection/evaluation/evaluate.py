"""An engine's detections on a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sagemaker_object_detection.data.loader import Batch
from sagemaker_object_detection.evaluation.results import Results, ResultsBuilder
from sagemaker_object_detection.inference.predictor import Engine

SCORING_BATCH = 8
"""Images at a time: more are no faster on a CPU."""


def evaluate(
    engine: Engine,
    batches: Iterable[Batch],
    should_stop: Callable[[], bool] = lambda: False,
) -> Results | None:
    """Run the engine on every record of an evaluation pass; rows that only fill are left out.

    Args:
        batches: with their truth, at the engine's image_shape, of a size it was bound for.
        should_stop: asked before every batch, and at the end, since a stream that is given up
            just ends; once it says so, the answer is None.
    """
    builder = ResultsBuilder()
    for batch in batches:
        if should_stop():
            return None
        rows = engine.detect(batch.images)
        for image, labels in enumerate(batch.truth):
            if labels is not None:
                builder.add(int(batch.records[image]), batch.sizes[image], rows[image], labels)
    return None if should_stop() else builder.build()
