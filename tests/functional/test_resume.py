"""Checkpoints of real processes: killed, stopped, and gone on from."""

from __future__ import annotations

import csv
import json
import random
import shutil
import signal
import time
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest

from sagemaker_object_detection.model import artifact
from tests.training_job import TrainingJob, picture, pictures

EPOCHS = 4
IMAGES = 6
LOOKS = ("epoch", "cross_entropy", "smooth_l1", "mAP", "learning_rate")


def _job(base: Path, **given: object) -> TrainingJob:
    job = TrainingJob(base)
    settings = {"epochs": EPOCHS, "mini_batch_size": 2, "precision": "float32", **given}
    job.recordio(pictures(0, IMAGES), pictures(20, 2), **settings)
    (job.paths.config_dir / "checkpointconfig.json").write_text(
        json.dumps({"LocalPath": "/opt/ml/checkpoints"})
    )
    return job


def _new_container(job: TrainingJob) -> None:
    """What the platform gives a job that starts again: its checkpoints, and nothing else."""
    shutil.rmtree(job.paths.model_dir, ignore_errors=True)
    shutil.rmtree(job.paths.output_data_dir.parent, ignore_errors=True)


def _history(job: TrainingJob) -> list[dict[str, str]]:
    with (job.paths.output_data_dir / "metrics.csv").open(encoding="utf-8") as file:
        return [{name: row[name] for name in LOOKS} for row in csv.DictReader(file)]


def _weights(job: TrainingJob) -> dict[str, np.ndarray]:
    arrays = mx.nd.load(str(job.paths.model_dir / artifact.PARAMS_FILE))
    return {name: array.asnumpy() for name, array in arrays.items()}


def _checkpoints(job: TrainingJob) -> list[str]:
    folder = job.paths.base / "checkpoints"
    return sorted(path.name for path in folder.glob("checkpoint-*")) if folder.exists() else []


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    job = _job(tmp_path_factory.mktemp("undisturbed"))
    assert job.run() == 0, job.log
    assert len(_history(job)) == EPOCHS
    return job


def _same(job: TrainingJob, other: TrainingJob) -> None:
    """Not only within the spread of runs: every figure and every weight is the same."""
    assert _history(job) == _history(other)
    ours, theirs = _weights(job), _weights(other)
    assert set(ours) == set(theirs)
    for name, values in ours.items():
        np.testing.assert_array_equal(values, theirs[name], err_msg=name)


def test_two_runs_are_equal_to_the_last_bit(undisturbed: TrainingJob, tmp_path: Path) -> None:
    """The same seed on one process in float32; checkpoints change nothing."""
    job = _job(tmp_path)
    (job.paths.config_dir / "checkpointconfig.json").unlink()
    assert job.run() == 0, job.log
    assert "Checkpoint loading and saving are disabled." in job.log
    _same(job, undisturbed)


def test_killed_three_times(undisturbed: TrainingJob, tmp_path: Path) -> None:
    """SIGKILL at random moments after three of the epochs, each time in a new container."""
    job = _job(tmp_path)
    generator = random.Random(7)
    for kill in range(3):
        with job.started(f"Checkpoint of epoch {kill + 1}") as process:
            time.sleep(generator.uniform(0, 0.5))
            process.send_signal(signal.SIGKILL)
        assert kill == 0 or "Training goes on from" in job.log
        _new_container(job)
    assert job.run() == 0, job.log
    assert f"Training goes on from {job.paths.base}/checkpoints/checkpoint-" in job.log
    _same(job, undisturbed)
    assert len(_checkpoints(job)) == 2


@pytest.mark.parametrize("after", [0, 1, 4, 7])
def test_stopped_at_any_batch(after: int, undisturbed: TrainingJob, tmp_path: Path) -> None:
    """SIGTERM; it ends with 0 within 30 s, the best model so far in place, and goes on later."""
    job = _job(tmp_path)
    told = "#metrics" if not after else f"epoch={after // 3}, batch=3 train cross_entropy"
    with job.started(told) as process:
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, job.log
        assert time.monotonic() - begun < 30
    validated = job.log.count("validation mAP <score>")
    assert bool(list(job.paths.model_dir.iterdir())) == (validated > 0)
    if validated:
        assert artifact.read_config(job.paths.model_dir).validation["epoch"] < validated
    assert _checkpoints(job)
    _new_container(job)
    assert job.run() == 0, job.log
    _same(job, undisturbed)


def test_a_job_that_was_done_ends_at_once(undisturbed: TrainingJob, tmp_path: Path) -> None:
    job = _job(tmp_path)
    shutil.copytree(undisturbed.paths.base / "checkpoints", job.paths.base / "checkpoints")
    assert job.run() == 0, job.log
    assert "#throughput_metric" not in job.log
    for name, values in _weights(undisturbed).items():
        np.testing.assert_array_equal(_weights(job)[name], values)


def test_torn_and_foreign_checkpoints(undisturbed: TrainingJob, tmp_path: Path) -> None:
    job = _job(tmp_path)
    target = job.paths.base / "checkpoints"
    shutil.copytree(undisturbed.paths.base / "checkpoints", target)
    first, second = (target / name for name in _checkpoints(job))
    second.write_bytes(second.read_bytes()[:-1000])
    assert job.run() == 0, job.log
    assert f"The checkpoint {second} is passed over: it is torn" in job.log
    assert f"Training goes on from {first}: epoch 3, batch 0, after 9 updates." in job.log
    _same(job, undisturbed)


def test_a_checkpoint_of_another_network(undisturbed: TrainingJob, tmp_path: Path) -> None:
    job = _job(tmp_path, seed=5, epochs=1)
    shutil.copytree(undisturbed.paths.base / "checkpoints", job.paths.base / "checkpoints")
    assert job.run() == 0, job.log
    assert job.log.count("of another training, whose seed is 0 and not 5.") == 2
    assert "there is none to go on from" in job.log
    assert len(_history(job)) == 1


def test_a_local_path_that_is_no_path(tmp_path: Path) -> None:
    job = _job(tmp_path)
    (job.paths.config_dir / "checkpointconfig.json").write_text('{"LocalPath": "here"}')
    assert job.run() == 2
    assert job.failure is not None
    assert "\"LocalPath\" is 'here'; it must be an absolute path." in job.failure


def test_early_stopping_is_remembered(tmp_path: Path) -> None:
    """Three epochs without a gain, of which the last comes after the process was killed."""
    rule = {
        "early_stopping": True,
        "early_stopping_min_epochs": 1,
        "early_stopping_patience": 3,
        "early_stopping_tolerance": 1,
        "epochs": 50,
    }
    job = _job(tmp_path, **rule)
    job.recordio([picture(0)], [picture(20)], **rule)
    with job.started("Checkpoint of epoch 2"):
        pass  # it is killed then
    _new_container(job)
    assert job.run() == 0, job.log
    assert "Early stopping after epoch" in job.log
    assert 4 <= len(_history(job)) < 50
