"""Results read back from COCO files, ours and others'."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sagemaker_object_detection.evaluation import coco
from sagemaker_object_detection.evaluation.coco import read_results
from sagemaker_object_detection.platform.errors import ClientError
from tests.evaluation.samples import results_of

TRUTH: dict[str, Any] = {
    "images": [{"id": 42, "width": 100, "height": 50}, {"id": 7, "width": 10, "height": 20}],
    "categories": [{"id": 18, "name": "dog"}, {"id": 17, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 18, "bbox": [1, 2, 4, 6], "area": 24},
        {"id": 2, "image_id": 42, "category_id": 17, "bbox": [50, 25, 50, 25], "iscrowd": 1},
        {"id": 3, "image_id": 7, "category_id": 17, "bbox": [0, 0, 10, 20], "iscrowd": 0},
    ],
}
FOUND: list[dict[str, Any]] = [
    {"image_id": 7, "category_id": 17, "bbox": [0, 0, 5, 10], "score": 0.25},
    {"image_id": 42, "category_id": 17, "bbox": [0, 0, 50, 50], "score": 0.125},
    {"image_id": 7, "category_id": 18, "bbox": [0, 10, 10, 10], "score": 0.5},
]


def written(folder: Path, truth: object = TRUTH, found: object = FOUND) -> tuple[Path, Path]:
    files = folder / "truth.json", folder / "found.json"
    for file, content in zip(files, (truth, found), strict=True):
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    return files


def test_files_of_another_program(tmp_path: Path) -> None:
    """Images in the order of the file, classes in that of their ids."""
    read = read_results(*written(tmp_path))
    results, names = read.results, read.class_names
    assert names == ("cat", "dog")
    assert results.records.tolist() == [42, 7]
    assert results.sizes.tolist() == [[100, 50], [10, 20]]
    assert results.found(0).tolist() == [[0, 0.125, 0, 0, 0.5, 1]]
    assert results.found(1).tolist() == [[1, 0.5, 0, 0.5, 1, 1], [0, 0.25, 0, 0, 0.5, 0.5]]
    assert results.labels(0).boxes.tolist() == [[0.5, 0.5, 1, 1]]
    assert results.labels(0).difficult.tolist() == [True]  # a crowd
    assert results.labels(1).boxes == pytest.approx(np.array([[0.1, 0.1, 0.5, 0.4], [0, 0, 1, 1]]))
    assert results.labels(1).class_ids.tolist() == [1, 0]
    assert results.labels(1).difficult.tolist() == [False, False]


def test_what_is_written_is_read_bit_by_bit(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    images = []
    for count in (3, 0, 5):
        boxes = np.sort(draw.random((count, 2, 2)), axis=1).reshape(-1, 4).astype(np.float32)
        places = np.sort(draw.random((9, 2, 2)), axis=1).reshape(-1, 4)
        rows = np.column_stack([draw.integers(0, 2, 9), draw.random(9), places])
        flags = (draw.random(count) < 0.5).tolist()
        images.append((rows.astype(np.float32), boxes, draw.integers(0, 2, count).tolist(), flags))
    results = results_of(images, (641, 479))
    truth = coco.ground_truth(results, ["a", "b", "c"], ["red", "blue"])
    read = read_results(*written(tmp_path, truth, coco.detections(results)))
    again, names = read.results, read.class_names
    assert names == ("red", "blue")
    for column in vars(results):
        expected, found = getattr(results, column), getattr(again, column)
        np.testing.assert_array_equal(found, expected, column)
        assert found.dtype == expected.dtype, column


def _random_files(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Boxes of few whole pixels, so that IoU often lies at a threshold and scores are often equal;
    a third are of crowds, and areas are those of outlines.
    """
    draw = np.random.default_rng(seed)
    images = [{"id": number, "width": 200, "height": 200} for number in (9, 4, 6)]
    categories = [{"id": number, "name": f"class {number}"} for number in (3, 90)]

    def placed() -> dict[str, Any]:
        corner, sides = draw.integers(0, 4, 2) * 10, draw.integers(1, 13, 2) * 10
        return {
            "image_id": int(draw.choice([9, 4, 6])),
            "category_id": int(draw.choice([3, 90])),
            "bbox": [*corner.tolist(), *sides.tolist()],
        }

    annotations = [
        {**placed(), "id": 100 + number, "iscrowd": int(number % 3 == 0)} for number in range(24)
    ]
    for one in annotations:
        one["area"] = one["bbox"][2] * one["bbox"][3] * draw.uniform(0.2, 1)
    found = [{**placed(), "score": int(draw.integers(1, 9)) / 8} for _ in range(60)]
    truth = {"images": images, "categories": categories, "annotations": annotations}
    return truth, found


