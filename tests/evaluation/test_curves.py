"""Precision-recall curves and the threshold of the best F1."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sagemaker_object_detection.evaluation.average_precision import score
from sagemaker_object_detection.evaluation.summary import Curve, best_threshold, curves
from tests.evaluation.samples import Image, results_of

HERE, THERE, NOWHERE = (0.0, 0.0, 0.4, 0.4), (0.6, 0.6, 1.0, 1.0), (0.0, 0.9, 0.05, 1.0)


def image(
    found: list[tuple[float, ...]], truth: list[tuple[float, ...]], *difficult: bool
) -> Image:
    """Detections [score, box] and boxes, all of class 0."""
    rows = np.array([(0, *one) for one in found], np.float32).reshape(-1, 6)
    boxes = np.array(truth, np.float32).reshape(-1, 4)
    return rows, boxes, [0] * len(boxes), difficult or [False] * len(boxes)


def curve_of(*images: Image) -> Curve:
    (curve,) = curves(results_of(images), 1, 0.5)
    return curve


def test_a_curve() -> None:
    curve = curve_of(
        image([(0.9, *HERE), (0.5, *NOWHERE)], [HERE]), image([(0.75, *THERE)], [HERE, THERE])
    )
    assert curve.scores.tolist() == pytest.approx([0.9, 0.75, 0.5])
    assert curve.recall == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    assert curve.precision == pytest.approx([1, 1, 2 / 3])
    assert curve.positives == 3
    assert curve.average_precision == pytest.approx(2 / 3)


def test_precision_is_raw() -> None:
    curve = curve_of(image([(0.9, *NOWHERE), (0.5, *HERE)], [HERE]))
    assert curve.precision.tolist() == [0, 0.5]
    assert curve.average_precision == 0.5


def test_what_finds_difficult_boxes_is_left_out() -> None:
    curve = curve_of(image([(0.9, *HERE), (0.5, *THERE)], [HERE, THERE], True, False))
    assert curve.scores.tolist() == [0.5]
    assert curve.positives == 1


def test_without_boxes_there_is_no_recall() -> None:
    curve = curve_of(image([(0.9, *HERE)], []))
    assert math.isnan(curve.average_precision)
    assert np.isnan(curve.recall).tolist() == [True]
    assert curve.precision.tolist() == [0]
    assert best_threshold(curve) is None


def test_curves_have_the_figures_of_the_score() -> None:
    draw = np.random.default_rng(0)
    images: list[Image] = []
    for _ in range(20):
        boxes = np.sort(draw.random((6, 2, 2)), axis=1).reshape(-1, 4)
        found = boxes + draw.normal(0, 0.03, boxes.shape)
        class_ids = draw.integers(0, 3, 6)
        rows = np.column_stack([class_ids, draw.random(6), found])
        images.append((rows, boxes, class_ids.tolist(), (draw.random(6) < 0.2).tolist()))
    results = results_of(images)
    found_curves = curves(results, 3, 0.5)
    expected = score(results, 3, 0.5).per_class
    assert tuple(one.average_precision for one in found_curves) == expected
    assert 0 < min(expected) < max(expected) < 1


def made(scores: list[float], right: list[int], positives: int) -> Curve:
    true = np.cumsum(right)
    precision = true / np.arange(1, len(right) + 1)
    return Curve(true / positives, precision, np.array(scores), 0.5, positives)


BEST = [
    pytest.param([0.9, 0.8, 0.7], [1, 1, 0], 2, 0.8, 1.0, id="before the wrong one"),
    pytest.param([0.9, 0.8, 0.7], [1, 0, 1], 2, 0.7, 0.8, id="past a wrong one"),
    pytest.param([0.9, 0.8, 0.8], [1, 1, 0], 2, 0.8, 0.8, id="equal scores are not parted"),
    pytest.param([0.9, 0.9, 0.9], [0, 0, 1], 1, 0.9, 0.5, id="all of one score"),
    pytest.param([0.9, 0.8, 0.7, 0.6], [1, 0, 0, 1], 2, 0.9, 2 / 3, id="the highest of equals"),
]


@pytest.mark.parametrize(("scores", "right", "positives", "at", "f1"), BEST)
def test_best_threshold(
    scores: list[float], right: list[int], positives: int, at: float, f1: float
) -> None:
    best = best_threshold(made(scores, right, positives))
    assert best is not None
    assert (best.score, best.f1) == (at, pytest.approx(f1))
    taken = [hit for hit, value in zip(right, scores, strict=True) if value >= at]
    assert best.precision == pytest.approx(sum(taken) / len(taken))
    assert best.recall == pytest.approx(sum(taken) / positives)


@pytest.mark.parametrize(
    ("scores", "right"),
    [pytest.param([], [], id="no detection"), pytest.param([0.9], [0], id="none right")],
)
def test_no_threshold_helps(scores: list[float], right: list[int]) -> None:
    assert best_threshold(made(scores, right, 2)) is None


def test_the_threshold_can_be_written_and_read() -> None:
    """As a float of 64 bits it still lets the detection of that float32 score in."""
    curve = curve_of(image([(0.1, *HERE)], [HERE]))
    best = best_threshold(curve)
    assert best is not None
    assert np.float32(0.1) >= float(repr(best.score))
