"""COCO's form of results, and its suite of scores."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sagemaker_object_detection.evaluation import coco
from sagemaker_object_detection.evaluation.average_precision import score
from sagemaker_object_detection.evaluation.coco import SUITE, coco_suite
from sagemaker_object_detection.evaluation.results import Results
from tests.evaluation.samples import Image, results_of

LEFT, RIGHT = (0.0, 0.0, 0.25, 0.5), (0.5, 0.5, 1.0, 1.0)
SIZE = (400, 200)


def made(
    *found: tuple[int, float, tuple[float, ...]],
    truth: tuple[tuple[int, tuple[float, ...]], ...] = ((0, LEFT), (1, RIGHT)),
    difficult: tuple[bool, ...] = (),
) -> Image:
    rows = np.array([(c, s, *box) for c, s, box in found], np.float32).reshape(-1, 6)
    boxes = np.array([box for _, box in truth], np.float32).reshape(-1, 4)
    return rows, boxes, [c for c, _ in truth], difficult or [False] * len(boxes)


def random_results(seed: int, images: int = 60, classes: int = 3) -> Results:
    """About 4 boxes an image, found about 3 times over, badly."""
    draw = np.random.default_rng(seed)
    scenes: list[Image] = []
    for _ in range(images):
        corners = draw.random((draw.integers(1, 8), 2)) * 0.7
        boxes = np.hstack([corners, corners + 0.1 + 0.2 * draw.random(corners.shape)])
        class_ids = draw.integers(0, classes, len(boxes))
        near = draw.integers(0, len(boxes), 12)
        places = boxes[near] + draw.normal(0, 0.02, (12, 4))
        rows = np.column_stack([class_ids[near], draw.random(12), places]).astype(np.float32)
        flags = [False] * len(boxes)
        scenes.append((rows, boxes.astype(np.float32), class_ids.tolist(), flags))
    return results_of(scenes, (640, 480))


def test_ground_truth() -> None:
    results = results_of([made(), made(truth=((1, LEFT),), difficult=(True,))], SIZE)
    content = coco.ground_truth(results, ["a.jpg", "b.jpg"], ["cat", "dog"])
    assert content["images"] == [
        {"id": 0, "file_name": "a.jpg", "width": 400, "height": 200},
        {"id": 1, "file_name": "b.jpg", "width": 400, "height": 200},
    ]
    assert content["categories"] == [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    first, second, third = content["annotations"]
    assert first == {
        "id": 1,
        "image_id": 0,
        "category_id": 0,
        "bbox": [0, 0, 100, 100],
        "area": 10000,
        "iscrowd": 0,
        "ignore": 0,
    }
    assert second["bbox"] == [200, 100, 200, 100]
    assert (third["image_id"], third["category_id"], third["ignore"]) == (1, 1, 1)


def test_detections() -> None:
    results = results_of([made(), made((1, 0.25, RIGHT), (0, 0.5, LEFT), (-1, 0.9, LEFT))], SIZE)
    assert coco.detections(results) == [
        {"image_id": 1, "category_id": 0, "bbox": [0, 0, 100, 100], "score": 0.5},
        {"image_id": 1, "category_id": 1, "bbox": [200, 100, 200, 100], "score": 0.25},
    ]


def test_a_name_for_each_image() -> None:
    with pytest.raises(ValueError, match="shorter"):
        coco.ground_truth(results_of([made(), made()], SIZE), ["a.jpg"], ["cat", "dog"])


def test_files_can_be_scored_by_pycocotools(tmp_path: Path) -> None:
    """What is written is what anyone's program reads; without difficult boxes the scores agree."""
    results = random_results(1)
    truth, found = tmp_path / "ground_truth.json", tmp_path / "detections.json"
    names = [f"{number}.jpg" for number in range(len(results))]
    truth.write_text(json.dumps(coco.ground_truth(results, names, ["a", "b", "c"])))
    found.write_text(json.dumps(coco.detections(results)))
    with contextlib.redirect_stdout(io.StringIO()):
        reader = COCO(str(truth))
        evaluation = COCOeval(reader, reader.loadRes(str(found)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    expected = [None if value < 0 else value for value in evaluation.stats]
    suite = coco_suite(results, 3)
    assert list(suite) == list(SUITE)
    assert list(suite.values()) == pytest.approx(expected)
    assert suite["AP"] is not None
    assert 0.05 < suite["AP"] < 0.95


NONE = dict.fromkeys(SUITE)
SUITES = [
    pytest.param(
        [made((0, 0.9, LEFT), (1, 0.8, RIGHT))],
        NONE | dict.fromkeys([n for n in SUITE if n not in ("APs", "APm", "ARs", "ARm")], 1.0),
        id="all found; boxes are of 100 x 100 and 200 x 100 pixels, large",
    ),
    pytest.param(
        [made((0, 0.9, RIGHT))],
        dict.fromkeys(SUITE, 0.0) | dict.fromkeys(("APs", "APm", "ARs", "ARm")),
        id="nothing found",
    ),
    pytest.param([made()], {"AP": 0.0, "AR100": 0.0}, id="no detection at all"),
    pytest.param([made((0, 0.9, LEFT), truth=())], NONE, id="no box at all"),
    pytest.param([], NONE, id="no image at all"),
    pytest.param([made((0, 0.9, LEFT))], {"AP": 0.5, "AR1": 0.5}, id="one class of two"),
    pytest.param(
        [made((0, 0.9, (0.0, 0.0, 0.25, 0.38)), truth=((0, LEFT),))],
        {"AP50": 1.0, "AP75": 1.0, "AP": 0.6},
        id="IoU 0.76: right at 0.5, 0.55 .. 0.75",
    ),
    pytest.param(
        [made((0, 0.9, LEFT), (0, 0.8, RIGHT), truth=((0, LEFT), (0, RIGHT)))],
        {"AR1": 0.5, "AR10": 1.0},
        id="one detection of a class and image",
    ),
    pytest.param(
        [made((0, 0.9, LEFT), truth=((0, LEFT), (1, RIGHT)), difficult=(False, True))],
        {"AP": 1.0, "AR100": 1.0},
        id="a difficult box need not be found",
    ),
    pytest.param(
        [
            made(
                (0, 0.9, RIGHT),
                (0, 0.8, LEFT),
                truth=((0, LEFT), (0, RIGHT)),
                difficult=(False, True),
            )
        ],
        {"AP": 1.0},
        id="a detection of a difficult box does not count",
    ),
    pytest.param(
        [made((0, 0.9, (0, 0, 0.05, 0.1)), truth=((0, (0, 0, 0.05, 0.1)),))],
        {"APs": 1.0, "APm": None, "APl": None},
        id="20 x 20 pixels are small",
    ),
    pytest.param(
        [made((0, 0.9, (0, 0, 0.125, 0.25)), truth=((0, (0, 0, 0.125, 0.25)),))],
        {"APs": None, "APm": 1.0, "APl": None},
        id="50 x 50 pixels are in the middle",
    ),
]


@pytest.mark.parametrize(("images", "expected"), SUITES)
def test_suite(
    images: list[Image], expected: dict[str, float | None], capfd: pytest.CaptureFixture[str]
) -> None:
    suite = coco_suite(results_of(images, SIZE), 2)
    assert {name: suite[name] for name in expected} == {
        name: None if value is None else pytest.approx(value) for name, value in expected.items()
    }
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("seed", range(5))
def test_ap50_is_near_ours(seed: int) -> None:
    """101 points instead of all; and a second choice of boxes, which rarely matters."""
    results = random_results(seed)
    ours, suite = score(results, 3, 0.5).mean, coco_suite(results, 3)
    assert suite["AP50"] == pytest.approx(ours, abs=0.01)
    assert 0.1 < ours < 0.95


def test_only_the_best_hundred_detections_of_an_image_count() -> None:
    """Ours counts all: the hundred and first is the right one."""
    wrong = [(0, 0.9 - number / 1000, RIGHT) for number in range(100)]
    results = results_of([made(*wrong, (0, 0.1, LEFT), truth=((0, LEFT),))], SIZE)
    assert coco_suite(results, 1)["AP50"] == 0
    assert score(results, 1, 0.5).mean == pytest.approx(1 / 101)


def test_a_second_choice_of_boxes() -> None:
    """COCO lets a detection take a box that it overlaps second best; VOC and ours do not."""
    near = (0.02, 0.0, 0.27, 0.5)
    between = (0.005, 0.0, 0.255, 0.5)
    results = results_of(
        [made((0, 0.9, LEFT), (0, 0.8, between), truth=((0, LEFT), (0, near)))], SIZE
    )
    assert coco_suite(results, 1)["AP50"] == pytest.approx(1)
    assert score(results, 1, 0.5).mean == pytest.approx(0.5)


def test_a_second_detection_of_a_difficult_box_is_wrong() -> None:
    truth = ((0, LEFT), (0, RIGHT))
    twice = made(
        (0, 0.9, RIGHT), (0, 0.8, RIGHT), (0, 0.7, LEFT), truth=truth, difficult=(False, True)
    )
    results = results_of([twice], SIZE)
    assert coco_suite(results, 1)["AP50"] == pytest.approx(0.5)
    assert score(results, 1, 0.5).mean == 1
