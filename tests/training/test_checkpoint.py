"""Checkpoint files, whole or passed over; what goes into one, and comes back out of it."""

from __future__ import annotations

import errno
import json
import logging
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import pytest

from sagemaker_object_detection.evaluation.average_precision import AveragePrecision
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training import checkpoint
from sagemaker_object_detection.training.checkpoint import (
    Checkpoint,
    CheckpointFolder,
    Checkpoints,
    UnusableCheckpoint,
    read,
)
from sagemaker_object_detection.training.communicator import Communicator
from sagemaker_object_detection.training.epochs import (
    EarlyStopping,
    EpochResult,
    Position,
    Progress,
)
from sagemaker_object_detection.training.optimizer import WeightAverage, make_gradient_trainer
from sagemaker_object_detection.training.update import Learner
from tests.training.jobs import make_job
from tests.training.networks import make_network
from tests.training.processes import InThreads, communicators, in_all, worlds

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


LOSSES = {"cross_entropy": 6.0, "smooth_l1": 3.0}
SOLO = Communicator(World())


def _job(base: Path, **given: object) -> Job:
    return replace(make_job(base, **given), checkpoint_dir=base / "checkpoints")


def _trained(value: float = 0.0, averaged: bool = True) -> Learner:
    """A network whose weights all have this value, and their average one more."""
    network = make_network()
    parameters = dict(network.parameters.items())
    for parameter in parameters.values():
        parameter.set_data(mx.nd.full(parameter.shape, value))
    average = WeightAverage(parameters, 0.9) if averaged else None
    for array in average.arrays.values() if average else ():
        array[:] = value + 1
    options = {"learning_rate": 0.1, "momentum": 0.9}
    trainer = make_gradient_trainer(parameters, "sgd", options, World())
    return Learner(network, trainer, [mx.cpu()], SOLO, average)


def _progress(*values: float, position: Position | None = None) -> Progress:
    progress = Progress(EarlyStopping(1, 9, 0.0), position=position or Position())
    for epoch, value in enumerate(values):
        score = AveragePrecision(value, (value, math.nan))
        progress.add(EpochResult(epoch, LOSSES, score, 0.1, 8, 1.0, 0.5, 1.0))
        progress.stopping.should_stop(epoch + 1, value)
    return progress


def _weights(trained: Learner) -> set[float]:
    return {v for p in trained.network.parameters.values() for v in p.data().asnumpy().ravel()}


def _save(job: Job, progress: Progress, communicator: Communicator = SOLO) -> Checkpoints:
    trained = _trained(4.0)
    checkpoints = Checkpoints(job, trained.network, communicator)
    checkpoints.save(trained, progress, 8)
    return checkpoints


def _restore(checkpoints: Checkpoints, learner: Learner, images: int = 8) -> Position:
    """Where training goes on."""
    progress = _progress()
    checkpoints.restore(learner, progress, images)
    return progress.position


def test_all_comes_back(tmp_path: Path) -> None:
    job, position = _job(tmp_path), Position(2, 9, 1, 4, dict(LOSSES), 2.5, 0.5)
    progress = _progress(0.5, 0.25, position=position)
    _save(job, progress)
    trained, again = _trained(), _progress()
    checkpoints = Checkpoints(job, trained.network, SOLO)
    assert checkpoints.first_epoch == 2
    checkpoints.restore(trained, again, 8)
    assert again.position == position
    assert _weights(trained) == {4.0}
    assert trained.average is not None
    assert {v for a in trained.average.arrays.values() for v in a.asnumpy().ravel()} == {5.0}
    assert repr(again) == repr(progress)  # a NaN is not equal to itself


def test_an_average_that_there_was_not_before_begins_at_the_weights(tmp_path: Path) -> None:
    job, trained = _job(tmp_path), _trained(4.0, averaged=False)
    Checkpoints(job, trained.network, SOLO).save(
        trained, _progress(0.5, position=Position(1, 4)), 8
    )
    other = _trained()
    _restore(Checkpoints(job, other.network, SOLO), other)
    assert other.average is not None
    assert {v for a in other.average.arrays.values() for v in a.asnumpy().ravel()} == {4.0}


