"""The confusion matrix, by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from sagemaker_object_detection.evaluation.summary import confusion
from tests.evaluation.samples import results_of

HERE, THERE, NOWHERE = (0.0, 0.0, 0.4, 0.4), (0.6, 0.6, 1.0, 1.0), (0.0, 0.9, 0.05, 1.0)
NEAR_HERE = (0.1, 0.0, 0.5, 0.4)  # IoU 0.6 with HERE
BETWEEN = (0.05, 0.0, 0.45, 0.4)  # IoU 0.78 with both

Row = tuple[float, ...]
CAT, DOG, NONE = 0, 1, 2

# detections, boxes, their classes, which are difficult; the entries (row, column) expected
CASES: list[object] = [
    pytest.param([(CAT, 0.9, HERE)], [HERE], [CAT], [], {(CAT, CAT): 1}, id="right"),
    pytest.param([(DOG, 0.9, HERE)], [HERE], [CAT], [], {(CAT, DOG): 1}, id="of another class"),
    pytest.param(
        [(CAT, 0.9, NOWHERE)], [HERE], [DOG], [], {(NONE, CAT): 1, (DOG, NONE): 1}, id="elsewhere"
    ),
    pytest.param([], [HERE, THERE], [CAT, DOG], [], {(CAT, NONE): 1, (DOG, NONE): 1}, id="missed"),
    pytest.param([(CAT, 0.9, HERE)], [], [], [], {(NONE, CAT): 1}, id="nothing is there"),
    pytest.param([], [], [], [], {}, id="neither"),
    pytest.param(
        [(CAT, 0.8, HERE), (DOG, 0.9, NEAR_HERE)],
        [HERE],
        [CAT],
        [],
        {(CAT, DOG): 1, (NONE, CAT): 1},
        id="the better score takes the box, though its class is wrong",
    ),
    pytest.param(
        [(CAT, 0.9, HERE), (CAT, 0.8, HERE)],
        [HERE],
        [CAT],
        [],
        {(CAT, CAT): 1, (NONE, CAT): 1},
        id="found twice",
    ),
    pytest.param(
        [(CAT, 0.9, HERE), (DOG, 0.8, BETWEEN)],
        [HERE, NEAR_HERE],
        [CAT, DOG],
        [],
        {(CAT, CAT): 1, (DOG, DOG): 1},
        id="a box that is still free is taken",
    ),
    pytest.param(
        [(CAT, 0.9, HERE), (DOG, 0.8, HERE)],
        [HERE],
        [CAT],
        [0],
        {},
        id="a difficult box counts nowhere, nor what finds it",
    ),
    pytest.param([], [HERE], [CAT], [0], {}, id="nor if it is missed"),
    pytest.param(
        [(DOG, 0.9, HERE)],
        [HERE, NEAR_HERE],
        [CAT, DOG],
        [0],
        {(DOG, DOG): 1},
        id="a difficult box comes last, whatever the overlap",
    ),
    pytest.param([(CAT, 0.49, HERE)], [HERE], [CAT], [], {(CAT, NONE): 1}, id="below the score"),
    pytest.param([(CAT, 0.5, HERE)], [HERE], [CAT], [], {(CAT, CAT): 1}, id="just the score"),
    pytest.param(
        [(DOG, 0.49, HERE)], [HERE], [DOG], [], {(DOG, DOG): 1}, id="each class has its score"
    ),
]


@pytest.mark.parametrize(("found", "truth", "class_ids", "difficult", "expected"), CASES)
def test_one_image(
    found: Sequence[tuple[int, float, Row]],
    truth: list[Row],
    class_ids: list[int],
    difficult: list[int],
    expected: dict[tuple[int, int], int],
) -> None:
    rows = np.array([(c, s, *box) for c, s, box in found], np.float32).reshape(-1, 6)
    boxes = np.array(truth, np.float32).reshape(-1, 4)
    flags = [number in difficult for number in range(len(truth))]
    table = confusion(results_of([(rows, boxes, class_ids, flags)]), 2, 0.5, (0.5, 0.25))
    assert {(r, c): n for (r, c), n in np.ndenumerate(table) if n} == expected
    assert table.dtype == np.int64
    assert table.shape == (3, 3)


def test_overlap_has_to_exceed_the_threshold() -> None:
    rows = np.array([(0, 0.9, 0, 0, 0.5, 1)], np.float32)
    results = results_of([(rows, np.array([[0, 0, 1, 1]]), [0], [False])])
    assert confusion(results, 1, 0.5, (0.5,)).tolist() == [[0, 1], [1, 0]]
    assert confusion(results, 1, 0.49, (0.5,)).tolist() == [[1, 0], [0, 0]]


def test_images_add_up() -> None:
    rows = np.array([(1, 0.9, *HERE), (0, 0.8, *THERE)], np.float32)
    one = (rows, np.array([HERE, THERE]), [1, 1], [False, False])
    table = confusion(results_of([one] * 5), 2, 0.5, (0.5, 0.5))
    assert table.tolist() == [[0, 0, 0], [5, 5, 0], [0, 0, 0]]


def test_every_box_and_every_detection_is_counted_once() -> None:
    draw = np.random.default_rng(0)
    images = []
    for _ in range(30):
        boxes = np.sort(draw.random((8, 2, 2)), axis=1).reshape(-1, 4)
        near = np.tile(boxes, (2, 1)) + draw.normal(0, 0.02, (16, 4))
        rows = np.column_stack([draw.integers(0, 3, 16), draw.random(16), near])
        images.append((rows, boxes, draw.integers(0, 3, 8).tolist(), [False] * 8))
    results = results_of(images)
    table = confusion(results, 3, 0.5, (0.3, 0.5, 0.7))
    assert table[:3].sum(axis=1).tolist() == np.bincount(results.class_ids).tolist()
    taken = [
        int(((results.detections[:, 0] == c) & (results.detections[:, 1] >= least)).sum())
        for c, least in enumerate((0.3, 0.5, 0.7))
    ]
    assert table[:, :3].sum(axis=0).tolist() == taken
    assert table[3, 3] == 0


def test_one_threshold_for_each_class() -> None:
    with pytest.raises(ValueError, match="expected 2 thresholds, got 1"):
        confusion(results_of([]), 2, 0.5, (0.5,))
