from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from sagemaker_object_detection import boxes


@pytest.mark.parametrize(
    ("a", "b", "expected", "reason"),
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], 1.0, "a box with itself"),
        ([0, 0, 2, 2], [1, 0, 3, 2], 1 / 3, "half of each"),
        ([0, 0, 1, 1], [1, 0, 2, 1], 0.0, "touching edges share nothing"),
        ([0, 0, 1, 1], [3, 3, 4, 4], 0.0, "apart"),
        ([0, 0, 4, 4], [1, 1, 2, 2], 1 / 16, "inside"),
        ([1, 1, 1, 1], [1, 1, 1, 1], 0.0, "no area at all, no division by zero"),
        ([2, 2, 0, 0], [0, 0, 2, 2], 0.0, "an inverted box has no area"),
    ],
)
def test_iou(a: list[float], b: list[float], expected: float, reason: str) -> None:
    got = boxes.iou(np.array([a], dtype=np.float64), np.array([b], dtype=np.float64))
    assert got.shape == (1, 1)
    assert got[0, 0] == pytest.approx(expected), reason


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0), (2, 5)])
def test_iou_shape(n: int, m: int) -> None:
    assert boxes.iou(np.zeros((n, 4)), np.zeros((m, 4))).shape == (n, m)


def test_clip_and_degenerate() -> None:
    given = np.array([[-0.5, 0.2, 0.5, 1.5], [1.2, 0.1, 1.4, 0.3], [0.1, 0.1, 0.2, 0.3]])
    got = boxes.clip(given)
    np.testing.assert_allclose(got, [[0, 0.2, 0.5, 1], [1, 0.1, 1, 0.3], [0.1, 0.1, 0.2, 0.3]])
    assert boxes.is_degenerate(got).tolist() == [False, True, False]
    np.testing.assert_allclose(boxes.area(got), [0.4, 0.0, 0.02])


def test_clip_in_pixels_uses_width_and_height() -> None:
    got = boxes.clip(np.array([[-5.0, -5.0, 700.0, 500.0]]), width=640, height=480)
    assert got.tolist() == [[0, 0, 640, 480]]


def test_pixels_and_back() -> None:
    given = np.array([[0.25, 0.5, 0.75, 1.0]], dtype=np.float32)
    px = boxes.to_px(given, 640, 480)
    assert px.tolist() == [[160, 240, 480, 480]]
    assert px.dtype == np.float32
    np.testing.assert_array_equal(boxes.from_px(px, 640, 480), given)


def test_size_must_be_positive() -> None:
    with pytest.raises(ValueError, match="0 x 480"):
        boxes.from_px(np.zeros((1, 4)), 0, 480)


@pytest.mark.parametrize(
    ("given", "message", "reason"),
    [
        ([1, 2, 3, 4], r"shape \(n, 4\), got \(4,\)", "one box without its list"),
        ([[1, 2, 3]], r"got \(1, 3\)", "a coordinate is missing"),
        ([[0, 0, 1, 1], [0, 0, float("nan"), 1]], "box 1 is", "not a number"),
    ],
)
def test_check_boxes_refuses(given: npt.ArrayLike, message: str, reason: str) -> None:
    with pytest.raises(ValueError, match=message):
        boxes.check_boxes(given)


def test_check_boxes_accepts_none_at_all() -> None:
    assert boxes.check_boxes([]).shape == (0, 4)
    assert boxes.check_boxes([[1, 2, 3, 4]]).dtype == np.float64
    assert boxes.check_boxes(np.zeros((2, 4), np.float32)).dtype == np.float32
