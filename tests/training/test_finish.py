"""What follows a training: a model that is there stays, whatever becomes of twins and report."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import pytest

from sagemaker_object_detection.data.loader import Batch
from sagemaker_object_detection.evaluation.average_precision import AveragePrecision
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.forms import with_forms
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training import finish
from sagemaker_object_detection.training.communicator import Communicator
from sagemaker_object_detection.training.data import Data, read_channels
from sagemaker_object_detection.training.epochs import EarlyStopping, EpochResult, Progress
from sagemaker_object_detection.training.finish import Finish
from tests import tiny_model
from tests.training.jobs import make_job
from tests.training_job import picture, write_recordio

SIDE = 300
BOX = (40, 40, 90, 90)
REPORT = {"report.html", "metrics.json", "detections.json", "ground_truth.json"}


class Stream:
    """Stands for a channel in Pipe mode."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def evaluation_pass(self, batch_size: int) -> Iterator[Batch]:
        if self._error is not None:
            raise self._error
        yield from ()

    def close(self) -> None:
        """There are no threads."""


@contextmanager
def _trained(base: Path, test: bool = False, **given: object) -> Iterator[tuple[Job, Data]]:
    """A job with a model of epoch 1 in its folder, and its channels, which have been read."""
    names = ("train", "validation", *(["test"] if test else []))
    job = make_job(base, names, image_shape=SIDE, **{"quantize": 0, **given})
    for number, name in enumerate(names):
        write_recordio(job.channels[name].path, [picture(number).with_boxes(BOX)])
    job = replace(job, channels=with_forms(job.channels))
    tiny_model.write(job.paths.model_dir, SIDE)
    config = artifact.read_config(job.paths.model_dir)
    artifact.write_config(job.paths.model_dir, replace(config, validation={"epoch": 1}))
    data = read_channels(job, Communicator(World()), 1, lambda: False)
    try:
        yield job, data
    finally:
        data.close()


def _progress(epochs: int = 2) -> Progress:
    progress = Progress(EarlyStopping(1, 1, 0.0))
    for epoch in range(epochs):
        losses = {"cross_entropy": 1.0, "smooth_l1": 1.0}
        score = AveragePrecision(0.5, (0.5, 0.5))
        progress.add(EpochResult(epoch, losses, score, 0.1, 8, 2.0, 0.5, 1.0))
    return progress


def _finish(job: Job, data: Data, progress: Progress) -> None:
    """Of a job whose best epoch was before its checkpoint: its results are not there."""
    assert progress.best is not None
    Finish(job, data, mx.cpu(), 1, progress.history, progress.best, None)()


def _written(job: Job) -> set[str]:
    return {path.name for path in job.paths.output_data_dir.iterdir()} & REPORT


def _warnings(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)


def test_results_that_were_before_a_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The validation channel is scored again, for the figures and the report."""
    with _trained(tmp_path) as (job, data):
        _finish(job, data, _progress())
    assert _written(job) == REPORT
    metrics = json.loads((job.paths.output_data_dir / "metrics.json").read_text())
    assert (metrics["epoch"], metrics["epochs"], metrics["images"]) == (1, 2, 1)
    thresholds = artifact.read_config(job.paths.model_dir).thresholds
    assert len(thresholds) == 2
    assert all(0 < threshold < 1 for threshold in thresholds)
    assert "The model itself is whole" not in _warnings(caplog)


def test_of_a_stream_there_are_no_results(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nor an INT8 twin, which is told to who asked for one."""
    with _trained(tmp_path, quantize=1) as (job, data):
        stream: Any = Stream()
        _finish(job, replace(data, loaders={**data.loaders, "validation": stream}), _progress())
    assert _written(job) == set()
    assert "there are no detections to report" in _warnings(caplog)
    assert "There will be no INT8 twin" in _warnings(caplog)
    assert (job.paths.model_dir / artifact.ONNX_FILE).is_file()
    assert not (job.paths.model_dir / artifact.INT8_FILE).exists()


@pytest.mark.parametrize(
    ("broken", "told", "written"),
    [
        pytest.param(
            "evaluate", "The validation channel could not be scored again", set(), id="the score"
        ),
        pytest.param("summarise", "Figures and report", set(), id="the figures"),
        pytest.param("write_report", "Figures and report", REPORT - {"report.html"}, id="the page"),
    ],
)
def test_what_goes_wrong_is_only_a_warning(
    broken: str,
    told: str,
    written: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(finish, broken, fail)
    with _trained(tmp_path) as (job, data):
        _finish(job, data, _progress())
    assert _written(job) == written
    assert f"{told}" in _warnings(caplog)
    assert "The model itself is whole." in _warnings(caplog)


def test_the_test_channel(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with _trained(tmp_path, test=True) as (job, data):
        _finish(job, data, _progress())
    score = artifact.read_config(job.paths.model_dir).test
    assert set(score["AP"]) == set(tiny_model.CLASS_NAMES)
    assert f"epoch=1, test mAP <score>=({score['mAP']})" in caplog.text
    metrics = json.loads((job.paths.output_data_dir / "metrics.json").read_text())
    assert metrics["test"] == score


def test_a_test_stream_that_is_refused(tmp_path: Path) -> None:
    """The job fails; what it trained is there and described, and the data report says why."""
    with _trained(tmp_path) as (job, data):
        stream: Any = Stream(ClientError("test_0, record 7: class_id 9."))
        loaders, shards = {**data.loaders, "test": stream}, {**data.shards}
        shards["test"] = shards["validation"]
        with pytest.raises(ClientError, match="test_0, record 7: class_id 9"):
            _finish(job, replace(data, loaders=loaders, shards=shards), _progress())
    artifact.require_files(job.paths.model_dir)
    assert _written(job) == REPORT
    report = json.loads((job.paths.output_data_dir / "data_report.json").read_text())
    assert report["refused"] == ["test_0, record 7: class_id 9."]


IMAGES = [np.random.default_rng(0).integers(0, 256, (4, 3, tiny_model.SIDE, tiny_model.SIDE))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model.write(tmp_path)
    return tmp_path


def _add(
    folder: Path,
    int8: bool = True,
    score: float = 0.5,
) -> set[str]:
    images = [batch.astype(np.uint8) for batch in IMAGES]
    finish.add_twins(folder, images, 1, int8, 0.5, lambda engine: score)
    names = {path.name for path in folder.iterdir()}
    return names & {artifact.ONNX_FILE, artifact.INT8_FILE}


def _messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


@pytest.mark.parametrize(
    ("int8", "score", "files"),
    [
        pytest.param(False, 0.5, {artifact.ONNX_FILE}, id="float32 alone"),
        pytest.param(True, 0.5, {artifact.ONNX_FILE, artifact.INT8_FILE}, id="as good"),
        pytest.param(True, 0.4, {artifact.ONNX_FILE}, id="not good enough"),
    ],
)
def test_which_are_kept(int8: bool, score: float, files: set[str], folder: Path) -> None:
    assert _add(folder, int8, score) == files


def test_what_cannot_be_converted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / artifact.SYMBOL_FILE).write_text("{}")
    assert _add(folder) == set()
    assert len(_messages(caplog)) == 2
    assert all("The model itself is whole." in text for text in _messages(caplog))


def test_a_process_that_dies(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "_MODULE", "sagemaker_object_detection.no_such_module")
    assert _add(folder) == {artifact.ONNX_FILE}
    (warning,) = _messages(caplog)
    assert "no INT8 twin" in warning
    assert "no_such_module" in warning