@pytest.mark.parametrize(
    ("position", "warned"),
    [
        pytest.param(Position(2, 9, 1, 4, dict(LOSSES), 2.5, 0.5), True, id="inside an epoch"),
        pytest.param(Position(2, 9), False, id="between epochs it is no matter"),
    ],
)
def test_other_data_than_before(
    position: Position, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The batches that were done are not those of this epoch, which begins anew."""
    _save(_job(tmp_path), _progress(0.5, 0.25, position=position))
    trained = _trained()
    checkpoints = Checkpoints(_resumed(tmp_path), trained.network, SOLO)
    assert _restore(checkpoints, trained, 10) == Position(2, 9)
    assert ("10 images and had 8 at the checkpoint" in caplog.text) == warned


def _resumed(base: Path, **given: object) -> Job:
    """The job of that folder, in a container of its own."""
    return replace(make_job(base / "again", **given), checkpoint_dir=base / "checkpoints")


@pytest.mark.parametrize(
    ("given", "goes_on"),
    [
        pytest.param({}, True, id="the same"),
        pytest.param({"epochs": 99, "learning_rate": 0.5}, True, id="what may change"),
        pytest.param({"optimizer": "rmsprop"}, False, id="optimizer"),
        pytest.param({"mini_batch_size": 3}, False, id="mini_batch_size"),
        pytest.param({"seed": 3}, False, id="seed"),
        pytest.param({"image_shape": 512}, False, id="image_shape"),
    ],
)
def test_of_what_training_it_is(
    given: dict[str, object], goes_on: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _save(_job(tmp_path), _progress(0.5, 0.25, position=Position(2, 9)))
    trained = _trained()
    checkpoints = Checkpoints(_resumed(tmp_path, **given), trained.network, SOLO)
    assert _restore(checkpoints, trained).epoch == (2 if goes_on else 0)
    if not goes_on:
        (name,) = given
        assert f"of another training, whose {name} is" in caplog.text


def test_other_settings_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They fit the weights, so that training goes on; but it is not the training it was."""
    _save(_job(tmp_path), _progress(0.5, 0.25, position=Position(2, 9)))
    trained = _trained()
    again = _resumed(tmp_path, learning_rate=0.25, augmentation="flip")
    checkpoints = Checkpoints(again, trained.network, SOLO)
    assert _restore(checkpoints, trained).epoch == 2
    assert "other settings: augmentation is 'flip' and was 'all', learning_rate is '0.25'" in (
        caplog.text
    )


def test_without_a_folder_nothing_happens(tmp_path: Path) -> None:
    job = make_job(tmp_path)
    _save(job, _progress(0.5, 0.25, position=Position(2, 9)))
    trained = _trained()
    assert _restore(Checkpoints(job, trained.network, SOLO), trained) == Position()
    assert _weights(trained) == {0.0}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("failing", ["_copy", "save"])
def test_no_room_for_a_checkpoint(
    failing: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training goes on; the next checkpoint has the best model that there is then."""

    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    job, trained = _job(tmp_path), _trained(4.0)
    checkpoints = Checkpoints(job, trained.network, SOLO)
    (job.paths.model_dir / "model.json").write_text(json.dumps("epoch 0"))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.CheckpointFolder, failing, full)
        checkpoints.save(trained, _progress(0.5, position=Position(1, 4)), 8)
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warning.startswith("No checkpoint was written ([Errno 28] No space left")
    checkpoints.save(trained, _progress(0.5, 0.25, position=Position(2, 8)), 8)

    resumed, other = _resumed(tmp_path), _trained()
    position = _restore(Checkpoints(resumed, other.network, SOLO), other)
    assert position == Position(2, 8)
    assert json.loads((resumed.paths.model_dir / "model.json").read_text()) == "epoch 0"


def test_what_the_other_processes_are_told(tmp_path: Path) -> None:
    """Only the first host has the file, and only it writes one; its losses are the sums of all."""
    jobs = [_job(tmp_path / str(host)) for host in range(2)]
    position = Position(2, 9, 1, 4, dict(LOSSES), 2.5, 0.5)
    made = communicators(worlds(2))

    def save(communicator: InThreads) -> int:
        job = jobs[communicator.world.rank]
        return _save(job, _progress(0.5, 0.25, position=position), communicator).first_epoch

    assert in_all(made, save) == [0, 0]
    assert not (tmp_path / "1" / "checkpoints").exists()

    def restore(communicator: InThreads) -> tuple[int, Position, set[float]]:
        trained = _trained()
        job = jobs[communicator.world.rank]
        checkpoints = Checkpoints(job, trained.network, communicator)
        return (
            checkpoints.first_epoch,
            _restore(checkpoints, trained),
            (_weights(trained)),
        )

    first, second = in_all(made, restore)
    assert first == (2, position, {4.0})
    assert (second[0], second[2]) == (2, {4.0})
    assert second[1].losses["cross_entropy"] == 0.0
    assert second[1].records == 4
    assert (second[1].updates, second[1].batches) == (9, 1)


def test_the_optimisers_state_comes_back(tmp_path: Path) -> None:
    """Two steps of which the second is made after a restart are two steps."""

    def step(trained: Learner) -> None:
        for parameter in trained.network.parameters.values():
            parameter.list_grad()[0][:] = 1.0
            parameter.list_data()[0]._fresh_grad = True
        trained.trainer.step(0.1)

    whole, trained = _trained(), _trained()
    step(whole)
    step(whole)
    step(trained)
    job = _job(tmp_path)
    Checkpoints(job, trained.network, SOLO).save(trained, _progress(position=Position(0, 1, 1)), 8)
    other = _trained()
    _restore(Checkpoints(job, other.network, SOLO), other)
    step(other)
    for name, parameter in whole.network.parameters.items():
        np.testing.assert_array_equal(
            other.network.parameters[name].data().asnumpy(), parameter.data().asnumpy()
        )
