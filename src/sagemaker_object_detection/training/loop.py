"""The training loop: epochs of steps, each followed by a validation; the best model is kept."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import mxnet as mx
from tqdm import tqdm

from sagemaker_object_detection.data.augment import Augmentation
from sagemaker_object_detection.data.loader import Batch
from sagemaker_object_detection.evaluation.average_precision import AveragePrecision
from sagemaker_object_detection.model.deploy import DeployGraph
from sagemaker_object_detection.model.loss import LOSS_PARTS
from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.progress import LONGEST_SILENCE_SECONDS, Heartbeat
from sagemaker_object_detection.training.communicator import Communicator, total
from sagemaker_object_detection.training.data import Data
from sagemaker_object_detection.training.epochs import (
    BrokenData,
    EpochResult,
    Interrupted,
    Position,
    Progress,
    Recipe,
    guarded,
    write_history,
)
from sagemaker_object_detection.training.saving import save_model
from sagemaker_object_detection.training.schedule import batches_per_epoch
from sagemaker_object_detection.training.update import Updates

log = logging.getLogger(__name__)

LOG_EVERY_BATCHES = 100
_DIVERGED = 1000.0
"""Mean loss of an epoch; untrained networks have some 20."""


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
        updates: of the network; the loop sets their learning rate.
        communicator: to the other processes that train the same network.
        validate: scores the present weights; None when it was interrupted.
        should_stop: asked before every batch.
        after_update: called with the number of each update, from 1.
        settle: called after the batches of an epoch, or those before an interruption, with what
            to call that moment: makes all processes and devices equal.
        silence: seconds between two lines inside an epoch at most, which there are every
            LOG_EVERY_BATCHES in any case; see Heartbeat.

    Attributes:
        position: where it is; to be set before `epochs` where training goes on.
        on_batches: called with the position, the mean losses of the epoch so far and the learning
            rate when a line inside an epoch is logged.
    """

    def __init__(
        self,
        updates: Updates,
        communicator: Communicator,
        loader: TrainingLoader,
        recipe: Recipe,
        validate: Callable[[], AveragePrecision | None],
        should_stop: Callable[[], bool],
        after_update: Callable[[int], None] = lambda count: None,
        settle: Callable[[str], None] = lambda when: None,
        silence: float = LONGEST_SILENCE_SECONDS,
    ) -> None:
        self._updates = updates
        self._communicator = communicator
        self._loader = loader
        self._recipe = recipe
        self._validate = validate
        self._should_stop = should_stop
        self._after_update = after_update
        self._settle = settle
        self.position = Position()
        self.on_batches: Callable[[Position, dict[str, float], float], None] = lambda *told: None
        self._rate = math.nan
        self._silence = silence
        self._counters = logs.IterationCounters()

    @property
    def learning_rate(self) -> float:
        """Of the last update, which may have been before a checkpoint."""
        return self._recipe.learning_rate(self.position.updates - 1)

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
        begun = time.monotonic()
        score = self._validate()
        if score is None:
            raise Interrupted
        log.info(logs.map_line(self._recipe.host, position.epoch, score.mean))
        self._print_metrics(started, "training_data_iter", position.epoch)
        return EpochResult(
            position.epoch,
            means,
            score,
            self.learning_rate,
            position.records,
            position.seconds,
            position.waited,
            time.monotonic() - begun,
        )

    def _train(self) -> None:
        """The batches of the epoch that are still to be done."""
        position = self.position
        started = time.monotonic() - position.seconds
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
        heartbeat = Heartbeat(self._silence)
        with _progress_bar(position.epoch) as bar:
            while True:
                asked = time.perf_counter()
                batch = next(source, None)
                position.waited += time.perf_counter() - asked
                update = self._updates.prepare(batch, self._should_stop(), heartbeat.is_due())
                agreed = update.agreement
                if agreed.stopped or not agreed.goes_on:
                    break
                if agreed.line_due and position.batches:
                    self._log_batches(heartbeat)
                self._set_rate()
                losses = self._updates.make(update)
                position.updates += 1
                self._after_update(position.updates)
                # The losses of the batch before this one: reading the present ones would make
                # the step wait for itself.
                self._add(pending)
                pending = losses
                position.batches += 1
                position.records += agreed.images
                position.seconds = time.monotonic() - started
                self._counters.batch(agreed.images)
                bar.update(agreed.images)
                if position.batches % LOG_EVERY_BATCHES == 0:
                    self._log_batches(heartbeat)
            self._add(pending)
        mx.nd.waitall()
        position.seconds = time.monotonic() - started
        stopped = self._sum_up(agreed.stopped)
        self._settle(f"batch {position.batches} of epoch {position.epoch}")
        if stopped:
            raise Interrupted

    def _sum_up(self, stopped: bool) -> bool:
        """Add up what all processes have in the epoch so far; whether any was asked to stop."""
        position = self.position
        stops, *losses = total(self._communicator, [stopped, *position.losses.values()])
        position.losses.update(zip(LOSS_PARTS, losses, strict=True))
        return stops > 0

    def _log_batches(self, heartbeat: Heartbeat) -> None:
        """All processes that are in step have to do so at the same batch."""
        heartbeat.logged()
        position = self.position
        rate = position.records / position.seconds
        log.info(
            logs.batches_line(
                position.epoch, position.batches, position.records, rate, position.seconds
            )
        )
        self.on_batches(position, self._means_so_far(), self._rate)

    def _means_so_far(self) -> dict[str, float]:
        """Of all processes that are in step, without the last batch, which is still to come."""
        losses, count = self.position.losses, max(1, self.position.batches - 1)
        values = list(losses.values())
        values = total(self._communicator, values)
        return {part: value / count for part, value in zip(losses, values, strict=True)}

    def _set_rate(self) -> None:
        position, schedule = self.position, self._recipe.learning_rate
        rate = schedule(position.updates)
        if rate != self._rate:
            if schedule.kind == "step" and position.updates in schedule.drops:
                log.info(logs.learning_rate_line(position.updates + 1, rate))
            self._updates.set_learning_rate(rate)
            self._rate = rate

    def _add(self, losses: list[Any] | None) -> None:
        """Add up the losses of the last batch that was counted."""
        if losses is None:
            return
        position = self.position
        for index, part in enumerate(LOSS_PARTS):
            value = sum(float(pair[index].asscalar()) for pair in losses)
            if not math.isfinite(value):
                raise ClientError(
                    f"The loss {part} became {value} in epoch {position.epoch}, batch "
                    f"{position.batches - 1}: training diverged. Use a smaller learning_rate, or "
                    "warmup_steps of a few hundred; the best model so far, if any, stays in the "
                    "model folder."
                )
            position.losses[part] += value

    def _print_metrics(self, started: float, meta: str, epoch: int | None) -> None:
        """A line for each host."""
        if self._communicator.world.local_rank:
            return
        dimensions = logs.dimensions(self._recipe.host, meta, epoch)
        line = logs.metrics_json_line(started, time.time(), dimensions, self._counters.metrics())
        print(line, flush=True)

    def _log_epoch(self, position: Position, means: dict[str, float]) -> None:
        host = self._recipe.host
        for part, value in means.items():
            log.info(logs.loss_line(host, position.epoch, position.batches, part, value))
        if sum(means.values()) > _DIVERGED:
            log.warning(
                "The loss of epoch %d is %.3g: training diverges. Set a smaller learning_rate (it "
                "is %.2g), or warmup_steps of a few hundred.",
                position.epoch,
                sum(means.values()),
                self._recipe.learning_rate.base,
            )
        log.info(logs.throughput_line(host, position.records / position.seconds))


