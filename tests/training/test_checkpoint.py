"""Checkpoint files: whole or passed over, the last two kept, and the best model beside them."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sagemaker_object_detection.training.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    UnusableCheckpoint,
    read,
)

IDENTITY = {"base_network": "resnet-18", "num_classes": 2}


def _checkpoint(value: float = 1.0) -> Checkpoint:
    arrays = {"weight:a": np.full((2, 3), value, np.float32), "weight:b": np.array([1], np.int64)}
    return Checkpoint(arrays, {"position": {"epoch": 3}})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def _model(tmp_path: Path, text: str) -> Path:
    model = tmp_path / "model"
    model.mkdir(exist_ok=True)
    (model / "model.json").write_text(text)
    (model / "weights").write_bytes(text.encode() * 100)
    return model


def test_read_as_it_was_written(folder: Path) -> None:
    written = CheckpointFolder(folder, IDENTITY).save(78, _checkpoint(0.1))
    assert written == folder / "checkpoint-00000078.npz"
    found = CheckpointFolder(folder, IDENTITY).latest()
    assert found is not None
    path, checkpoint = found
    assert path == written
    assert checkpoint.state["position"] == {"epoch": 3}
    for name, array in _checkpoint(0.1).arrays.items():
        np.testing.assert_array_equal(checkpoint.arrays[name], array)
        assert checkpoint.arrays[name].dtype == array.dtype


def test_nothing_to_go_on_from(folder: Path) -> None:
    assert CheckpointFolder(folder, IDENTITY).latest() is None


def test_a_folder_that_cannot_be_written_to() -> None:
    """It is told before training, and not when the first checkpoint is due."""
    with pytest.raises(OSError, match="/proc/self'"):
        CheckpointFolder(Path("/proc/self"), IDENTITY)


def test_what_a_killed_process_left_unfinished_goes(folder: Path) -> None:
    CheckpointFolder(folder, IDENTITY).save(2, _checkpoint())
    (folder / ".checkpoint-00000001.npz.k3j").write_bytes(b"half")
    (folder / ".best-x7f").mkdir()
    (folder / ".best-x7f" / "weights").write_bytes(b"half")
    CheckpointFolder(folder, IDENTITY)
    assert [path.name for path in folder.iterdir()] == ["checkpoint-00000002.npz"]


def test_the_last_two_stay(folder: Path) -> None:
    checkpoints = CheckpointFolder(folder, IDENTITY)
    for number in (5, 10, 99_999_999, 100_000_000, 200_000_000):
        checkpoints.save(number, _checkpoint())
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["checkpoint-100000000.npz", "checkpoint-200000000.npz"]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    """One bit of an array."""
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(7).tobytes())] ^= 1
    path.write_bytes(content)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _other_file(path: Path) -> None:
    np.savez(path, a=np.zeros(3))


def _scrambled(path: Path) -> None:
    """A member's way of compression, in the directory at the end, is one that there is not."""
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 10] = 99
    path.write_bytes(content)


def _pickled(path: Path) -> None:
    np.savez(path, **{"state.json": np.array([{"a": 1}], dtype=object)})


