"""Scores for a terminal."""

from __future__ import annotations

import numpy as np

from sagemaker_object_detection.evaluation.summary import summarise
from sagemaker_object_detection.tools.evaluate import scores_text
from tests.evaluation.samples import Image, results_of

HERE, THERE = (0.0, 0.0, 0.4, 0.4), (0.6, 0.6, 1.0, 1.0)


def lines(image: Image, *names: str) -> list[str]:
    results = results_of([image], (640, 480))
    return scores_text("validation", results, summarise(results, names, 0.5)).splitlines()


def test_the_table() -> None:
    rows = np.array([(0, 0.75, *HERE), (1, 0.5, *HERE), (1, 0.25, *THERE)], np.float32)
    image = (rows, np.array([HERE, THERE, THERE]), [0, 1, 2], [False, False, True])
    name, counts, head, *classes, mean, interval, coco, more = lines(
        image, "cat", "spotted dog", "hen"
    )
    assert name == "validation"
    assert counts == (
        "  1 images, 2 boxes to find and 1 difficult ones that do not count, 3 detections"
    )
    assert head.split() == ["class", "boxes", "AP", "score", ">=", "F1", "precision", "recall"]
    assert [row.split("  ")[1] for row in classes] == ["cat", "spotted dog", "hen"]
    assert [row.split()[-6:] for row in classes] == [
        ["1", "1.0000", "0.7500", "1.0000", "1.0000", "1.0000"],
        ["1", "0.5000", "0.2500", "0.6667", "0.5000", "1.0000"],
        ["0", "-", "-", "-", "-", "-"],
    ]
    assert len({len(row) for row in (head, *classes)}) == 1
    assert mean.startswith("  mAP 0.7500 (IoU above 0.5, all points")
    assert interval == "      95 % interval 0.7500 to 0.7500, by drawing other images from these"
    assert coco.startswith("  COCO: AP 0.7500, AP50 0.7500")
    assert more.strip().endswith("ARl 1.0000")


def test_names_cannot_steer_the_terminal() -> None:
    image = (np.zeros((0, 6), np.float32), np.array([HERE]), [0], [False])
    text = "\n".join(lines(image, "\x1b[2Jcat"))
    assert "\x1b" not in text
    assert "\\x1b[2Jcat" in text
