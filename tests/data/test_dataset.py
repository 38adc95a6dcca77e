"""The labelled data set: which record owns which labels."""

from __future__ import annotations

import numpy as np
import pytest

from sagemaker_object_detection.data.dataset import Dataset
from tests.data.samples import MemorySource, plain, raw

BOXES = [[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1]]


@pytest.fixture
def data() -> Dataset:
    """Records 1, 2 and 4 of five, with two boxes, none and one."""
    return Dataset(
        source=MemorySource([raw(plain((level, 0, 0))) for level in range(5)]),
        indices=np.array([1, 2, 4]),
        offsets=np.array([0, 2, 2, 3]),
        boxes=np.float32(BOXES),
        class_ids=np.array([7, 8, 9], np.int32),
        difficult=np.array([False, True, False]),
    )


@pytest.mark.parametrize(
    ("index", "boxes", "class_ids", "difficult", "reason"),
    [
        (0, BOXES[:2], [7, 8], [False, True], "two boxes, from the beginning"),
        (1, [], [], [], "an image without boxes owns none of its neighbours'"),
        (2, BOXES[2:], [9], [False], "the last"),
    ],
)
def test_labels_of_a_record(
    data: Dataset,
    index: int,
    boxes: list[list[float]],
    class_ids: list[int],
    difficult: list[bool],
    reason: str,
) -> None:
    got = data.labels(index)
    assert got[0].shape == (len(boxes), 4), reason
    assert [part.tolist() for part in got] == [boxes, class_ids, difficult], reason


def test_positions_are_those_of_the_records_that_passed(data: Dataset) -> None:
    assert len(data) == 3
    assert [data.name(i) for i in range(3)] == ["record 1", "record 2", "record 4"]
    assert [data.image(i) for i in range(3)] == [plain((level, 0, 0)) for level in (1, 2, 4)]