@pytest.mark.parametrize("damage", [_cut, _flip, _empty, _other_file, _scrambled, _pickled])
def test_a_torn_one_is_passed_over(
    damage: Any, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = CheckpointFolder(folder, IDENTITY)
    checkpoints.save(1, _checkpoint(6))
    newest = checkpoints.save(2, _checkpoint(7))
    damage(newest)
    with pytest.raises(UnusableCheckpoint):
        read(newest)
    found = CheckpointFolder(folder, IDENTITY).latest()
    assert found is not None
    assert found[1].arrays["weight:a"][0, 0] == 6
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warning.startswith(f"The checkpoint {newest} is passed over: it is torn (")


def test_one_of_another_training_is_passed_over(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    CheckpointFolder(folder, {**IDENTITY, "num_classes": 5}).save(1, _checkpoint())
    assert CheckpointFolder(folder, IDENTITY).latest() is None
    assert "of another training, whose num_classes is 5 and not 2." in caplog.text


def test_higher_numbers_of_another_training_take_no_place(folder: Path, tmp_path: Path) -> None:
    """As in a folder that was used before, by a job with another seed or number of hosts."""
    earlier = CheckpointFolder(folder, {**IDENTITY, "num_classes": 5})
    earlier.save(90, _checkpoint(5), (_model(tmp_path, "theirs"), 7))
    earlier.save(120, _checkpoint(5))
    checkpoints = CheckpointFolder(folder, IDENTITY)
    for number in (10, 20, 30):
        best = _model(tmp_path, f"after {number}"), number // 10
        checkpoints.save(number, _checkpoint(number), best)
    assert sorted(path.name for path in folder.iterdir()) == [
        *("best-0002", "best-0003", "best-0007"),
        *(f"checkpoint-{number:08d}.npz" for number in (20, 30, 90, 120)),
    ]
    again = CheckpointFolder(folder, IDENTITY)
    found = again.latest()
    assert found is not None
    assert found[1].arrays["weight:a"][0, 0] == 30
    again.restore_best(tmp_path / "model")
    assert (tmp_path / "model" / "model.json").read_text() == "after 30"


def test_foreign_files_are_left_alone(folder: Path) -> None:
    checkpoints = CheckpointFolder(folder, IDENTITY)
    (folder / "notes.txt").write_text("mine")
    (folder / "checkpoint-1.npz.part").write_text("theirs")
    for number in range(4):
        checkpoints.save(number, _checkpoint())
    assert (folder / "notes.txt").exists()
    assert (folder / "checkpoint-1.npz.part").exists()


def test_a_folder_that_is_full_leaves_nothing_behind(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = CheckpointFolder(folder, IDENTITY)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(1, _checkpoint())
    assert not list(folder.iterdir())


def test_the_best_model_comes_back(folder: Path, tmp_path: Path) -> None:
    checkpoints = CheckpointFolder(folder, IDENTITY)
    checkpoints.save(1, _checkpoint(), (_model(tmp_path, "epoch 0"), 0))
    checkpoints.save(2, _checkpoint())  # no better epoch
    shutil.rmtree(tmp_path / "model")
    (tmp_path / "model").mkdir()
    again = CheckpointFolder(folder, IDENTITY)
    assert again.latest() is not None
    again.restore_best(tmp_path / "model")
    assert (tmp_path / "model" / "model.json").read_text() == "epoch 0"
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"model.json", "weights"}


def test_best_models_that_no_checkpoint_refers_to_go(folder: Path, tmp_path: Path) -> None:
    checkpoints = CheckpointFolder(folder, IDENTITY)
    for epoch in range(5):
        checkpoints.save(epoch + 1, _checkpoint(), (_model(tmp_path, f"epoch {epoch}"), epoch))
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == ["best-0003", "best-0004"]


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "no room"])
def test_a_best_model_whose_checkpoint_was_not_written(
    killed: bool, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older checkpoint still has its best model; where there is no room, no copy piles up."""
    checkpoints = CheckpointFolder(folder, IDENTITY)
    checkpoints.save(1, _checkpoint(), (_model(tmp_path, "epoch 0"), 0))

    def fail(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt if killed else OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", fail)
        if killed:
            patch.setattr(CheckpointFolder, "_tidy", lambda *_: None)
        for epoch in (1, 2, 3):
            best = _model(tmp_path, f"epoch {epoch}"), epoch
            with pytest.raises((KeyboardInterrupt, OSError)):
                checkpoints.save(epoch + 1, _checkpoint(), best)
    if not killed:
        assert [path.name for path in folder.iterdir() if path.is_dir()] == ["best-0000"]
    again = CheckpointFolder(folder, IDENTITY)
    assert again.latest() is not None
    again.restore_best(tmp_path / "model")
    assert (tmp_path / "model" / "model.json").read_text() == "epoch 0"
    again.save(9, _checkpoint())
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["best-0000"]


def test_a_damaged_best_model(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = CheckpointFolder(folder, IDENTITY)
    checkpoints.save(1, _checkpoint(1))
    checkpoints.save(2, _checkpoint(2), (_model(tmp_path, "epoch 0"), 0))
    (folder / "best-0000" / "weights").write_bytes(b"other")
    found = CheckpointFolder(folder, IDENTITY).latest()
    assert found is not None
    assert found[1].arrays["weight:a"][0, 0] == 1
    assert "its best model is damaged" in caplog.text
