"""The training loop: epochs of updates, each followed by a validation; the best model is kept."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import mxnet as mx

from sagemaker_object_detection.data.augment import Augmentation
from sagemaker_object_detection.evaluation.average_precision import AveragePrecision, score
from sagemaker_object_detection.evaluation.evaluate import evaluate
from sagemaker_object_detection.evaluation.results import Results
from sagemaker_object_detection.evaluation.results_bytes import join_results, pack_results
from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
from sagemaker_object_detection.model.deploy import DeployGraph
from sagemaker_object_detection.model.loss import LOSS_PARTS
from sagemaker_object_detection.platform import logs, terminal
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.progress import LONGEST_SILENCE_SECONDS, Heartbeat
from sagemaker_object_detection.platform.stop_request import StopRequest
from sagemaker_object_detection.training.checkpoint import Checkpoints
from sagemaker_object_detection.training.communicator import total
from sagemaker_object_detection.training.data import Data, with_lines
from sagemaker_object_detection.training.epochs import (
    BrokenData,
    EpochResult,
    Interrupted,
    LiveView,
    Position,
    Progress,
    guarded,
    save_model,
    write_history,
)
from sagemaker_object_detection.training.schedule import LearningRate, batches_per_epoch
from sagemaker_object_detection.training.update import Learner

log = logging.getLogger(__name__)

LOG_EVERY_BATCHES = 100
_DIVERGED = 1000.0
"""Mean loss of an epoch; untrained networks have some 20."""


@dataclass
class Trainer:
    """Trains a network on the train channel of a job.

    Attributes:
        schedule: learning rate of every update.
        graph: of the weights that are saved; engine: bound to these, for the validation.
        progress: so far; its position is where training begins.
        results: of the best epoch on the validation channel; None where that was before a
            checkpoint.
        silence: seconds between two lines inside an epoch or a validation at most, see Heartbeat;
            inside an epoch there is one every LOG_EVERY_BATCHES in any case.
    """

    job: Job
    data: Data
    learner: Learner
    schedule: LearningRate
    graph: DeployGraph
    engine: MXNetEngine
    checkpoints: Checkpoints
    progress: Progress
    live: LiveView
    stop: StopRequest
    results: Results | None = None
    silence: float = LONGEST_SILENCE_SECONDS
    _found: Results | None = field(default=None, repr=False)  # by the last validation
    _counters: logs.IterationCounters = field(default_factory=logs.IterationCounters, repr=False)

    def run(self) -> None:
        """Run the epochs that are left. The main process writes, the others follow it.

        Raises JobError: the data was refused, or could not be read; what was trained is saved.
        """
        state = "failed"
        try:
            interrupted = self._run_epochs()
            self.learner.trainer.close()
            state = "stopped" if interrupted else "finished"
        finally:
            try:
                self.live.end(state)
            except OSError as error:  # which must not hide what ended the training
                log.warning("The end of training is not in live.json (%s).", error)

    def _run_epochs(self) -> bool:
        """Whether training was interrupted before the last epoch."""
        progress, is_main = self.progress, self.data.communicator.world.is_main
        first, interrupted = len(progress.history), False
        if is_main and progress.history:  # the folder of a new container is empty
            write_history(self.job.paths.output_data_dir, progress.history)
        if self.job.hyperparameters.early_stopping and progress.stopping.is_due(first):
            self._log_early_stop()
            return False
        try:
            for result in self.epochs():
                if self._end_epoch(result, result.epoch == first):
                    self._log_early_stop()
                    break
        except BrokenData as broken:
            if is_main and progress.best is None and progress.position.updates:
                path = save_model(self.job, self.graph, self.data.class_names(), None)
                log.warning(
                    f"The data cannot be used further; what {progress.position.updates} batches "
                    f"have taught, not validated yet, is in {path}."
                )
            self.data.report(broken.error.faults)
            raise broken.error from broken
        except Interrupted:
            interrupted = True
            self._save_checkpoint()
            if progress.best is None:
                log.warning("Stopped before the first epoch was validated: there is no model yet.")
            else:
                folder = self.job.paths.model_dir
                log.warning("Stopped; the best model so far stays in %s.", folder)
        if (best := progress.best) is not None:
            mean = best.score.mean
            log.info("The best model is of epoch %d, validation mAP %.4f.", best.epoch, mean)
        return interrupted

    def _end_epoch(self, result: EpochResult, is_first: bool) -> bool:
        """Keep the best model, write all down; whether training is to stop early."""
        job, data, progress = self.job, self.data, self.progress
        is_main = data.communicator.world.is_main
        is_best = progress.add(result)
        if is_first and data.streams:  # their first pass here
            data.exchange_names()
            data.report()
        if is_first and "train" in data.streams:  # only now its number is known
            machines = len(data.communicator.world.hosts)
            warn_of_batch_count(job.hyperparameters, result.records, machines)
        if is_main:
            write_history(job.paths.output_data_dir, progress.history)
        if is_best:
            log.info(logs.best_model_line(result.score.mean))
            names = data.class_names()
            if is_main:
                log.info(logs.saved_line(save_model(job, self.graph, names, result)))
            self.results = self._found
        done = result.epoch + 1
        log.info(logs.progress_line(job.current_host, done, job.hyperparameters.epochs))
        self.live.epoch(result)
        if is_main:
            self._show(result, is_best, is_first)
        stop_now = progress.stopping.should_stop(done, result.score.mean)
        self._save_checkpoint()
        return job.hyperparameters.early_stopping and stop_now

    def _show(self, result: EpochResult, is_best: bool, is_first: bool) -> None:
        """A row of the table that a terminal shows."""
        if not terminal.is_shown():
            return
        names = self.data.class_names()
        scores = zip(names, result.score.per_class, strict=True)
        terminal.show_epoch(
            (result.epoch + 1, self.job.hyperparameters.epochs),
            [result.losses[part] for part in LOSS_PARTS],
            result.score.mean,
            {name: value for name, value in scores if not math.isnan(value)},
            (
                result.records / result.training_seconds,
                result.training_seconds + result.validation_seconds,
            ),
            is_best,
            is_first,
        )

    def _save_checkpoint(self) -> None:
        self.checkpoints.save(self.learner, self.progress, self.data.train_images)

    def epochs(self) -> Iterator[EpochResult]:
        """Train and yield after every epoch and its validation.

        Raises:
            Interrupted: a process was asked to stop.
            BrokenData: a stream was refused, or a file could not be read any more.
            ClientError: a loss that is not finite, naming its part and the batch.
        """
        self._print_metrics(time.time(), "init_train_data_iter", None)
        while (epoch := self.progress.position.epoch) < self.job.hyperparameters.epochs:
            result = self._epoch()
            self.progress.position = Position(epoch + 1, self.progress.position.updates)
            yield result

    def _epoch(self) -> EpochResult:
        position, started, host = self.progress.position, time.time(), self.job.current_host
        self._counters.reset()
        self._train()
        means = position.mean_losses()
        for part, value in means.items():
            log.info(logs.loss_line(host, position.epoch, position.batches, part, value))
        if (loss := sum(means.values())) > _DIVERGED:
            log.warning(
                f"The loss of epoch {position.epoch} is {loss:.3g}: training diverges. Set a "
                f"smaller learning_rate (it is {self.schedule.base:.2g}), or warmup_steps of a few "
                "hundred."
            )
        log.info(logs.throughput_line(host, position.records / position.seconds))
        begun = time.monotonic()
        found = self._validate()
        if found is None:
            raise Interrupted
        log.info(logs.map_line(host, position.epoch, found.mean))
        self._print_metrics(started, "training_data_iter", position.epoch)
        numbers = self._rate, position.records, position.seconds, position.waited
        return EpochResult(position.epoch, means, found, *numbers, time.monotonic() - begun)

    def _train(self) -> None:
        """The batches of the epoch that are still to be done."""
        position, given = self.progress.position, self.job.hyperparameters
        loader, augmentation = self.data.loaders["train"], Augmentation.of(given.augmentation)
        size, seed, epoch = given.mini_batch_size, given.seed, position.epoch
        batches = loader.training_epoch(size, seed, epoch, augmentation, position.batches)
        batches = guarded(batches)
        started = time.monotonic() - position.seconds
        pending: list[Any] = []
        heartbeat = Heartbeat(self.silence)
        images = None if "train" in self.data.streams else self.data.train_images
        with terminal.Bar(f"epoch {epoch + 1}/{given.epochs}", images) as bar:
            bar.advance(position.records)
            while True:
                asked = time.perf_counter()
                batch = next(batches, None)
                position.waited += time.perf_counter() - asked
                update = self.learner.prepare(batch, self.stop.requested(), heartbeat.is_due())
                if update.stopped or not update.goes_on:
                    break
                if update.line_due and position.batches:
                    self._log_batches(heartbeat)
                losses = self.learner.make(update, position.updates + 1, self._next_rate())
                position.updates += 1
                # The losses of the batch before this one: reading the present ones would make
                # the step wait for itself.
                self._add(pending)
                pending = losses
                position.batches += 1
                position.records += update.images
                position.seconds = time.monotonic() - started
                self._counters.batch(update.images)
                bar.advance(update.images, self._figures())
                if position.batches % LOG_EVERY_BATCHES == 0:
                    self._log_batches(heartbeat)
            self._add(pending)
        mx.nd.waitall()
        position.seconds = time.monotonic() - started
        stops, *sums = total(self.data.communicator, [update.stopped, *position.losses.values()])
        position.losses.update(zip(LOSS_PARTS, sums, strict=True))
        self.learner.settle(f"batch {position.batches} of epoch {position.epoch}")
        if stops:
            raise Interrupted

    def _figures(self) -> str:
        """Losses and learning rate of the epoch so far, for the terminal."""
        position = self.progress.position
        count = max(1, position.batches - 1)
        classes, boxes = (position.losses[part] / count for part in LOSS_PARTS)
        return f"losses {classes:.2f} {boxes:.2f}, rate {self._rate:.1e}"

    @property
    def _rate(self) -> float:
        """The learning rate of the last update, which may have been before a checkpoint."""
        return self.schedule(self.progress.position.updates - 1)

    def _next_rate(self) -> float:
        """The learning rate of the next update; the log tells of its drops."""
        updates, schedule = self.progress.position.updates, self.schedule
        rate, dropped = schedule(updates), schedule.kind == "step" and updates in schedule.drops
        if dropped and (not updates or rate != self._rate):
            log.info(logs.learning_rate_line(updates + 1, rate))
        return rate

    def _validate(self) -> AveragePrecision | None:
        """The score of the present weights; None when any process was stopped. Raises BrokenData.

        Every process detects on its share of the images; what all have found is scored as one.
        """
        name, data, given = "validation", self.data, self.job.hyperparameters
        self.engine.refresh()
        batches = guarded(data.loaders[name].evaluation_pass(data.scoring_batch(name)))
        batches = with_lines(name, batches, lambda: self.live.validating(self._rate), self.silence)
        found = evaluate(self.engine, batches, self.stop.requested)
        if data.communicator.world.size > 1:
            if found is not None:
                start = data.shards[name].start
                found = replace(found, records=found.records + start)
            parts = data.communicator.gather(b"" if found is None else pack_results(found))
            found = join_results(parts) if all(parts) else None
        self._found = found
        if found is None:
            return None
        return score(found, given.num_classes, given.overlap_threshold)

    def _add(self, losses: list[Any]) -> None:
        """Add up the losses of the last batch that was counted."""
        position = self.progress.position
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

    def _log_batches(self, heartbeat: Heartbeat) -> None:
        """All processes that are in step have to do so at the same batch."""
        heartbeat.logged()
        position = self.progress.position
        numbers = position.epoch, position.batches, position.records
        rate = position.records / position.seconds
        log.info(logs.batches_line(*numbers, rate, position.seconds))
        # Without the last batch, which is still to come.
        sums = total(self.data.communicator, list(position.losses.values()))
        count = max(1, position.batches - 1)
        means = {part: value / count for part, value in zip(LOSS_PARTS, sums, strict=True)}
        self.live.batches(means, self._rate)

    def _log_early_stop(self) -> None:
        progress = self.progress
        assert progress.last is not None
        assert progress.best is not None
        best, rule = progress.best.score.mean, progress.stopping
        log.info(
            f"Early stopping after epoch {progress.last.epoch}: validation mAP has not exceeded "
            f"its best, {best:.4f}, by more than a share of {rule.tolerance:g} for "
            f"{rule.epochs_without_gain} epochs."
        )

    def _print_metrics(self, started: float, meta: str, epoch: int | None) -> None:
        """A line for each host."""
        if self.data.communicator.world.local_rank == 0:
            dimensions = logs.dimensions(self.job.current_host, meta, epoch)
            metrics = self._counters.metrics()
            logs.print_metrics(started, time.time(), dimensions, metrics)


def warn_of_batch_count(given: Hyperparameters, images: int, machines: int = 1) -> None:
    """As the service: when num_training_samples says something else than the data."""
    expected = batches_per_epoch(given, given.num_training_samples, machines)
    processed = batches_per_epoch(given, images, machines)
    if expected != processed:
        log.warning(
            f"{logs.batch_count_line(expected, processed)} num_training_samples is "
            f"{given.num_training_samples}, the train channel has {images} usable images."
        )
