"""Detections and boxes in columns."""

from __future__ import annotations

import numpy as np
import pytest

from sagemaker_object_detection.data.dataset import Labels
from sagemaker_object_detection.evaluation.results import Results, ResultsBuilder

BOX = (0.0, 0.25, 0.5, 1.0)


def labels(*class_ids: int) -> Labels:
    count = len(class_ids)
    boxes = np.array([BOX] * count, np.float32).reshape(-1, 4)
    return Labels(boxes, np.array(class_ids, np.int32), np.arange(count) % 2 == 1)


def rows(*heads: tuple[int, float]) -> np.ndarray:
    return np.array([(*head, *BOX) for head in heads], np.float32).reshape(-1, 6)


def built() -> Results:
    builder = ResultsBuilder()
    builder.add(7, np.array([640, 480], np.int32), rows((1, 0.25), (-1, 0.9), (0, 0.5)), labels(3))
    builder.add(2, np.array([10, 20], np.int32), rows(), labels())
    builder.add(9, np.array([30, 40], np.int32), rows((2, 0.75)), labels(1, 2))
    assert len(builder) == 3
    return builder.build()


def test_columns() -> None:
    results = built()
    assert len(results) == 3
    assert results.records.tolist() == [7, 2, 9]
    assert results.sizes.tolist() == [[640, 480], [10, 20], [30, 40]]
    assert results.detections[:, :2].tolist() == [[0, 0.5], [1, 0.25], [2, 0.75]]
    assert results.detection_offsets.tolist() == [0, 2, 2, 3]
    assert results.class_ids.tolist() == [3, 1, 2]
    assert results.difficult.tolist() == [False, False, True]
    assert results.box_offsets.tolist() == [0, 1, 1, 3]
    assert results.boxes.tolist() == [list(BOX)] * 3


def test_one_image() -> None:
    results = built()
    assert [len(results.found(image)) for image in range(3)] == [2, 0, 1]
    assert [results.labels(image).class_ids.tolist() for image in range(3)] == [[3], [], [1, 2]]
    assert results.labels(2).difficult.tolist() == [False, True]


def test_equal_scores_keep_their_order() -> None:
    builder = ResultsBuilder()
    builder.add(0, np.array([1, 1]), rows((2, 0.5), (0, 0.5), (1, 0.5), (3, 0.75)), labels())
    assert builder.build().found(0)[:, 0].tolist() == [3, 2, 0, 1]


@pytest.mark.parametrize("images", [0, 2])
def test_nothing_at_all(images: int) -> None:
    builder = ResultsBuilder()
    for number in range(images):
        builder.add(number, np.array([1, 1]), rows(), labels())
    results = builder.build()
    assert len(results) == images
    shapes = {name: column.shape for name, column in vars(results).items()}
    assert shapes == {
        "records": (images,),
        "sizes": (images, 2),
        "detections": (0, 6),
        "detection_offsets": (images + 1,),
        "boxes": (0, 4),
        "class_ids": (0,),
        "difficult": (0,),
        "box_offsets": (images + 1,),
    }
