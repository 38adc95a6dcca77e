"""A training to watch while it runs: live.json, and TensorBoard's event files where asked for."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sagemaker_object_detection.model.artifact import write_text_whole
from sagemaker_object_detection.training.epochs import EpochResult, Position, Progress

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
