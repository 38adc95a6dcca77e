"""What becomes of images at a threshold, and which of them are shown."""

import math

import numpy as np
import pytest

from sagemaker_object_detection.evaluation.report_pictures import Outcomes, choose, outcomes
from sagemaker_object_detection.evaluation.results import ResultsBuilder
from sagemaker_object_detection.evaluation.summary import summarise
from tests.evaluation.reports import class_names, labels_of, made_results

A, B, C = (0, 0, 0.2, 0.2), (0.3, 0.3, 0.5, 0.5), (0.6, 0.6, 0.8, 0.8)


def test_outcomes_equal_those_worked_out_by_hand() -> None:
    builder = ResultsBuilder()
    size = np.array([100, 100])
    rows = np.array(
        [[0, 0.9, *A], [0, 0.95, *B], [0, 0.7, *A], [1, 0.6, *C], [1, 0.01, *C]], np.float32
    )
    # A is found, and once more; B is difficult; C is taken for the other class; one below the rest.
    builder.add(0, size, rows, labels_of([A, B, C], [0, 0, 0], [False, True, False]))
    builder.add(1, size, rows[3:4], labels_of([C], [1]))
    builder.add(2, size, rows[:0], labels_of([], []))
    results = builder.build()
    summary = summarise(results, class_names(2), 0.5)
    assert summary.thresholds == pytest.approx((0.9, 0.6))
    outcome = outcomes(results, summary)
    # Best first: of B, which counts neither way, of A, of A once more below the best F1's score.
    assert outcome.shown.tolist() == [False, True, False, True, False, True]
    assert outcome.right.tolist() == [False, True, False, False, False, True]
    assert outcome.found.tolist() == [1, 1, 0]
    assert outcome.false.tolist() == [1, 0, 0]
    assert outcome.missed.tolist() == [1, 0, 0]
    assert outcome.score.tolist() == pytest.approx([0.9, 0.6, 0])
    assert outcome.f1[:2].tolist() == [0.5, 1]
    assert math.isnan(outcome.f1[2])


def test_outcomes_add_up_to_the_thresholds() -> None:
    """Detections of all images together have the precision and recall of the best F1."""
    results = made_results(80, 1)
    summary = summarise(results, ["cell"], 0.5)
    outcome, best = outcomes(results, summary), summary.best[0]
    assert best is not None
    found, false = outcome.found.sum(), outcome.false.sum()
    assert found / (found + false) == pytest.approx(best.precision)
    assert found / (found + outcome.missed.sum()) == pytest.approx(best.recall)


def outcome_of(rows: list[tuple[int, int, int, float]]) -> Outcomes:
    """Images with so many found, false and missed, and this score."""
    found, false, missed, score = (np.array(column) for column in zip(*rows, strict=True))
    return Outcomes(np.zeros(0, bool), np.zeros(0, bool), found, false, missed, score)


CHOICES = [
    pytest.param(
        [(5, 0, 0, 0.7), (5, 0, 0, 0.9), (5, 1, 0, 0.99), *[(0, 0, 0, 0)] * 6],
        {"best": [1, 0, 2], "worst": [], "missed": []},
        id="best F1 first, then the better scores",
    ),
    pytest.param(
        [(9, 0, 0, 0.9), (1, 3, 0, 0.9), (5, 3, 0, 0.9), (1, 4, 0, 0.9), (1, 1, 0, 0.9)],
        {"best": [0, 2], "worst": [3, 1, 4], "missed": []},
        id="most false ones first, then the lower F1; none of the best",
    ),
    pytest.param(
        [(9, 0, 0, 0.9), (1, 0, 2, 0.9), (1, 2, 7, 0.9)],
        {"best": [0], "worst": [2], "missed": [2, 1]},
        id="most missed first; one image can be both",
    ),
    pytest.param(
        [(0, 0, 3, 0.0), (0, 2, 0, 0.0)],
        {"best": [], "worst": [1], "missed": [0]},
        id="nothing found is never among the best",
    ),
    pytest.param([(1, 0, 0, 0.5)], {"best": [0], "worst": [], "missed": []}, id="one image"),
]


@pytest.mark.parametrize(("rows", "expected"), CHOICES)
def test_images_are_chosen(
    rows: list[tuple[int, int, int, float]], expected: dict[str, list[int]]
) -> None:
    assert choose(outcome_of(rows)) == expected


def test_twelve_of_a_kind_are_chosen() -> None:
    chosen = choose(outcome_of([(5, k % 7, k % 5, k / 200) for k in range(200)]))
    assert {kind: len(images) for kind, images in chosen.items()} == {
        "best": 12,
        "worst": 12,
        "missed": 12,
    }
