"""Drawing detections: where pixels change, in which colors, and odd input."""

import numpy as np
import pytest

from sagemaker_object_detection.colors import color_of
from sagemaker_object_detection.tools.detectors import Prediction
from sagemaker_object_detection.tools.predict import draw_detections

GREY = np.full((300, 400, 3), 128, np.uint8)


def one(
    bbox: tuple[float, float, float, float] = (50, 60, 150, 200),
    class_id: int = 0,
    score: float = 0.9,
    name: str = "cat",
) -> Prediction:
    return Prediction(class_id, name, score, bbox)


def test_the_picture_itself_is_not_changed() -> None:
    drawn = draw_detections(GREY, [one()])
    assert (GREY == 128).all()
    assert drawn.shape == GREY.shape
    assert drawn.dtype == np.uint8


def test_box_in_the_color_of_its_class() -> None:
    drawn = draw_detections(GREY, [one(class_id=2)])
    for x, y in ((50, 130), (150, 130), (100, 200)):
        assert tuple(drawn[y, x]) == color_of(2)
    assert tuple(drawn[150, 100]) == (128, 128, 128)


def test_nothing_to_draw() -> None:
    np.testing.assert_array_equal(draw_detections(GREY, []), GREY)


def test_better_detections_lie_over_worse() -> None:
    better, worse = one(class_id=0, score=0.9), one(class_id=1, score=0.3)
    for predictions in ([better, worse], [worse, better]):
        drawn = draw_detections(GREY, predictions)
        assert tuple(drawn[130, 50]) == color_of(0)


PLACES = [
    pytest.param((-50, -50, 100, 100), id="overhangs at the top left"),
    pytest.param((390, 290, 500, 400), id="overhangs at the bottom right"),
    pytest.param((0, 0, 400, 300), id="the whole picture"),
    pytest.param((100, 100, 100, 100), id="a point"),
    pytest.param((1000, 1000, 1100, 1100), id="outside"),
]


@pytest.mark.parametrize("box", PLACES)
def test_any_place(box: tuple[float, float, float, float]) -> None:
    drawn = draw_detections(GREY, [one(box, name="a rather long class name")])
    assert (drawn != GREY).any()


@pytest.mark.parametrize("shape", [(1, 1, 3), (16, 20, 3), (2000, 3000, 3)])
def test_any_size(shape: tuple[int, int, int]) -> None:
    image = np.zeros(shape, np.uint8)
    assert draw_detections(image, [one((0, 0, shape[1], shape[0]))]).shape == shape


def test_lines_grow_with_the_picture() -> None:
    def width(side: int) -> int:
        image = np.zeros((side, side, 3), np.uint8)
        drawn = draw_detections(image, [one((side / 2, side / 4, side * 0.9, side * 0.9))])
        return int((drawn[side // 2] != 0).any(axis=1).sum())

    assert width(2000) > 2 * width(200)


def test_a_view_in_another_order_of_channels() -> None:
    """OpenCV wants contiguous memory; a flipped view is not."""
    drawn = draw_detections(GREY[..., ::-1], [one()])
    assert tuple(drawn[130, 50]) == color_of(0)


@pytest.mark.parametrize(("name", "shown"), [("Tür", "Tur"), ("猫", "class 3"), ("", "class 3")])
def test_names_that_the_font_has_no_letters_for(name: str, shown: str) -> None:
    drawn = draw_detections(GREY, [one(class_id=3, name=name)])
    np.testing.assert_array_equal(drawn, draw_detections(GREY, [one(class_id=3, name=shown)]))
