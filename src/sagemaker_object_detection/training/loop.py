"""The training loop: epochs of steps, each followed by a validation."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon
from tqdm import tqdm

from sagemaker_object_detection.data.augment import Augmentation
from sagemaker_object_detection.data.loader import Batch
from sagemaker_object_detection.evaluation.average_precision import AveragePrecision
from sagemaker_object_detection.model.loss import LOSS_PARTS, MultiBoxLoss
from sagemaker_object_detection.model.network import Network
from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.training.average import WeightAverage
from sagemaker_object_detection.training.history import EpochResult
from sagemaker_object_detection.training.interruptions import Interrupted, guarded
from sagemaker_object_detection.training.schedule import LearningRate

log = logging.getLogger(__name__)

LOG_EVERY_BATCHES = 100


@dataclass(frozen=True)
class Recipe:
    """What the loop needs to know beside the network and the data.

    Attributes:
        epochs, batch_size, seed: the hyperparameters.
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
        epoch: from 0; batches, records: of it that are done; updates: since the beginning.
        losses: sums over its batches, by part.
        seconds: spent on its batches; waited: of these for data.
    """

    epoch: int = 0
    updates: int = 0
    batches: int = 0
    records: int = 0
    losses: dict[str, float] = field(default_factory=lambda: dict.fromkeys(LOSS_PARTS, 0.0))
    seconds: float = 0.0
    waited: float = 0.0


class TrainingLoader(Protocol):
    """What gives the batches: data.loader.Loader, or StreamLoader in Pipe mode."""

    def training_epoch(
        self,
        batch_size: int,
        seed: int,
        epoch: int,
        augmentation: Augmentation | None,
        first_batch: int = 0,
    ) -> Iterator[Batch]:
        """Every record of an epoch once, without the batches before `first_batch`."""
        ...


class TrainingLoop:
    """Trains a network on a loader's records.

    Args:
        trainer: its optimiser; the loop sets the learning rate.
        ctx: where the network's parameters lie.
        validate: scores the present weights; None when it was interrupted.
        should_stop: asked before every batch.
        average: of the weights, which takes in every update.

    Attributes:
        position: where it is; to be set before `epochs` where training goes on.
        on_batches: called with the position and the learning rate when a line inside an epoch is
            logged.
    """

    def __init__(
        self,
        network: Network,
        trainer: gluon.Trainer,
        ctx: mx.Context,
        loader: TrainingLoader,
        recipe: Recipe,
        validate: Callable[[], AveragePrecision | None],
        should_stop: Callable[[], bool],
        average: WeightAverage | None = None,
    ) -> None:
        self._block = network.block
        self._block.hybridize(static_alloc=True, static_shape=True)
        self._loss = MultiBoxLoss()
        self._loss.hybridize(static_alloc=True, static_shape=True)
        self._anchors = mx.nd.array(network.anchors, ctx=ctx)
        self._trainer = trainer
        self._ctx = ctx
        self._loader = loader
        self._recipe = recipe
        self._validate = validate
        self._should_stop = should_stop
        self._average = average
        self.position = Position()
        self.on_batches: Callable[[Position, float], None] = lambda position, rate: None
        self._rate = math.nan
        self._counters = logs.IterationCounters()

    def epochs(self) -> Iterator[EpochResult]:
        """Train and yield after every epoch and its validation.

        Raises:
            Interrupted: should_stop said so.
            BrokenData: a stream was refused, or a file could not be read any more.
            ClientError: a loss that is not finite, naming its part and the batch.
        """
        self._print_metrics(time.time(), "init_train_data_iter", None)
        while self.position.epoch < self._recipe.epochs:
            result = self._epoch()
            self.position = Position(self.position.epoch + 1, self.position.updates)
            yield result

    def _epoch(self) -> EpochResult:
        position, started = self.position, time.time()
        self._counters.reset()
        self._train()
        means = {part: total / position.batches for part, total in position.losses.items()}
        self._log_epoch(position, means)
        begun = time.time()
        score = self._validate()
        if score is None:
            raise Interrupted
        log.info(logs.map_line(self._recipe.host, position.epoch, score.mean))
        self._print_metrics(started, "training_data_iter", position.epoch)
        return EpochResult(
            position.epoch,
            means,
            score,
            self._recipe.learning_rate(position.updates - 1),
            position.records,
            position.seconds,
            position.waited,
            time.time() - begun,
        )

    def _train(self) -> None:
        """The batches of the epoch that are still to be done."""
        position = self.position
        started = time.time() - position.seconds
        pending: list[Any] | None = None
        source = guarded(
            self._loader.training_epoch(
                self._recipe.batch_size,
                self._recipe.seed,
                position.epoch,
                self._recipe.augmentation,
                position.batches,
            )
        )
        with _progress_bar(position.epoch) as bar:
            while True:
                asked = time.perf_counter()
                batch = next(source, None)
                position.waited += time.perf_counter() - asked
                stopped = self._should_stop()
                if batch is None or stopped:
                    break
                losses = self._step(batch)
                # The losses of the batch before this one: reading the present ones would make
                # the step wait for itself.
                self._add(pending)
                pending = losses
                position.batches += 1
                position.records += len(batch.images)
                position.seconds = time.time() - started
                self._counters.batch(len(batch.images))
                bar.update(len(batch.images))
                if position.batches % LOG_EVERY_BATCHES == 0:
                    self._log_batches()
            self._add(pending)
        mx.nd.waitall()
        position.seconds = time.time() - started
        if stopped:
            raise Interrupted

    def _log_batches(self) -> None:
        position = self.position
        rate = position.records / position.seconds
        log.info(
            logs.batches_line(
                position.epoch, position.batches, position.records, rate, position.seconds
            )
        )
        self.on_batches(position, self._rate)

    def _step(self, batch: Batch) -> list[Any]:
        position, schedule = self.position, self._recipe.learning_rate
        rate = schedule(position.updates)
        if rate != self._rate:
            if schedule.kind == "step" and position.updates in schedule.drops:
                log.info(logs.learning_rate_line(position.updates + 1, rate))
            self._trainer.set_learning_rate(rate)
            self._rate = rate
        images = mx.nd.array(batch.images, ctx=self._ctx, dtype=np.float32)
        labels = mx.nd.array(batch.labels, ctx=self._ctx)
        with autograd.record():
            scores, offsets = self._block(images)
            losses = self._loss(scores, offsets, self._anchors, labels)
            total = losses[0] + losses[1]
        total.backward()
        self._trainer.step(1)
        position.updates += 1
        if self._average is not None:
            self._average.update(position.updates)
        return list(losses)

    def _add(self, losses: list[Any] | None) -> None:
        """Add up the losses of the last batch that was counted."""
        if losses is None:
            return
        position = self.position
        for part, loss in zip(LOSS_PARTS, losses, strict=True):
            value = float(loss.asscalar())
            if not math.isfinite(value):
                raise ClientError(
                    f"The loss {part} became {value} in epoch {position.epoch}, batch "
                    f"{position.batches - 1}: training diverged. Use a smaller learning_rate, or "
                    "warmup_steps of a few hundred; the best model so far, if any, stays in the "
                    "model folder."
                )
            position.losses[part] += value

    def _print_metrics(self, started: float, meta: str, epoch: int | None) -> None:
        dimensions = logs.dimensions(self._recipe.host, meta, epoch)
        line = logs.metrics_json_line(started, time.time(), dimensions, self._counters.metrics())
        print(line, flush=True)

    def _log_epoch(self, position: Position, means: dict[str, float]) -> None:
        host = self._recipe.host
        for part, value in means.items():
            log.info(logs.loss_line(host, position.epoch, position.batches, part, value))
        log.info(logs.throughput_line(host, position.records / position.seconds))


def _progress_bar(epoch: int) -> tqdm[Any]:
    """Images of the epoch, on a terminal only: a log file gets no bar."""
    hidden = not sys.stdout.isatty()
    return tqdm(desc=f"epoch {epoch}", unit=" images", disable=hidden, leave=False)
