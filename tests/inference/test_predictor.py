from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sagemaker_object_detection.images import ImageError
from sagemaker_object_detection.inference.predictor import Predictor, to_planes
from tests import tiny_model

ROWS = np.array(
    [
        [0, 0.4, 0.1, 0.1, 0.2, 0.2],
        [-1, 0.99, 0.0, 0.0, 1.0, 1.0],
        [1, 0.9, 0.5, 0.5, 1.0, 1.0],
        [0, 0.05, 0.3, 0.3, 0.4, 0.4],
    ],
    np.float32,
)


class _Engine:
    """Answers fixed rows and remembers what it was shown."""

    image_shape = 16

    def __init__(self, rows: npt.NDArray[np.float32] = ROWS) -> None:
        self.rows = rows
        self.seen: list[npt.NDArray[Any]] = []

    def detect(self, planes: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        self.seen.append(planes)
        return np.repeat(self.rows[None], len(planes), axis=0)


def test_predict() -> None:
    engine = _Engine()
    data = tiny_model.encoded(tiny_model.picture({(0, 0): "red"}, width=64, height=48))
    found = Predictor(engine, ["a", "b"]).predict(data)
    assert found.class_ids.tolist() == [1, 0, 0]
    np.testing.assert_allclose(found.scores, [0.9, 0.4, 0.05])
    np.testing.assert_allclose(found.boxes[0], [0.5, 0.5, 1, 1])
    assert (found.width, found.height, len(found)) == (64, 48, 3)
    (planes,) = engine.seen
    assert planes.shape == (1, 3, 16, 16)
    assert planes.dtype == np.uint8
    assert planes[0, :, 1, 1].tolist() == [255, 0, 0]  # RGB, top left
    assert planes[0, :, 8, 8].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("threshold", "count"), [(0.0, 3), (0.05, 2), (0.4, 1), (0.9, 0)])
def test_above_is_strict(threshold: float, count: int) -> None:
    found = Predictor(_Engine(), ["a", "b"]).finish(ROWS, (64, 48))
    kept = found.above(float(np.float32(threshold)))
    assert len(kept) == len(kept.boxes) == len(kept.class_ids) == count


def test_a_threshold_for_each_class() -> None:
    found = Predictor(_Engine(), ["a", "b"]).finish(ROWS, (64, 48))
    assert found.above((0.1, 0.95)).class_ids.tolist() == [0]
    assert found.above((0.95, 0.1)).class_ids.tolist() == [1]


def test_thresholds_of_a_model_that_states_none() -> None:
    assert Predictor(_Engine(), ["a", "b"]).thresholds == (0.2, 0.2)
    assert Predictor(_Engine(), ["a", "b"], (0.3, 0.6)).thresholds == (0.3, 0.6)


def test_nothing_found() -> None:
    rows = np.full((5, 6), -1, np.float32)
    found = Predictor(_Engine(), ["a"]).finish(rows, (64, 48))
    assert len(found) == 0
    assert found.boxes.shape == (0, 4)


def test_class_without_a_name() -> None:
    with pytest.raises(ValueError, match="class_id 1, but there are only 1 class names"):
        Predictor(_Engine(), ["a"]).finish(ROWS, (64, 48))


def test_not_a_picture_is_named() -> None:
    with pytest.raises(ImageError, match=r"cat\.jpg is not an image"):
        Predictor(_Engine(), ["a", "b"]).predict(b"hello", "cat.jpg")


def test_to_planes() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    planes = to_planes(image)
    np.testing.assert_array_equal(planes, image.transpose(2, 0, 1))
    assert planes.flags.c_contiguous