@pytest.mark.parametrize("seed", range(5))
def test_the_suite_is_what_pycocotools_says_of_the_files(seed: int, tmp_path: Path) -> None:
    files = written(tmp_path, *_random_files(seed))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(files[0]))
        evaluation = COCOeval(truth, truth.loadRes(str(files[1])), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    expected = [None if value < 0 else value for value in evaluation.stats]
    suite = read_results(*files).suite
    assert list(suite.values()) == expected
    assert suite["AP"] is not None
    assert 0 < suite["AP"] < 1


def test_the_size_of_a_box_without_an_area_is_its_own(tmp_path: Path) -> None:
    truth, found = _random_files(0)
    for one in truth["annotations"]:
        one["area"] = one["bbox"][2] * one["bbox"][3]
    expected = read_results(*written(tmp_path, truth, found)).suite
    for one in truth["annotations"]:
        del one["area"]
    assert read_results(*written(tmp_path, truth, found)).suite == expected


def test_byte_order_marks(tmp_path: Path) -> None:
    """As training reads them: files that were saved on Windows."""
    files = written(tmp_path)
    expected = read_results(*files).results
    for file in files:
        file.write_text(file.read_text(), encoding="utf-8-sig")
    read = read_results(*files)
    results, names = read.results, read.class_names
    assert names == ("cat", "dog")
    np.testing.assert_array_equal(results.detections, expected.detections)


@pytest.mark.parametrize(
    ("truth", "found"),
    [
        pytest.param(TRUTH, [], id="nothing found"),
        pytest.param(TRUTH | {"annotations": []}, FOUND, id="nothing there"),
        pytest.param(TRUTH | {"images": [], "annotations": []}, [], id="no images"),
    ],
)
def test_empty_files(truth: dict[str, Any], found: list[Any], tmp_path: Path) -> None:
    results = read_results(*written(tmp_path, truth, found)).results
    assert len(results) == len(truth["images"])
    assert len(results.detections) == len(found)
    assert len(results.boxes) == len(truth["annotations"])


WRONG = [
    pytest.param("{", None, r"truth\.json, line 1, column 2: not valid JSON", id="no JSON"),
    pytest.param(
        FOUND, None, r"truth\.json: Expected `object`, got `array`", id="results for truth"
    ),
    pytest.param(
        None, TRUTH, r"found\.json: Expected `array`, got `object`", id="truth for results"
    ),
    pytest.param(
        TRUTH | {"images": [{"id": 1, "width": 0, "height": 5}]},
        None,
        r"Expected `int` >= 1 - at `\$\.images\[0\]\.width`",
        id="no size",
    ),
    pytest.param(
        TRUTH | {"categories": []}, None, r"length >= 1 - at `\$\.categories`", id="no categories"
    ),
    pytest.param(
        TRUTH | {"images": TRUTH["images"] * 2}, None, "the image id 42 twice", id="image twice"
    ),
    pytest.param(
        TRUTH | {"categories": TRUTH["categories"] * 2},
        None,
        "the category id 17 twice",
        id="category twice",
    ),
    pytest.param(
        None,
        [*FOUND, FOUND[0] | {"image_id": 8}],
        r"found\.json, object 3: .*truth\.json has no image_id 8",
        id="no such image",
    ),
    pytest.param(
        None, [FOUND[0] | {"category_id": 1}], "object 0: .*no category_id 1", id="no such class"
    ),
    pytest.param(
        None,
        [FOUND[0] | {"bbox": [1, 2, 3]}],
        r"length >= 4 - at `\$\[0\]\.bbox`",
        id="three corners",
    ),
    pytest.param(
        None,
        '[{"image_id": 7, "category_id": 17, "bbox": [0, 0, 1, NaN], "score": 1}]',
        r"found\.json: Expected `float` .*\$\[0\]\.bbox\[3\]",
        id="NaN",
    ),
    pytest.param(
        None, [{"image_id": 7}], r"required field `category_id` - at `\$\[0\]`", id="no score"
    ),
    pytest.param(
        TRUTH | {"images": [{"id": 2**63, "width": 9, "height": 9}]},
        None,
        r"<= 9223372036854775807 - at `\$\.images\[0\]\.id`",
        id="an id of more than 64 bits",
    ),
    pytest.param(
        TRUTH | {"images": [{"id": 1, "width": 2**40, "height": 9}]},
        None,
        r"<= 1000000 - at `\$\.images\[0\]\.width`",
        id="more pixels than there are",
    ),
    pytest.param(
        None,
        [FOUND[0] | {"bbox": [0, 0, 1e300, 1]}],
        r"<= 10000000\.0 - at `\$\[0\]\.bbox\[2\]`",
        id="infinite as float32",
    ),
    pytest.param(
        None, [FOUND[0] | {"score": 1e300}], r"<= 1e\+30 - at `\$\[0\]\.score`", id="infinite score"
    ),
]


@pytest.mark.parametrize(("truth", "found", "what"), WRONG)
def test_files_that_are_wrong(truth: object, found: object, what: str, tmp_path: Path) -> None:
    files = written(tmp_path, TRUTH if truth is None else truth, FOUND if found is None else found)
    with pytest.raises(ClientError, match=what):
        read_results(*files)
