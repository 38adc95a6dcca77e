"""What the epochs of a training came to, when it stops early, and what is written of it."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import math
import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event

from sagemaker_object_detection.evaluation.average_precision import AveragePrecision
from sagemaker_object_detection.training.epochs import (
    LIVE_FILE,
    EarlyStopping,
    EpochResult,
    LiveView,
    Position,
    Progress,
    versions,
    write_history,
)


@pytest.mark.parametrize(
    ("min_epochs", "patience", "tolerance", "values", "stops_after"),
    [
        pytest.param(1, 2, 0, [0.5, 0.5, 0.5, 0.9], 3, id="two epochs without a gain"),
        pytest.param(1, 2, 0, [0.5, 0.4, 0.6, 0.5, 0.6, 0.7], 5, id="a gain starts the count anew"),
        pytest.param(1, 1, 0, [0.5, 0.6, 0.7, 0.8], None, id="it always gains"),
        pytest.param(1, 1, 0, [0.5, 0.5], 2, id="the same is no gain"),
        pytest.param(1, 2, 0, [0.5, 0.3, 0.4, 0.9], 3, id="better than the last, not the best"),
        pytest.param(6, 2, 0, [0.5, 0.4, 0.4, 0.4, 0.4, 0.4], 6, id="never before min_epochs"),
        pytest.param(5, 2, 0, [0.5, 0.4, 0.4, 0.4, 0.6, 0.5, 0.5], 7, id="a gain at min_epochs"),
        pytest.param(1, 1, 0.1, [0.5, 0.54], 2, id="8 % more, 10 % wanted"),
        pytest.param(1, 1, 0.1, [0.5, 0.56, 0.62], None, id="12 % and 11 % more"),
        pytest.param(
            1, 2, 0.1, [0.5, 0.54, 0.58], 3, id="small gains add up to none: the best moves along"
        ),
        pytest.param(1, 2, 0.1, [0.0, 0.001, 0.002], None, id="any gain on zero is a gain"),
        pytest.param(1, 3, 0, [0.0, 0.0, 0.0, 0.0], 4, id="zero is no gain on zero"),
        pytest.param(1, 1, 0, [0.5], None, id="one epoch has nothing to be compared with"),
        pytest.param(10, 5, 0, [0.1] * 12, 10, id="the defaults"),
    ],
)
def test_when_it_stops(
    min_epochs: int, patience: int, tolerance: float, values: list[float], stops_after: int | None
) -> None:
    rule = EarlyStopping(min_epochs, patience, tolerance)
    stopped = next((i for i, v in enumerate(values, 1) if rule.should_stop(i, v)), None)
    assert stopped == stops_after


def _progress(*means: float) -> Progress:
    progress = Progress(EarlyStopping(1, 3, 0.5))
    for epoch, mean in enumerate(means):
        score = AveragePrecision(mean, (mean, math.nan))
        progress.add(EpochResult(epoch, {"cross_entropy": 1.0}, score, 0.1, 8, 1.0, 0.5, 2.0))
        progress.stopping.should_stop(epoch + 1, mean)
    return progress


@pytest.mark.parametrize(
    ("means", "best", "without_gain"),
    [
        pytest.param((), None, 0, id="before the first epoch"),
        pytest.param((0.2, 0.4, 0.3), 1, 1, id="the best, not the last"),
        pytest.param((0.4, 0.5), 1, 1, id="the best, though no gain by the rule"),
        pytest.param((0.4, 0.4), 1, 1, id="of equals the later"),
    ],
)
def test_over_a_restart(means: tuple[float, ...], best: int | None, without_gain: int) -> None:
    progress = _progress(*means)
    again = _progress()
    again.restore(json.loads(json.dumps(progress.as_json())))
    for one in (progress, again):
        assert (one.best and one.best.epoch) == best
        assert one.stopping.best == (max(means) if means else None)
        assert one.stopping.epochs_without_gain == without_gain
    assert repr(again) == repr(progress)  # a NaN is not equal to itself


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


NAN = float("nan")
LOSSES = {"cross_entropy": 3.0, "smooth_l1": 1.5}


def _position(epoch: int, batches: int) -> Position:
    losses = {"cross_entropy": 3.0 * batches, "smooth_l1": 1.5 * batches}
    return Position(epoch, 100 * epoch + batches, batches, 8 * batches, losses, 4.0, 0.5)


def _live_result(epoch: int, mean: float) -> EpochResult:
    score = AveragePrecision(mean, (mean, NAN))
    return EpochResult(epoch, {"cross_entropy": 2.0, "smooth_l1": 1.0}, score, 0.01, 80, 8, 1, 2)


def _live(
    folder: Path, epochs: int = 30, tensorboard: bool = False, before: tuple[float, ...] = ()
) -> tuple[LiveView, Progress]:
    """A view, and the progress that it shows: mAPs of epochs before it began."""
    progress = Progress(EarlyStopping(1, 1, 0.0))
    for epoch, mean in enumerate(before):
        progress.add(_live_result(epoch, mean))
    return LiveView(folder, epochs, tensorboard, progress), progress


def _epoch(live: LiveView, progress: Progress, mean: float) -> None:
    result = _live_result(len(progress.history), mean)
    progress.add(result)
    progress.position = Position(result.epoch + 1, 100)
    live.epoch(result)


def _read(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / LIVE_FILE).read_text())
    return content


def _events(folder: Path) -> list[tuple[str, int, float]]:
    """(name, step, value) of every scalar; records are length, CRC, event, CRC."""
    (file,) = (folder / "tensorboard").iterdir()
    content, found = file.read_bytes(), []
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = Event.FromString(content[12 : 12 + length])
        found += [(v.tag, event.step, v.simple_value) for v in event.summary.value]
        content = content[16 + length :]
    return found


def test_inside_an_epoch(tmp_path: Path) -> None:
    live, progress = _live(tmp_path / "output")
    progress.position = _position(2, 50)
    live.batches(LOSSES, 0.005)
    found = _read(tmp_path / "output")
    assert found.pop("time") > 0
    assert found == {
        "state": "training",
        "epoch": 2,
        "epochs": 30,
        "batches": 50,
        "images": 400,
        "updates": 250,
        "images_per_second": 100.0,
        "losses": {"cross_entropy": 3.0, "smooth_l1": 1.5},
        "learning_rate": 0.005,
        "validation": None,
        "best": None,
    }
    assert [path.name for path in (tmp_path / "output").iterdir()] == [LIVE_FILE]


def test_inside_a_validation(tmp_path: Path) -> None:
    live, progress = _live(tmp_path)
    _epoch(live, progress, 0.5)
    progress.position = _position(1, 50)
    live.validating(0.005)
    found = _read(tmp_path)
    assert (found["state"], found["epoch"], found["batches"]) == ("validating", 1, 50)
    assert (found["losses"], found["learning_rate"]) == (LOSSES, 0.005)
    assert found["validation"] == {"epoch": 0, "mAP": 0.5}


def test_after_epochs(tmp_path: Path) -> None:
    live, progress = _live(tmp_path)
    _epoch(live, progress, 0.5)
    _epoch(live, progress, 0.25)
    progress.position = _position(2, 10)
    live.batches(LOSSES, 0.005)
    found = _read(tmp_path)
    assert found["validation"] == {"epoch": 1, "mAP": 0.25}
    assert found["best"] == {"epoch": 0, "mAP": 0.5}


@pytest.mark.parametrize("epochs", [0, 1])
def test_the_end(epochs: int, tmp_path: Path) -> None:
    live, progress = _live(tmp_path, 1)
    if epochs:
        _epoch(live, progress, 0.5)
    progress.position = Position(epochs, 100 * epochs)
    live.end("stopped")
    found = _read(tmp_path)
    assert (found["state"], found["epoch"]) == ("stopped", epochs)
    assert found["losses"] == ({"cross_entropy": 2.0, "smooth_l1": 1.0} if epochs else {})


def test_events(tmp_path: Path) -> None:
    live, progress = _live(tmp_path, tensorboard=True)
    progress.position = _position(0, 100)
    live.batches(LOSSES, 0.005)
    _epoch(live, progress, 0.5)
    live.end("finished")
    events = _events(tmp_path)
    assert ("batches/cross_entropy", 100, 3.0) in events
    assert ("epochs/mAP", 0, 0.5) in events
    assert ("epochs/AP_class_0", 0, 0.5) in events
    assert not [event for event in events if event[0] == "epochs/AP_class_1"]  # it is NaN


def test_epochs_before_a_checkpoint(tmp_path: Path) -> None:
    """A container that is started again finds neither file, and shows what went before."""
    live, _ = _live(tmp_path, tensorboard=True, before=(0.5, 0.25))
    live.end("finished")
    found = _read(tmp_path)
    assert found["validation"] == {"epoch": 1, "mAP": 0.25}
    assert found["best"] == {"epoch": 0, "mAP": 0.5}
    assert found["losses"] == {"cross_entropy": 2.0, "smooth_l1": 1.0}
    means = [event[1:] for event in _events(tmp_path) if event[0] == "epochs/mAP"]
    assert means == [(0, 0.5), (1, 0.25)]


def test_only_the_main_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    live = LiveView(None, 30, True, Progress(EarlyStopping(1, 1, 0.0)))
    live.batches(LOSSES, 0.005)
    live.end("finished")
    assert list(tmp_path.iterdir()) == []


def test_versions_where_the_wheel_of_mxnet_has_another_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in the image for cards, where it is mxnet-cu112."""
    read = importlib.metadata.version

    def renamed(name: str) -> str:
        if name == "mxnet":
            raise importlib.metadata.PackageNotFoundError(name)
        return read(name)

    monkeypatch.setattr(importlib.metadata, "version", renamed)
    found = versions()
    assert found["mxnet"] == "1.9.1"
    assert set(found) == {"mxnet", "gluoncv", "numpy", "opencv-python-headless", "openvino"}
