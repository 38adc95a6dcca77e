"""Drawing detections: where pixels change, in which colours, and odd input."""

import numpy as np
import pytest

from sagemaker_object_detection.tools.drawing import (
    _ink,
    _printable,
    colour_of,
    draw_detections,
)

GREY = np.full((300, 400, 3), 128, np.uint8)


def test_the_picture_itself_is_not_changed() -> None:
    drawn = draw_detections(GREY, [[50, 60, 150, 200]], [0], [0.9], ["cat"])
    assert (GREY == 128).all()
    assert drawn.shape == GREY.shape
    assert drawn.dtype == np.uint8


def test_box_in_the_colour_of_its_class() -> None:
    drawn = draw_detections(GREY, [[50, 60, 150, 200]], [2], [0.9])
    for x, y in ((50, 130), (150, 130), (100, 200)):
        assert tuple(drawn[y, x]) == colour_of(2)
    assert tuple(drawn[150, 100]) == (128, 128, 128)


def test_nothing_to_draw() -> None:
    np.testing.assert_array_equal(draw_detections(GREY, [], [], []), GREY)


def test_better_detections_lie_over_worse() -> None:
    box = [50, 60, 150, 200]
    for class_ids, scores in (([0, 1], [0.9, 0.3]), ([1, 0], [0.3, 0.9])):
        drawn = draw_detections(GREY, [box, box], class_ids, scores)
        assert tuple(drawn[130, 50]) == colour_of(0)


PLACES = [
    pytest.param([-50, -50, 100, 100], id="overhangs at the top left"),
    pytest.param([390, 290, 500, 400], id="overhangs at the bottom right"),
    pytest.param([0, 0, 400, 300], id="the whole picture"),
    pytest.param([100, 100, 100, 100], id="a point"),
    pytest.param([1000, 1000, 1100, 1100], id="outside"),
]


@pytest.mark.parametrize("box", PLACES)
def test_any_place(box: list[float]) -> None:
    drawn = draw_detections(GREY, [box], [0], [0.5], ["a rather long class name"])
    assert (drawn != GREY).any()


@pytest.mark.parametrize("shape", [(1, 1, 3), (16, 20, 3), (2000, 3000, 3)])
def test_any_size(shape: tuple[int, int, int]) -> None:
    image = np.zeros(shape, np.uint8)
    assert draw_detections(image, [[0, 0, shape[1], shape[0]]], [0], [0.5]).shape == shape


def test_lines_grow_with_the_picture() -> None:
    def width(side: int) -> int:
        image = np.zeros((side, side, 3), np.uint8)
        drawn = draw_detections(image, [[side / 2, side / 4, side * 0.9, side * 0.9]], [0], [0.5])
        return int((drawn[side // 2] != 0).any(axis=1).sum())

    assert width(2000) > 2 * width(200)


def test_a_view_in_another_order_of_channels() -> None:
    """OpenCV wants contiguous memory; a flipped view is not."""
    drawn = draw_detections(GREY[..., ::-1], [[50, 60, 150, 200]], [0], [0.9])
    assert tuple(drawn[130, 50]) == colour_of(0)


def test_disagreeing_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="1 boxes, 2 class ids, 1 scores"):
        draw_detections(GREY, [[0, 0, 1, 1]], [0, 1], [0.5])


NAMES = [
    pytest.param(0, ["cat"], "cat", id="a name"),
    pytest.param(0, ["Tür"], "Tur", id="accents are left out"),
    pytest.param(0, ["猫"], "class 0", id="no letters of the font"),
    pytest.param(3, ["cat"], "class 3", id="no name for the class"),
    pytest.param(3, [], "class 3", id="no names"),
    pytest.param(-1, ["cat"], "class -1", id="a negative id is no index"),
    pytest.param(7, {7: "cat"}, "cat", id="names by id"),
    pytest.param(6, {7: "cat"}, "class 6", id="no name by that id"),
]


@pytest.mark.parametrize(("class_id", "names", "shown"), NAMES)
def test_printable_names(class_id: int, names: list[str] | dict[int, str], shown: str) -> None:
    assert _printable(class_id, names) == shown


def test_colours_of_neighbours_differ() -> None:
    colours = np.array([colour_of(k) for k in range(20)], np.float64)
    assert len({tuple(c) for c in colours.tolist()}) == 20
    assert (np.abs(np.diff(colours, axis=0)).sum(axis=1) > 150).all()


@pytest.mark.parametrize(("colour", "ink"), [((255, 255, 0), 0), ((20, 20, 200), 255)])
def test_ink_is_readable(colour: tuple[int, int, int], ink: int) -> None:
    assert _ink(colour) == (ink, ink, ink)
