"""What the epochs of a training came to: where it is, its history, and when to stop.

live.json and TensorBoard's event files show it while it runs.
"""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sagemaker_object_detection.data.augment import Augmentation
from sagemaker_object_detection.data.loader import Batch
from sagemaker_object_detection.evaluation.average_precision import AveragePrecision
from sagemaker_object_detection.model.artifact import write_text_whole
from sagemaker_object_detection.model.loss import LOSS_PARTS
from sagemaker_object_detection.platform.errors import JobError, as_job_error
from sagemaker_object_detection.training.schedule import LearningRate


@dataclass
class EarlyStopping:
    """Stops after `patience` epochs in a row without a relative gain above `tolerance`.

    Attributes:
        min_epochs: no stop before this many epochs are done.
        patience: epochs in a row.
        tolerance: gain that counts, (new - best) / best, 0..1.
    """

    min_epochs: int
    patience: int
    tolerance: float
    best: float | None = None
    epochs_without_gain: int = 0

    def should_stop(self, epochs_done: int, value: float) -> bool:
        """Take in an epoch's validation mAP and decide.

        Args:
            epochs_done: how many epochs, this one included.
        """
        if self.best is None or self._is_gain(value):
            self.epochs_without_gain = 0
        else:
            self.epochs_without_gain += 1
        self.best = value if self.best is None else max(self.best, value)
        return self.is_due(epochs_done)

    def is_due(self, epochs_done: int) -> bool:
        """Whether it is time to stop after so many epochs, by what was taken in."""
        return epochs_done >= self.min_epochs and self.epochs_without_gain >= self.patience

    def _is_gain(self, value: float) -> bool:
        assert self.best is not None
        if self.best <= 0:
            return value > self.best
        return (value - self.best) / self.best > self.tolerance


METRICS_FILE = "metrics.csv"


@dataclass(frozen=True)
class EpochResult:
    """One epoch.

    Attributes:
        epoch: from 0.
        losses: mean over the batches, by part.
        score: of the validation channel.
        learning_rate: of the last batch.
        records: images trained on.
        training_seconds: of the batches alone; loader_seconds of these were spent waiting for data.
        validation_seconds: of the validation.
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
        row["learning_rate"] = self.learning_rate
        row["images_per_second"] = self.records / self.training_seconds
        row["loader_seconds"] = self.loader_seconds
        row["step_seconds"] = self.training_seconds - self.loader_seconds
        row["training_seconds"] = self.training_seconds
        row["validation_seconds"] = self.validation_seconds
        return row

    def as_json(self) -> dict[str, Any]:
        """JSON values that from_json reads again; AP may be NaN."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EpochResult:
        """Raises KeyError and TypeError when something is missing."""
        score = values["score"]
        average = AveragePrecision(score["mean"], tuple(score["per_class"]))
        return cls(**{**values, "score": average})


def write_history(folder: Path, history: Sequence[EpochResult]) -> Path:
    """Write metrics.csv, a row an epoch; raises OSError when the folder cannot be written to."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [result.as_row() for result in history]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path = folder / METRICS_FILE
    write_text_whole(path, text.getvalue())
    return path


@dataclass(frozen=True)
class Recipe:
    """What the loop needs to know beside the network and the data.

    Attributes:
        epochs, batch_size, seed: the hyperparameters; the batch is that of one machine.
        augmentation: None trains on the images as they are.
        learning_rate: rate of every update.
        host: name in the log lines.
    """

    epochs: int
    batch_size: int
    seed: int
    augmentation: Augmentation | None
    learning_rate: LearningRate
    host: str


@dataclass
class Position:
    """Where training is, and what the epoch has added up to so far.

    Attributes:
        epoch: from 0; batches, records: of it that are done, records by all processes; updates:
            since the beginning.
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


