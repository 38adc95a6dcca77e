"""metrics.csv: a row an epoch that any program can read."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import asdict
from pathlib import Path

from sagemaker_object_detection.evaluation.average_precision import AveragePrecision
from sagemaker_object_detection.training.epochs import EpochResult, write_history


def _result(epoch: int, mean: float) -> EpochResult:
    return EpochResult(
        epoch=epoch,
        losses={"cross_entropy": 4.5, "smooth_l1": 1.25},
        score=AveragePrecision(mean, (mean, math.nan)),
        learning_rate=0.001,
        records=20,
        training_seconds=4.0,
        loader_seconds=0.5,
        validation_seconds=1.0,
    )


def test_rows(tmp_path: Path) -> None:
    path = write_history(tmp_path / "output" / "data", [_result(0, 0.25), _result(1, 0.5)])
    assert path == tmp_path / "output" / "data" / "metrics.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert list(rows[0]) == [
        "epoch",
        "cross_entropy",
        "smooth_l1",
        "mAP",
        "AP_class_0",
        "AP_class_1",
        "learning_rate",
        "images_per_second",
        "loader_seconds",
        "step_seconds",
        "training_seconds",
        "validation_seconds",
    ]
    assert [row["mAP"] for row in rows] == ["0.25", "0.5"]
    assert rows[0]["images_per_second"] == "5.0"
    assert rows[0]["AP_class_1"] == "nan"


def test_written_again_after_every_epoch(tmp_path: Path) -> None:
    write_history(tmp_path, [_result(0, 0.25)])
    path = write_history(tmp_path, [_result(0, 0.25), _result(1, 0.5)])
    assert len(path.read_text().splitlines()) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.csv"]


def test_read_again_as_it_was(tmp_path: Path) -> None:
    result = _result(3, 0.1 + 0.2)
    again = EpochResult.from_json(json.loads(json.dumps(asdict(result))))
    assert repr(again) == repr(result)  # a NaN is not equal to itself
