"""Where a training is and what its epochs came to; what is kept and written of them.

Written are metrics.csv, live.json, TensorBoard's event files, and the best model.
"""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import mxnet as mx

from sagemaker_object_detection.data.loader import Batch
from sagemaker_object_detection.evaluation.average_precision import AveragePrecision
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ModelConfig, write_text_whole
from sagemaker_object_detection.model.deploy import DeployGraph
from sagemaker_object_detection.model.loss import LOSS_PARTS
from sagemaker_object_detection.platform.errors import JobError, as_job_error
from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.platform.job import Job

METRICS_FILE = "metrics.csv"
LIVE_FILE = "live.json"
TENSORBOARD_DIR = "tensorboard"
MAP_DEFINITION = (
    "all-point interpolated AP, mean over the classes that occur, every image once, detections "
    "above 0.01 after per-class NMS"
)
_LIBRARIES = ("gluoncv", "numpy", "opencv-python-headless", "openvino")


class Interrupted(Exception):
    """SIGTERM asked the training to end."""


class BrokenData(Exception):
    """Data was refused, or did not come, while training went on; `error` is for the user."""

    def __init__(self, error: JobError) -> None:
        super().__init__(str(error))
        self.error = error


def guarded(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches; raises BrokenData where getting one raises JobError or OSError."""
    try:
        yield from batches
    except (JobError, OSError) as error:
        raise BrokenData(as_job_error(error)) from error


@dataclass
class Position:
    """Where training is, and what the epoch has added up to so far.

    Attributes:
        updates: since the beginning; batches, records: of the epoch, records by all processes.
        losses: sums over its batches, by part; of what this process adds to each.
        seconds: spent on its batches; waited: of these for data.
    """

    epoch: int = 0
    updates: int = 0
    batches: int = 0
    records: int = 0
    losses: dict[str, float] = field(default_factory=lambda: dict.fromkeys(LOSS_PARTS, 0.0))
    seconds: float = 0.0
    waited: float = 0.0

    def mean_losses(self) -> dict[str, float]:
        """Over the batches that are done, by part."""
        return {part: total / self.batches for part, total in self.losses.items()}


@dataclass
class EarlyStopping:
    """The service's rule: stop after `patience` epochs in a row without a gain in validation mAP.

    A gain is relative, (new - best) / best, and has to exceed `tolerance`, 0..1. Not before
    `min_epochs` are done.
    """

    min_epochs: int
    patience: int
    tolerance: float
    best: float | None = None
    epochs_without_gain: int = 0

    @classmethod
    def of(cls, given: Hyperparameters) -> EarlyStopping:
        """The rule of the hyperparameters."""
        patience, tolerance = given.early_stopping_patience, given.early_stopping_tolerance
        return cls(given.early_stopping_min_epochs, patience, tolerance)

    def should_stop(self, epochs_done: int, value: float) -> bool:
        """Take in the mAP of the last of so many epochs, and decide."""
        gains = self.best is None or value > self.best
        if gains and self.best:
            gains = (value - self.best) / self.best > self.tolerance
        self.epochs_without_gain = 0 if gains else self.epochs_without_gain + 1
        self.best = value if self.best is None else max(self.best, value)
        return self.is_due(epochs_done)

    def is_due(self, epochs_done: int) -> bool:
        """Whether it is time to stop after so many epochs, by what was taken in."""
        return epochs_done >= self.min_epochs and self.epochs_without_gain >= self.patience


@dataclass(frozen=True)
class EpochResult:
    """One epoch, from 0.

    Attributes:
        losses: mean over the batches, by part.
        score: of the validation channel.
        learning_rate: of the last batch.
        records: images trained on.
        training_seconds: of the batches alone; loader_seconds of these were spent waiting for data.
    """

    epoch: int
    losses: Mapping[str, float]
    score: AveragePrecision
    learning_rate: float
    records: int
    training_seconds: float
    loader_seconds: float
    validation_seconds: float

    def as_row(self) -> dict[str, float | int]:
        """The epoch as a row of the table."""
        row: dict[str, float | int] = {"epoch": self.epoch, **self.losses}
        row["mAP"] = self.score.mean
        row |= {f"AP_class_{i}": value for i, value in enumerate(self.score.per_class)}
        return row | {
            "learning_rate": self.learning_rate,
            "images_per_second": self.records / self.training_seconds,
            "loader_seconds": self.loader_seconds,
            "step_seconds": self.training_seconds - self.loader_seconds,
            "training_seconds": self.training_seconds,
            "validation_seconds": self.validation_seconds,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EpochResult:
        """Of what asdict gave. Raises KeyError and TypeError when something is missing."""
        score = values["score"]
        average = AveragePrecision(score["mean"], tuple(score["per_class"]))
        return cls(**{**values, "score": average})


@dataclass
class Progress:
    """Where a training is, its history, its best epoch, and what early stopping has counted.

    Attributes:
        best: the epoch whose model is kept: of equal scores the later one; None before the first.
    """

    stopping: EarlyStopping
    history: list[EpochResult] = field(default_factory=list)
    best: EpochResult | None = None
    position: Position = field(default_factory=Position)

    @property
    def last(self) -> EpochResult | None:
        """The last epoch, None before the first."""
        return self.history[-1] if self.history else None

    def add(self, result: EpochResult) -> bool:
        """Take in an epoch; whether it is the best so far."""
        self.history.append(result)
        if self.best is None or result.score.mean >= self.best.score.mean:
            self.best = result
        return self.best is result

    def as_json(self) -> dict[str, Any]:
        """All but the position, as JSON values that restore reads again; AP may be NaN."""
        rule = self.stopping
        return {
            "history": [asdict(result) for result in self.history],
            "best_epoch": None if self.best is None else self.best.epoch,
            "stopping": {"best": rule.best, "epochs_without_gain": rule.epochs_without_gain},
        }

    def restore(self, values: Mapping[str, Any]) -> None:
        """Take over what as_json gave. Raises KeyError and TypeError when something is missing."""
        self.history = [EpochResult.from_json(row) for row in values["history"]]
        kept = [result for result in self.history if result.epoch == values["best_epoch"]]
        self.best = kept[0] if kept else None
        self.stopping.best = values["stopping"]["best"]
        self.stopping.epochs_without_gain = values["stopping"]["epochs_without_gain"]


def write_history(folder: Path, history: Sequence[EpochResult]) -> Path:
    """Write metrics.csv, a row an epoch; raises OSError when the folder cannot be written to."""
    folder.mkdir(parents=True, exist_ok=True)
    rows, text = [result.as_row() for result in history], io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text_whole(folder / METRICS_FILE, text.getvalue())
    return folder / METRICS_FILE


class LiveView:
    """Writes where training is whenever a line about it is logged.

    Args:
        folder: for LIVE_FILE and TENSORBOARD_DIR, made where it is missing; None writes nothing, as
            in a process that is not the main one.
        epochs: of the whole training.
        progress: with the epochs before, where training goes on from a checkpoint.
    """

    def __init__(
        self, folder: Path | None, epochs: int, tensorboard: bool, progress: Progress
    ) -> None:
        self._path = folder and folder / LIVE_FILE
        self._epochs = epochs
        self._progress = progress
        self._events: Any = None
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        if tensorboard:
            from tensorboardX import SummaryWriter  # only now: most jobs do not need it

            self._events = SummaryWriter(str(folder / TENSORBOARD_DIR))
            for result in progress.history:  # a new container has no files of the run before
                self._epoch_scalars(result)

    def batches(self, losses: Mapping[str, float], learning_rate: float) -> None:
        """Inside an epoch, of which `losses` are the means so far."""
        self._write("training", losses, learning_rate)
        row = {**losses, "learning_rate": learning_rate}
        self._scalars("batches", row, self._progress.position.updates)

    def validating(self, learning_rate: float) -> None:
        """Inside the validation of an epoch whose batches are done."""
        self._write("validating", self._progress.position.mean_losses(), learning_rate)

    def epoch(self, result: EpochResult) -> None:
        """After an epoch and its validation; the position is where training goes on."""
        self._write("training", result.losses, result.learning_rate)
        self._epoch_scalars(result)
        if self._events is not None:
            self._events.flush()

    def end(self, state: str) -> None:
        """At the end: `state` is finished, stopped or failed."""
        last = self._progress.last
        self._write(state, last.losses if last else {}, last.learning_rate if last else None)
        if self._events is not None:
            self._events.close()

    def _write(self, state: str, losses: Mapping[str, float], learning_rate: float | None) -> None:
        if self._path is None:
            return
        position, last, best = self._progress.position, self._progress.last, self._progress.best
        content = {
            "state": state,
            "time": time.time(),
            "epoch": position.epoch,
            "epochs": self._epochs,
            "batches": position.batches,
            "images": position.records,
            "updates": position.updates,
            "images_per_second": position.records / position.seconds if position.seconds else None,
            "losses": dict(losses),
            "learning_rate": learning_rate,
            "validation": last and {"epoch": last.epoch, "mAP": last.score.mean},
            "best": best and {"epoch": best.epoch, "mAP": best.score.mean},
        }
        write_text_whole(self._path, json.dumps(content, indent=1) + "\n")

    def _epoch_scalars(self, result: EpochResult) -> None:
        row = {n: v for n, v in result.as_row().items() if n != "epoch" and not math.isnan(v)}
        self._scalars("epochs", row, result.epoch)

    def _scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(f"{group}/{name}", value, step)


def save_model(
    job: Job, graph: DeployGraph, names: tuple[str, ...], result: EpochResult | None
) -> Path:
    """Write the whole artefact into the model folder; returns the path of the parameters.

    Twins of other weights that are in the folder are deleted. `result`: of the epoch after which
    the weights were scored; None for weights that were not.
    """
    given, folder = job.hyperparameters, job.paths.model_dir
    for twin in (artifact.ONNX_FILE, artifact.INT8_FILE, artifact.UNSCORED_FILE):
        (folder / twin).unlink(missing_ok=True)
    path = graph.save(folder)
    text = json.dumps(given.as_strings())
    write_text_whole(folder / artifact.HYPERPARAMETERS_FILE, text)
    validation: dict[str, Any] = {}
    if result is not None:
        validation = {"epoch": result.epoch, **score_summary(job, names, result.score)}
    config = ModelConfig(
        class_names=names,
        image_shape=given.image_shape,
        base_network=given.base_network,
        nms_threshold=given.nms_threshold,
        validation=validation,
        versions=versions(),
    )
    artifact.write_config(folder, config)
    return path


def versions() -> dict[str, str]:
    """The libraries that a model and its figures depend on."""
    # The wheel of MXNet has another name for cards, so MXNet says itself which version it is.
    installed = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"mxnet": mx.__version__, **installed}


def save_test_score(job: Job, score: AveragePrecision) -> None:
    """Add the score on the test channel to the artefact's description."""
    config = artifact.read_config(job.paths.model_dir)
    summary = score_summary(job, config.class_names, score)
    artifact.write_config(job.paths.model_dir, replace(config, test=summary))


def score_summary(job: Job, names: tuple[str, ...], score: AveragePrecision) -> dict[str, Any]:
    """A score as model.json holds it."""
    values = [None if math.isnan(value) else value for value in score.per_class]
    return {
        "mAP": score.mean,
        "AP": dict(zip(names, values, strict=True)),
        "overlap_threshold": job.hyperparameters.overlap_threshold,
        "definition": MAP_DEFINITION,
    }