def _progress_bar(epoch: int) -> tqdm[Any]:
    """Images of the epoch, on a terminal only: a log file gets no bar."""
    hidden = not sys.stdout.isatty()
    return tqdm(desc=f"epoch {epoch}", unit=" images", disable=hidden, leave=False)


@dataclass(frozen=True)
class Hooks:
    """What else is to happen.

    Attributes:
        best: after the model of an epoch has been saved as the best.
        epoch: after every epoch.
        moment: at the end of every epoch, and where training is interrupted: time to remember all.
    """

    best: Callable[[EpochResult], None]
    epoch: Callable[[EpochResult], None]
    moment: Callable[[], None]


def follow(
    job: Job,
    loop: TrainingLoop,
    graph: DeployGraph,
    data: Data,
    progress: Progress,
    hooks: Hooks,
) -> bool:
    """Run the epochs that are left. The main process writes, the others follow it.

    Returns:
        whether it was interrupted before the last of them.

    Raises:
        JobError: the data was refused, or could not be read; what was trained is saved.
    """
    hyperparameters = job.hyperparameters
    machines = len(data.communicator.world.hosts)
    is_main = data.communicator.world.is_main
    first = done = len(progress.history)
    interrupted = False
    if is_main and progress.history:  # the folder of a new container is empty
        write_history(job.paths.output_data_dir, progress.history)
    if hyperparameters.early_stopping and progress.stopping.is_due(done):
        _log_early_stop(progress, done - 1)
        return False
    try:
        for result in loop.epochs():
            is_best = progress.add(result)
            if result.epoch == first and data.streams:  # their first pass here
                data.exchange_names()
                data.report()
            if result.epoch == first and "train" in data.streams:  # only now its number is known
                warn_of_batch_count(hyperparameters, result.records, machines)
            if is_main:
                write_history(job.paths.output_data_dir, progress.history)
            if is_best:
                log.info(logs.best_model_line(result.score.mean))
                names = data.class_names()
                if is_main:
                    log.info(logs.saved_line(save_model(job, graph, names, result)))
                hooks.best(result)
            done = result.epoch + 1
            log.info(logs.progress_line(job.current_host, done, hyperparameters.epochs))
            hooks.epoch(result)
            stop_now = progress.stopping.should_stop(done, result.score.mean)
            hooks.moment()
            if hyperparameters.early_stopping and stop_now:
                _log_early_stop(progress, result.epoch)
                break
    except BrokenData as broken:
        if is_main and progress.best is None and loop.position.updates:
            path = save_model(job, graph, data.class_names(), None)
            log.warning(
                "The data cannot be used further; what %d batches have taught, not validated yet, "
                "is in %s.",
                loop.position.updates,
                path,
            )
        data.report(broken.error.faults)
        raise broken.error from broken
    except Interrupted:
        interrupted = True
        hooks.moment()
        if progress.best is None:
            log.warning("Stopped before the first epoch was validated: there is no model yet.")
        else:
            log.warning("Stopped; the best model so far stays in %s.", job.paths.model_dir)
    best = progress.best
    if best is not None:
        log.info("The best model is of epoch %d, validation mAP %.4f.", best.epoch, best.score.mean)
    return interrupted


def warn_of_batch_count(hyperparameters: Hyperparameters, images: int, machines: int = 1) -> None:
    """As the service: when num_training_samples says something else than the data."""
    expected = batches_per_epoch(hyperparameters, hyperparameters.num_training_samples, machines)
    processed = batches_per_epoch(hyperparameters, images, machines)
    if expected != processed:
        log.warning(
            "%s num_training_samples is %d, the train channel has %d usable images.",
            logs.batch_count_line(expected, processed),
            hyperparameters.num_training_samples,
            images,
        )


def _log_early_stop(progress: Progress, epoch: int) -> None:
    assert progress.best is not None
    log.info(
        "Early stopping after epoch %d: validation mAP has not exceeded its best, %.4f, by more "
        "than a share of %g for %d epochs.",
        epoch,
        progress.best.score.mean,
        progress.stopping.tolerance,
        progress.stopping.epochs_without_gain,
    )
