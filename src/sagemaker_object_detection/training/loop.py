"""The training loop: epochs of steps, each followed by a validation."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from sagemaker_object_detection.platform.errors import ClientError, JobError, as_job_error
from sagemaker_object_detection.training.average import WeightAverage
from sagemaker_object_detection.training.history import EpochResult
from sagemaker_object_detection.training.schedule import LearningRate

log = logging.getLogger(__name__)

LOG_EVERY_BATCHES = 100


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


class TrainingLoader(Protocol):
    """What gives the batches: data.loader.Loader, or StreamLoader in Pipe mode."""

    def training_epoch(
        self, batch_size: int, seed: int, epoch: int, augmentation: Augmentation | None
    ) -> Iterator[Batch]:
        """Every record of an epoch once."""
        ...


class TrainingLoop:
    """Trains a network on a loader's records.

    Args:
        trainer: its optimiser; the loop sets the learning rate.
        ctx: where the network's parameters lie.
        validate: scores the present weights; None when it was interrupted.
        should_stop: asked before every batch.
        average: of the weights, which takes in every update.
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
        self._update = 0
        self._rate = math.nan
        self._counters = logs.IterationCounters()

    @property
    def updates(self) -> int:
        """Steps done so far."""
        return self._update

    def epochs(self) -> Iterator[EpochResult]:
        """Train and yield after every epoch and its validation.

        Raises:
            Interrupted: should_stop said so.
            BrokenData: a stream was refused, or a file could not be read any more.
            ClientError: a loss that is not finite, naming its part and the batch.
        """
        self._print_metrics(time.time(), "init_train_data_iter", None)
        for epoch in range(self._recipe.epochs):
            yield self._epoch(epoch)

    def _epoch(self, epoch: int) -> EpochResult:
        started = time.time()
        self._counters.reset()
        sums = dict.fromkeys(LOSS_PARTS, 0.0)
        batches = records = 0
        waited = 0.0
        pending: list[Any] | None = None
        source = guarded(
            self._loader.training_epoch(
                self._recipe.batch_size, self._recipe.seed, epoch, self._recipe.augmentation
            )
        )
        with _progress_bar(epoch) as bar:
            while True:
                asked = time.perf_counter()
                batch = next(source, None)
                waited += time.perf_counter() - asked
                if self._should_stop():
                    raise Interrupted
                if batch is None:
                    break
                losses = self._step(batch)
                # The losses of the batch before this one: reading the present ones would make
                # the step wait for itself.
                self._add(sums, pending, epoch, batches - 1)
                pending = losses
                batches += 1
                records += len(batch.images)
                self._counters.batch(len(batch.images))
                bar.update(len(batch.images))
                if batches % LOG_EVERY_BATCHES == 0:
                    spent = time.time() - started
                    rate = records / spent
                    log.info(logs.batches_line(epoch, batches, records, rate, spent))
            self._add(sums, pending, epoch, batches - 1)
        mx.nd.waitall()
        trained = time.time()
        means = {part: total / batches for part, total in sums.items()}
        self._log_epoch(epoch, batches, means, records / (trained - started))
        score = self._validate()
        if score is None:
            raise Interrupted
        log.info(logs.map_line(self._recipe.host, epoch, score.mean))
        self._print_metrics(started, "training_data_iter", epoch)
        return EpochResult(
            epoch,
            means,
            score,
            self._rate,
            records,
            trained - started,
            waited,
            time.time() - trained,
        )

    def _step(self, batch: Batch) -> list[Any]:
        rate = self._recipe.learning_rate(self._update)
        if rate != self._rate:
            schedule = self._recipe.learning_rate
            if schedule.kind == "step" and self._update in schedule.drops:
                log.info(logs.learning_rate_line(self._update + 1, rate))
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
        self._update += 1
        if self._average is not None:
            self._average.update(self._update)
        return list(losses)

    @staticmethod
    def _add(sums: dict[str, float], losses: list[Any] | None, epoch: int, batch: int) -> None:
        if losses is None:
            return
        for part, loss in zip(LOSS_PARTS, losses, strict=True):
            value = float(loss.asscalar())
            if not math.isfinite(value):
                raise ClientError(
                    f"The loss {part} became {value} in epoch {epoch}, batch {batch}: training "
                    "diverged. Use a smaller learning_rate, or warmup_steps of a few hundred; the "
                    "best model so far, if any, stays in the model folder."
                )
            sums[part] += value

    def _print_metrics(self, started: float, meta: str, epoch: int | None) -> None:
        dimensions = logs.dimensions(self._recipe.host, meta, epoch)
        line = logs.metrics_json_line(started, time.time(), dimensions, self._counters.metrics())
        print(line, flush=True)

    def _log_epoch(
        self, epoch: int, batches: int, means: dict[str, float], throughput: float
    ) -> None:
        host = self._recipe.host
        for part, value in means.items():
            log.info(logs.loss_line(host, epoch, batches, part, value))
        log.info(logs.throughput_line(host, throughput))


def _progress_bar(epoch: int) -> tqdm[Any]:
    """Images of the epoch, on a terminal only: a log file gets no bar."""
    hidden = not sys.stdout.isatty()
    return tqdm(desc=f"epoch {epoch}", unit=" images", disable=hidden, leave=False)
