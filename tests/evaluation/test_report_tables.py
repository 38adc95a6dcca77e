"""Rows of the report's tables."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sagemaker_object_detection.colors import color_of, css
from sagemaker_object_detection.evaluation.report_tables import (
    class_scores,
    images_per_second,
    matrix,
    mistakes,
    time_spent,
)
from sagemaker_object_detection.evaluation.summary import Curve, Summary
from tests.evaluation.reports import class_names, made_epochs


def summary_of(confusion: NDArray[Any], average: tuple[float, ...] = ()) -> Summary:
    """A summary with this confusion matrix and these average precisions, NaN without boxes."""
    classes = len(confusion) - 1
    nothing = np.zeros(0)
    curves = tuple(
        Curve(nothing, nothing, nothing, value, 0 if np.isnan(value) else 5)
        for value in average or (0.5,) * classes
    )
    return Summary(
        0.5, tuple(class_names(classes)), curves, (None,) * classes, confusion, {}, np.array([0, 1])
    )


SMALL = np.array([[60, 0, 16], [10, 800, 190], [0, 200, 0]])


def test_classes_stand_by_their_score_and_those_without_boxes_last() -> None:
    rows = class_scores(summary_of(np.zeros((4, 4), np.int64), (0.1, float("nan"), 0.9)))
    assert rows[0].color == css(color_of(2))
    assert [(row.label, row.average_precision, row.boxes) for row in rows] == [
        ("kind 2", 0.9, 5),
        ("kind 0", 0.1, 5),
        ("kind 1", None, 0),
    ]


def test_a_matrix_has_its_counts_and_what_they_are_part_of() -> None:
    found = matrix(summary_of(SMALL))
    assert [[cell.count for cell in row] for row in found.rows] == SMALL.tolist()
    assert [[cell.total for cell in row] for row in found.rows] == [
        [76, 76, 76],
        [1000, 1000, 1000],
        [70, 1000, 0],  # what was found where nothing is, out of the detections of that class
    ]
    assert [[cell.kind for cell in row] for row in found.rows] == [
        ["hit", "miss", "miss"],
        ["miss", "hit", "miss"],
        ["miss", "miss", "none"],
    ]
    assert found.rows[1][0].tint == pytest.approx(0.1)
    assert found.rows[1][0].title == "kind 1 taken for kind 0"
    assert found.left_out == 0


def test_of_many_classes_those_most_confused_are_shown_in_their_order() -> None:
    counts = np.diag(np.full(51, 1000))
    confused = [3, 7, *range(20, 38)]
    for number, class_id in enumerate(confused):
        counts[class_id, confused[number - 1]] = 1 + number
    counts[40, 50] = 5000  # not found, but taken for no other
    found = matrix(summary_of(counts))
    assert found.labels == tuple(f"kind {class_id}" for class_id in confused)
    assert found.left_out == 30
    assert {len(row) for row in found.rows} == {21}
    assert [row[i].count for i, row in enumerate(found.rows[:-1])] == [1000] * 20


def test_mistakes_stand_by_their_number() -> None:
    rows = mistakes(summary_of(SMALL))
    assert [(row.text, row.count, row.total, row.of) for row in rows] == [
        ("kind 1 found where there is nothing", 200, 1000, "detections of kind 1"),
        ("kind 1 not found", 190, 1000, "boxes of kind 1"),
        ("kind 0 not found", 16, 76, "boxes of kind 0"),
        ("kind 1 taken for kind 0", 10, 1000, "boxes of kind 1"),
    ]
    assert mistakes(summary_of(np.diag([3, 4, 0]))) == []
    assert len(mistakes(summary_of(np.ones((30, 30), np.int64)))) == 10


TIMES = [
    pytest.param(
        {"training_seconds": 10, "loader_seconds": 2, "step_seconds": 7, "validation_seconds": 3},
        {"steps": 14, "waiting for data": 4, "rest of training": 2, "validation": 6},
        id="all measured",
    ),
    pytest.param(
        {"training_seconds": 0.3, "loader_seconds": 0.1, "step_seconds": 0.2},
        {"steps": 0.4, "waiting for data": 0.2},
        id="what floats leave behind is no rest",
    ),
    pytest.param(
        {"training_seconds": 10, "loader_seconds": 2},
        {"waiting for data": 4, "training": 16},
        id="steps not measured",
    ),
    pytest.param({}, {}, id="nothing measured"),
]


@pytest.mark.parametrize(("row", "expected"), TIMES)
def test_time_is_added_up(row: dict[str, float], expected: dict[str, float]) -> None:
    spans = {span.name: span.seconds for span in time_spent([row, row])}
    assert spans == pytest.approx(expected)
    assert list(spans) == list(expected)


def test_images_a_second_are_of_all_epochs() -> None:
    rows = [
        {"images_per_second": 10, "training_seconds": 1},
        {"images_per_second": 1, "training_seconds": 9},
    ]
    assert images_per_second(rows) == pytest.approx(1.9)
    assert images_per_second(made_epochs(3)) == pytest.approx(2.8)
    assert images_per_second([]) == 0
