"""The scores of a job for programs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sagemaker_object_detection.evaluation import report_files
from sagemaker_object_detection.evaluation.report_files import write_results
from sagemaker_object_detection.evaluation.results import Results, ResultsBuilder
from sagemaker_object_detection.evaluation.summary import summarise
from tests.evaluation.reports import class_names, labels_of, made_results, without_detections

ABOUT = {"epoch": 3, "epochs": 5, "definition": "as said", "versions": {"numpy": "1.23.5"}}
NAMES = ("cat", "dog", "cow")


def two_images() -> Results:
    """Cats: of three boxes the detections of 0.9 and 0.7 find two, that of 0.8 none; one finds a
    difficult box. Dogs: a box that nothing finds, a detection where nothing is. Cows: neither.
    """
    builder = ResultsBuilder()
    a, b, c, hard = (0, 0, 0.2, 0.2), (0.3, 0.3, 0.5, 0.5), (0.6, 0.6, 0.8, 0.8), (0.8, 0, 1, 0.2)
    builder.add(
        4,
        np.array([200, 100]),
        np.array([[0, 0.9, *a], [0, 0.8, 0, 0.9, 0.1, 1], [0, 0.6, *hard]], np.float32),
        labels_of([a, b, hard], [0, 0, 0], [False, False, True]),
    )
    builder.add(
        7,
        np.array([100, 100]),
        np.array([[0, 0.7, *c], [1, 0.5, 0, 0, 0.1, 0.1]], np.float32),
        labels_of([c, a], [0, 1]),
    )
    return builder.build()


def written(folder: Path, results: Results, names: tuple[str, ...] | list[str]) -> dict[str, Any]:
    """Write all three files and read them again, by the first word of their names."""
    images = [f"{record}.jpg" for record in results.records]
    write_results(folder, results, images, summarise(results, names, 0.5), ABOUT)
    assert {path.name for path in folder.iterdir()} == {
        "metrics.json",
        "detections.json",
        "ground_truth.json",
    }
    return {path.stem: json.loads(path.read_text("ascii")) for path in folder.iterdir()}


def test_figures_equal_those_worked_out_by_hand(tmp_path: Path) -> None:
    metrics = written(tmp_path, two_images(), NAMES)["metrics"]
    coco = metrics.pop("coco")
    # Recall 1/3 at precision 1, 2/3 at 2/3; the detection of the difficult box counts neither way.
    cat = 1 / 3 * 1 + 1 / 3 * 2 / 3
    score = float(np.float32(0.7))
    assert metrics == {
        "mAP": pytest.approx(cat / 2),
        "mAP_interval": {"low": pytest.approx(0.2778, abs=0.01), "high": 0.5},
        "overlap_threshold": 0.5,
        "AP": {"cat": pytest.approx(cat), "dog": 0.0, "cow": None},
        "best_threshold": {
            "cat": {
                "score": score,
                "f1": pytest.approx(2 / 3),
                "precision": pytest.approx(2 / 3),
                "recall": pytest.approx(2 / 3),
            },
            "dog": None,
            "cow": None,
        },
        "images": 2,
        "boxes": 5,
        "difficult_boxes": 1,
        **ABOUT,
    }
    # Read at 101 points of recall, of which 34 and 33 lie below 1/3 and 2/3.
    assert coco["AP50"] == pytest.approx((34 * 1 + 33 * 2 / 3) / 101 / 2)
    assert coco["AR1"] == pytest.approx((2 / 3 + 0) / 2)


def test_anyone_can_score_the_files_again(tmp_path: Path) -> None:
    metrics = written(tmp_path, made_results(60, 5), class_names(5))["metrics"]
    truth = COCO(str(tmp_path / "ground_truth.json"))
    found = truth.loadRes(str(tmp_path / "detections.json"))
    again = COCOeval(truth, found, "bbox")
    again.evaluate()
    again.accumulate()
    again.summarize()
    assert list(metrics["coco"].values()) == pytest.approx(
        [None if value < 0 else value for value in again.stats.tolist()]
    )
    assert metrics["coco"]["AP50"] == pytest.approx(metrics["mAP"], abs=0.02)
    assert metrics["coco"]["AP50"] > 0.5


def test_detections_written_in_parts_are_those_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = made_results(20, 3, boxes=2)
    whole = written(tmp_path, results, class_names(3))["detections"]
    assert len(whole) == len(results.detections)
    for images in (1, 3, 7, 20):
        monkeypatch.setattr(report_files, "_IMAGES_AT_ONCE", images)
        assert written(tmp_path, results, class_names(3))["detections"] == whole


@pytest.mark.parametrize(
    ("results", "boxes", "found"),
    [
        pytest.param(without_detections(made_results(5, 2)), True, False, id="nothing found"),
        pytest.param(made_results(5, 2, boxes=0), False, True, id="nothing to find"),
        pytest.param(ResultsBuilder().build(), False, False, id="no image"),
    ],
)
def test_what_cannot_be_measured_is_null(
    results: Results, boxes: bool, found: bool, tmp_path: Path
) -> None:
    files = written(tmp_path, results, class_names(2))
    assert files["metrics"]["mAP"] == 0
    assert set(files["metrics"]["AP"].values()) == ({0.0} if boxes else {None})
    assert set(files["metrics"]["best_threshold"].values()) == {None}
    assert bool(files["detections"]) == found
    assert bool(files["ground_truth"]["annotations"]) == boxes
    assert [category["name"] for category in files["ground_truth"]["categories"]] == class_names(2)


def test_names_that_are_no_text_are_kept(tmp_path: Path) -> None:
    """File names are bytes; those that are not UTF-8 come as lone surrogates."""
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    results = made_results(1, 1)
    write_results(tmp_path, results, [name], summarise(results, ["cell"], 0.5), ABOUT)
    truth = json.loads((tmp_path / "ground_truth.json").read_text("ascii"))
    assert truth["images"][0]["file_name"] == name


def test_classes_of_one_name_stay_apart(tmp_path: Path) -> None:
    metrics = written(tmp_path, made_results(30, 3), ["cat", "cat", ""])["metrics"]
    assert list(metrics["AP"]) == ["cat", "1", "2"]
    assert None not in metrics["AP"].values()


def test_a_figure_that_json_does_not_know_is_an_error(tmp_path: Path) -> None:
    results = made_results(1, 1)
    summary = summarise(results, ["cell"], 0.5)
    with pytest.raises(ValueError, match="JSON"):
        write_results(tmp_path, results, ["0.jpg"], summary, {"test": {"mAP": float("nan")}})
    assert list(tmp_path.iterdir()) == []