@dataclass
class Progress:
    """The history of a training, its best epoch, and what early stopping has counted.

    Attributes:
        best: the epoch whose model is kept: of equal scores the later one; None before the first.
    """

    stopping: EarlyStopping
    history: list[EpochResult] = field(default_factory=list)
    best: EpochResult | None = None

    def add(self, result: EpochResult) -> bool:
        """Take in an epoch; whether it is the best so far."""
        self.history.append(result)
        is_best = self.best is None or result.score.mean >= self.best.score.mean
        if is_best:
            self.best = result
        return is_best

    def as_json(self) -> dict[str, Any]:
        """JSON values that restore reads again."""
        return {
            "history": [result.as_json() for result in self.history],
            "best_epoch": None if self.best is None else self.best.epoch,
            "stopping": {
                "best": self.stopping.best,
                "epochs_without_gain": self.stopping.epochs_without_gain,
            },
        }

    def restore(self, values: Mapping[str, Any]) -> None:
        """Take over what as_json gave. Raises KeyError and TypeError when something is missing."""
        self.history = [EpochResult.from_json(row) for row in values["history"]]
        kept = [result for result in self.history if result.epoch == values["best_epoch"]]
        self.best = kept[0] if kept else None
        self.stopping.best = values["stopping"]["best"]
        self.stopping.epochs_without_gain = values["stopping"]["epochs_without_gain"]


class Interrupted(Exception):
    """SIGTERM asked the training to end."""


class BrokenData(Exception):
    """Data was refused, or did not come, while training went on.

    Attributes:
        error: what the user is to be told.
    """

    def __init__(self, error: JobError) -> None:
        super().__init__(str(error))
        self.error = error


def guarded(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches; raises BrokenData where getting one raises JobError or OSError."""
    try:
        yield from batches
    except (JobError, OSError) as error:
        raise BrokenData(as_job_error(error)) from error


LIVE_FILE = "live.json"
TENSORBOARD_DIR = "tensorboard"


class NoView:
    """Of a process that is not the main one: nothing is written."""

    def batches(
        self, position: Position, losses: Mapping[str, float], learning_rate: float
    ) -> None:
        """Inside an epoch, of which `losses` are the means so far."""

    def validating(self, position: Position, learning_rate: float) -> None:
        """Inside the validation of an epoch whose batches are done."""

    def epoch(self, position: Position, result: EpochResult) -> None:
        """After an epoch and its validation; `position` is where training goes on."""

    def end(self, position: Position, state: str) -> None:
        """At the end: `state` is finished, stopped or failed."""


class LiveView(NoView):
    """Writes where training is whenever a line about it is logged.

    Args:
        folder: for LIVE_FILE and TENSORBOARD_DIR; made where it is missing.
        epochs: of the whole training.
        tensorboard: whether to write event files too.
        progress: the epochs so far, which are there already where training goes on from a
            checkpoint.
    """

    def __init__(self, folder: Path, epochs: int, tensorboard: bool, progress: Progress) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / LIVE_FILE
        self._epochs = epochs
        self._progress = progress
        self._events: Any = None
        if tensorboard:
            from tensorboardX import SummaryWriter  # only now: most jobs do not need it

            self._events = SummaryWriter(str(folder / TENSORBOARD_DIR))
            for result in progress.history:  # a new container has no files of the run before
                self._epoch_scalars(result)

    def batches(
        self, position: Position, losses: Mapping[str, float], learning_rate: float
    ) -> None:
        """Inside an epoch, of which `losses` are the means so far."""
        self._write(position, "training", losses, learning_rate)
        self._scalars("batches", {**losses, "learning_rate": learning_rate}, position.updates)

    def validating(self, position: Position, learning_rate: float) -> None:
        """Inside the validation of an epoch whose batches are done."""
        losses = {part: total / position.batches for part, total in position.losses.items()}
        self._write(position, "validating", losses, learning_rate)

    def epoch(self, position: Position, result: EpochResult) -> None:
        """After an epoch and its validation; `position` is where training goes on."""
        self._write(position, "training", result.losses, result.learning_rate)
        self._epoch_scalars(result)
        if self._events is not None:
            self._events.flush()

    def end(self, position: Position, state: str) -> None:
        """At the end: `state` is finished, stopped or failed."""
        last = self._last
        losses = last.losses if last is not None else {}
        self._write(position, state, losses, last.learning_rate if last else None)
        if self._events is not None:
            self._events.close()

    @property
    def _last(self) -> EpochResult | None:
        return self._progress.history[-1] if self._progress.history else None

    def _write(
        self,
        position: Position,
        state: str,
        losses: Mapping[str, float],
        learning_rate: float | None,
    ) -> None:
        last, best = self._last, self._progress.best
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
