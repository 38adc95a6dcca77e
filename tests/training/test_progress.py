"""What the epochs came to, kept over a restart."""

from __future__ import annotations

import json
import math

import pytest

from sagemaker_object_detection.evaluation.average_precision import AveragePrecision
from sagemaker_object_detection.training.epochs import EarlyStopping, EpochResult, Progress


def _progress(*means: float) -> Progress:
    progress = Progress(EarlyStopping(1, 3, 0.5))
    for epoch, mean in enumerate(means):
        score = AveragePrecision(mean, (mean, math.nan))
        progress.add(EpochResult(epoch, {"cross_entropy": 1.0}, score, 0.1, 8, 1.0, 0.5, 2.0))
        progress.stopping.should_stop(epoch + 1, mean)
    return progress


@pytest.mark.parametrize(
    ("means", "best", "without_gain"),
    [
        pytest.param((), None, 0, id="before the first epoch"),
        pytest.param((0.2, 0.4, 0.3), 1, 1, id="the best, not the last"),
        pytest.param((0.4, 0.5), 1, 1, id="the best, though no gain by the rule"),
        pytest.param((0.4, 0.4), 1, 1, id="of equals the later"),
    ],
)
def test_over_a_restart(means: tuple[float, ...], best: int | None, without_gain: int) -> None:
    progress = _progress(*means)
    again = _progress()
    again.restore(json.loads(json.dumps(progress.as_json())))
    for one in (progress, again):
        assert (one.best and one.best.epoch) == best
        assert one.stopping.best == (max(means) if means else None)
        assert one.stopping.epochs_without_gain == without_gain
    assert repr(again) == repr(progress)  # a NaN is not equal to itself
