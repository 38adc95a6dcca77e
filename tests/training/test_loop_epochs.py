"""Between loop and artefact: which epoch's model is kept, and when training ends."""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sagemaker_object_detection.evaluation.average_precision import AveragePrecision
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.hyperparameters import parse
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.communicator import Communicator
from sagemaker_object_detection.training.epochs import (
    BrokenData,
    EarlyStopping,
    EpochResult,
    Interrupted,
    Position,
    Progress,
)
from sagemaker_object_detection.training.loop import Trainer
from tests.training.jobs import make_job


class Epochs(Trainer):
    """Of these mAPs, and `end` where there is a None."""

    values: Sequence[float | None] = ()
    end: Exception = Interrupted()
    records: int = 8

    def epochs(self) -> Iterator[EpochResult]:
        for epoch, value in enumerate(self.values, self.progress.position.epoch):
            if value is None:
                raise self.end
            self.progress.position.updates += 1
            yield _result(epoch, value, self.records)


def _result(epoch: int, value: float, records: int = 8) -> EpochResult:
    score = AveragePrecision(value, (value, math.nan))
    return EpochResult(epoch, {"cross_entropy": 1.0}, score, 0.1, records, 1.0, 0.0, 1.0)


@dataclass
class Channels:
    """Stands for the data, which is read in File mode or, with streams, in Pipe mode."""

    streams: Sequence[str] = ()
    reports: list[tuple[str, ...]] = field(default_factory=list)
    communicator: Communicator = field(default_factory=lambda: Communicator(World()))
    train_images: int = 8

    def class_names(self) -> tuple[str, ...]:
        return ("red", "blue")

    def exchange_names(self) -> None:
        """Nobody is there to exchange them with."""

    def report(self, refused: Sequence[str] = ()) -> None:
        self.reports.append(tuple(refused))


@dataclass
class Graph:
    """Stands for the deploy graph: counts how often it was saved."""

    saved: list[Path] = field(default_factory=list)

    def save(self, folder: Path) -> Path:
        self.saved.append(folder)
        return folder / artifact.PARAMS_FILE


@dataclass
class Noted:
    """Stands for what else is told of an epoch: checkpoints, the view, the learner's trainer."""

    seen: list[object] = field(default_factory=list)

    def save(self, learner: object, progress: Progress, images: int) -> None:
        self.seen.append("checkpoint")

    def epoch(self, result: EpochResult) -> None:
        self.seen.append(result.epoch)

    def end(self, state: str) -> None:
        self.seen.append(state)

    def close(self) -> None:
        self.seen.append("closed")


def _progress(job: Job, *values: float) -> Progress:
    """Of a job with these epochs before a checkpoint."""
    progress = Progress(EarlyStopping.of(job.hyperparameters))
    for epoch, value in enumerate(values):
        progress.add(_result(epoch, value))
    return progress


def _trainer(
    job: Job,
    values: Sequence[float | None],
    data: Channels | None = None,
    progress: Progress | None = None,
    end: Exception | None = None,
    records: int = 8,
) -> tuple[Epochs, Graph, Noted]:
    """A trainer with epochs of these mAPs, what was saved, and what else was told."""
    graph, noted = Graph(), Noted()
    stubs: dict[str, Any] = {
        "data": data or Channels(),
        "learner": SimpleNamespace(trainer=noted),
        "schedule": None,
        "engine": None,
        "graph": graph,
        "checkpoints": noted,
        "live": noted,
        "stop": None,
    }
    found: Any = "of the last epoch"
    trainer = Epochs(job=job, progress=progress or _progress(job), _found=found, **stubs)
    trainer.values, trainer.records, trainer.end = values, records, end or Interrupted()
    return trainer, graph, noted


def _run(
    base: Path, values: Sequence[float | None], **given: object
) -> tuple[list[int], Graph, Job]:
    """Epochs done, what was saved, and the job."""
    job = make_job(base, epochs=20, **given)
    trainer, graph, _ = _trainer(job, values)
    trainer.run()
    return [result.epoch for result in trainer.progress.history], graph, job


@pytest.mark.parametrize(
    ("values", "best", "saves"),
    [
        pytest.param([0.1, 0.3, 0.2], 1, 2, id="the best, not the last"),
        pytest.param([0.1, 0.3, 0.3], 2, 3, id="of equals the later, as the service has it"),
        pytest.param([0.0, 0.0], 1, 2, id="even a model that finds nothing is one"),
    ],
)
def test_the_best_model_is_kept(values: list[float], best: int, saves: int, tmp_path: Path) -> None:
    _, graph, job = _run(tmp_path, values)
    assert graph.saved == [job.paths.model_dir] * saves
    validation = artifact.read_config(job.paths.model_dir).validation
    assert validation["epoch"] == best
    assert validation["mAP"] == values[best]
    assert validation["AP"] == {"red": values[best], "blue": None}  # blue does not occur
    hyperparameters = (job.paths.model_dir / artifact.HYPERPARAMETERS_FILE).read_text()
    assert parse(json.loads(hyperparameters)) == job.hyperparameters


def test_twins_of_an_earlier_model_go(tmp_path: Path) -> None:
    job = make_job(tmp_path, epochs=20)
    for name in (artifact.ONNX_FILE, artifact.INT8_FILE):
        (job.paths.model_dir / name).write_text("of other weights")
    _trainer(job, [0.5])[0].run()
    assert not list(job.paths.model_dir.glob("*.onnx"))


