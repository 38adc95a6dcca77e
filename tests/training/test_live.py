"""live.json and TensorBoard's event files, read back."""

from __future__ import annotations

import json
import struct
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
)

NAN = float("nan")
LOSSES = {"cross_entropy": 3.0, "smooth_l1": 1.5}


def _position(epoch: int, batches: int) -> Position:
    losses = {"cross_entropy": 3.0 * batches, "smooth_l1": 1.5 * batches}
    return Position(epoch, 100 * epoch + batches, batches, 8 * batches, losses, 4.0, 0.5)


def _result(epoch: int, mean: float) -> EpochResult:
    score = AveragePrecision(mean, (mean, NAN))
    return EpochResult(epoch, {"cross_entropy": 2.0, "smooth_l1": 1.0}, score, 0.01, 80, 8, 1, 2)


def _live(
    folder: Path, epochs: int = 30, tensorboard: bool = False, before: tuple[float, ...] = ()
) -> tuple[LiveView, Progress]:
    """A view, and the progress that it shows: mAPs of epochs before it began."""
    progress = Progress(EarlyStopping(1, 1, 0.0))
    for epoch, mean in enumerate(before):
        progress.add(_result(epoch, mean))
    return LiveView(folder, epochs, tensorboard, progress), progress


def _epoch(live: LiveView, progress: Progress, mean: float) -> None:
    result = _result(len(progress.history), mean)
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
