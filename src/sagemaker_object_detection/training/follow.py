"""From epoch to epoch: the best model is kept, all is written down, and when to stop is decided."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from sagemaker_object_detection.model.deploy import DeployGraph
from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.training.data import Data
from sagemaker_object_detection.training.epochs import (
    BrokenData,
    EpochResult,
    Interrupted,
    Progress,
    write_history,
)
from sagemaker_object_detection.training.loop import TrainingLoop
from sagemaker_object_detection.training.saving import save_model
from sagemaker_object_detection.training.schedule import batches_per_epoch

log = logging.getLogger(__name__)


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