@pytest.mark.parametrize(
    ("given", "epochs"),
    [
        pytest.param({"early_stopping": "True"}, 3, id="asked for"),
        pytest.param({"early_stopping": "False"}, 5, id="not asked for, whatever the rule says"),
    ],
)
def test_early_stopping(
    given: dict[str, str], epochs: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rule = {"early_stopping_min_epochs": 1, "early_stopping_patience": 2}
    done, _, job = _run(tmp_path, [0.5, 0.4, 0.3, 0.6, 0.7], **rule, **given)
    assert done == list(range(epochs))
    said = any("Early stopping after epoch 2" in record.getMessage() for record in caplog.records)
    assert said == (epochs == 3)
    table = (job.paths.output_data_dir / "metrics.csv").read_text().splitlines()
    assert [row["mAP"] for row in csv.DictReader(table)] == ["0.5", "0.4", "0.3", "0.6", "0.7"][
        :epochs
    ]


@pytest.mark.parametrize(
    ("values", "epochs", "told"),
    [
        pytest.param([None], [], "there is no model yet", id="in the first epoch"),
        pytest.param([0.5, None], [0], "the best model so far stays", id="later"),
    ],
)
def test_interrupted(
    values: list[float | None],
    epochs: list[int],
    told: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    done, graph, _ = _run(tmp_path, values)
    assert done == epochs
    assert len(graph.saved) == len(epochs)
    assert any(told in r.getMessage() for r in caplog.records if r.levelname == "WARNING")


@pytest.mark.parametrize(
    ("updates", "values", "saves", "validated"),
    [
        pytest.param(0, [None], 0, None, id="before the first batch there is nothing to save"),
        pytest.param(7, [None], 1, False, id="in the first epoch: what was learnt so far"),
        pytest.param(7, [0.5, None], 1, True, id="later: the best model stays"),
    ],
)
def test_a_stream_that_is_refused_leaves_what_was_trained(
    updates: int,
    values: list[float | None],
    saves: int,
    validated: bool | None,
    tmp_path: Path,
) -> None:
    job, data = make_job(tmp_path, epochs=20), Channels(streams=["train"])
    broken = BrokenData(ClientError("train_0, record 7: class_id 9."))
    trainer, graph, noted = _trainer(job, values, data, end=broken)
    trainer.progress.position.updates = updates
    with pytest.raises(ClientError, match="train_0, record 7: class_id 9"):
        trainer.run()
    assert noted.seen[-1] == "failed"
    assert len(graph.saved) == saves
    assert data.reports[-1] == ("train_0, record 7: class_id 9.",)
    if validated is not None:
        assert bool(artifact.read_config(job.paths.model_dir).validation) == validated


def test_what_was_trained_is_saved_before_the_report_is_tried(tmp_path: Path) -> None:
    class Unwritable(Channels):
        def report(self, refused: Sequence[str] = ()) -> None:
            raise OSError("disk full")

    broken = BrokenData(ClientError("broken"))
    job, data = make_job(tmp_path, epochs=20), Unwritable(streams=["train"])
    trainer, graph, _ = _trainer(job, [None], data, end=broken)
    trainer.progress.position.updates = 7
    with pytest.raises(OSError, match="disk full"):
        trainer.run()
    assert graph.saved == [job.paths.model_dir]


@pytest.mark.parametrize(
    ("streams", "records", "told"),
    [
        pytest.param(["train"], 100, True, id="the first pass shows the number"),
        pytest.param(["train"], 8, False, id="as promised"),
        pytest.param(["validation"], 100, False, id="a file's number was known before"),
    ],
)
def test_a_stream_of_another_length_than_promised(
    streams: list[str], records: int, told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = make_job(tmp_path, epochs=2, mini_batch_size=4)
    _trainer(job, [0.1, 0.2], Channels(streams=streams), records=records)[0].run()
    warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert [text for text in warnings if "num_training_samples is 8" in text] == warnings
    assert len(warnings) == told


def test_checkpoints(tmp_path: Path) -> None:
    """At the end of every epoch, once all else is told, and at the interruption."""
    trainer, graph, noted = _trainer(make_job(tmp_path, epochs=20), [0.5, 0.4, 0.6, None])
    trainer.run()
    assert len(graph.saved) == 2
    assert trainer.results == "of the last epoch"
    epochs = [0, "checkpoint", 1, "checkpoint", 2, "checkpoint"]
    assert noted.seen == [*epochs, "checkpoint", "closed", "stopped"]


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([], id="all epochs were done"),
        pytest.param([None], id="stopped before another one was"),
    ],
)
def test_a_new_container_has_the_table_of_the_epochs_before(
    values: list[float | None], tmp_path: Path
) -> None:
    job = make_job(tmp_path, epochs=20)
    progress = _progress(job, 0.25, 0.5)
    progress.position = Position(2, 9)
    _trainer(job, values, progress=progress)[0].run()
    table = (job.paths.output_data_dir / "metrics.csv").read_text().splitlines()
    assert [row["mAP"] for row in csv.DictReader(table)] == ["0.25", "0.5"]


def test_streams_are_reported_after_their_first_pass(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Which is not of epoch 0 where training goes on from a checkpoint."""
    job = make_job(tmp_path, epochs=20, mini_batch_size=4)
    data, progress = Channels(streams=["train"]), _progress(job, 0.25, 0.5)
    progress.position = Position(2, 9)
    _trainer(job, [0.5, 0.6], data, progress, records=100)[0].run()
    assert data.reports == [()]
    assert caplog.text.count("num_training_samples is 8") == 1


def test_a_training_that_had_stopped_early_does_not_go_on(tmp_path: Path) -> None:
    """It was killed between its last checkpoint and its end."""
    rule = {"early_stopping_min_epochs": 1, "early_stopping_patience": 2}
    job = make_job(tmp_path, epochs=20, early_stopping="True", **rule)
    trainer, _, _ = _trainer(job, [0.5, 0.4, 0.3, 0.6])
    trainer.run()
    assert len(trainer.progress.history) == 3
    trainer.run()
    assert len(trainer.progress.history) == 3
