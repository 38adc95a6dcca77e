"""Pictures of the report and what is drawn on them."""

import base64

import cv2
import numpy as np
import pytest

from sagemaker_object_detection.evaluation.report_pictures import (
    Picture,
    draw,
    outcomes,
    small_jpeg,
)
from sagemaker_object_detection.evaluation.results import ResultsBuilder
from sagemaker_object_detection.evaluation.summary import summarise
from tests.evaluation.reports import labels_of

A, B, C = (0.1, 0.1, 0.3, 0.5), (0.6, 0.1, 0.8, 0.5), (0.4, 0.6, 0.9, 0.9)
RIGHT, WRONG = [0, 0.9, *A], [1, 0.95, *C]


def encoded(height: int, width: int) -> bytes:
    """A PNG of this size, dark on the left."""
    pixels = np.full((height, width, 3), 200, np.uint8)
    pixels[:, : width // 2] = 20
    return cv2.imencode(".png", pixels)[1].tobytes()


def drawn(
    rows: list[list[float]],
    boxes: list[tuple[float, ...]],
    size: tuple[int, int] = (640, 320),
    names: tuple[str, str] = ("cat", "dog"),
    difficult: list[bool] | None = None,
) -> Picture:
    """One image with these detections and boxes of cats. A second one sees to it that every score
    counts.
    """
    builder = ResultsBuilder()
    found = np.array(rows, np.float32).reshape(-1, 6)
    labels = labels_of(boxes, [0] * len(boxes), difficult)
    builder.add(5, np.array(size), found, labels)
    low = np.array([[0, 0.02, *A], [1, 0.02, *B]], np.float32)
    for record in range(6, 30):
        builder.add(record, np.array(size), low, labels_of([A, B], [0, 1]))
    results = builder.build()
    summary = summarise(results, names, 0.5)
    assert max(summary.thresholds) < 0.1
    asked: list[int] = []

    def picture(record: int) -> bytes:
        asked.append(record)
        return encoded(size[1], size[0])

    made = draw(results, summary, outcomes(results, summary), 0, "{}.png".format, picture)
    assert asked == [5]
    return made


def test_boxes_are_drawn_by_what_became_of_them() -> None:
    picture = drawn([RIGHT, WRONG], [A, B])
    assert (picture.name, picture.width, picture.height) == ("5.png", 480, 240)
    assert [(box.kind, box.x, box.y, box.width, box.height) for box in picture.boxes] == [
        ("truth", 48, 24, 96, 96),
        ("right", 48, 24, 96, 96),
        ("false", 192, 144, 240, 72),
        ("missed", 288, 24, 96, 96),
    ]
    assert [box.title for box in picture.boxes] == ["cat", "cat 0.90", "dog 0.95", "cat"]
    assert (picture.found, picture.false, picture.missed, picture.f1) == (1, 1, 1, 0.5)


def test_a_difficult_box_is_never_missed() -> None:
    picture = drawn([RIGHT], [A, B], difficult=[False, True])
    assert [(box.kind, box.title) for box in picture.boxes] == [
        ("truth", "cat"),
        ("truth", "cat, difficult"),
        ("right", "cat 0.90"),
    ]
    assert picture.missed == 0


def test_captions_run_towards_the_middle_and_stay_on_the_picture() -> None:
    left, right = drawn([RIGHT, [1, 0.5, 0.7, 0.0, 1, 0.3]], [A]).captions
    assert (left.x, left.y, left.anchor, left.text) == (48, 19, "start", "cat 0.90")
    assert (right.x, right.y, right.anchor, right.text) == (480, 18, "end", "dog 0.50")


def test_names_that_are_long_are_cut() -> None:
    (caption,) = drawn([RIGHT], [A], names=("x" * 50, "dog")).captions
    assert len(caption.text) <= 19
    assert caption.text.endswith("x\N{HORIZONTAL ELLIPSIS}")


@pytest.mark.parametrize(
    ("found", "false", "kinds"),
    [
        pytest.param(5, 1, {"right", "false"}, id="room for all"),
        pytest.param(6, 1, {"false"}, id="errors before the rest"),
        pytest.param(1, 7, set(), id="too many"),
    ],
)
def test_captions_are_few(found: int, false: int, kinds: set[str]) -> None:
    places = [(0.02 + 0.14 * k, 0.1, 0.12 + 0.14 * k, 0.3) for k in range(7)]
    rows = [[0, 0.9, *place] for place in places[:found]]
    rows += [[0, 0.8, x, 0.6, z, 0.9] for x, _, z, _ in places[:false]]
    assert {caption.kind for caption in drawn(rows, places[:found]).captions} == kinds


def test_a_narrow_picture_has_no_captions() -> None:
    picture = drawn([RIGHT], [A], size=(100, 300))
    assert (picture.width, picture.height) == (160, 480)
    assert picture.captions == ()


SIZES = [
    pytest.param((100, 200), (100, 200), id="small ones stay as they are"),
    pytest.param((960, 480), (480, 240), id="wide"),
    pytest.param((480, 960), (240, 480), id="high"),
    pytest.param((1, 5000), (1, 480), id="a line"),
]


@pytest.mark.parametrize(("size", "expected"), SIZES)
def test_pictures_are_made_small(size: tuple[int, int], expected: tuple[int, int]) -> None:
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[..., 0] = 255
    small = cv2.imdecode(np.frombuffer(small_jpeg(pixels), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert small.shape[1::-1] == expected
    assert small.reshape(-1, 3).mean(axis=0) == pytest.approx([254, 0, 0], abs=3), "RGB"


def test_noise_is_made_coarser() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3)).astype(np.uint8)
    assert len(small_jpeg(noise)) <= 75_000


def test_the_page_has_the_picture_itself() -> None:
    picture = drawn([RIGHT], [A])
    data = np.frombuffer(base64.b64decode(picture.jpeg), np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    assert pixels.shape == (240, 480)
    assert pixels[:, :200].max() < 60 < 160 < pixels[:, 280:].min()
