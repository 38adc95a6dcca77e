"""One training job from its channels to its artefact."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

import mxnet as mx

from sagemaker_object_detection.evaluation.results import Results
from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
from sagemaker_object_detection.model.deploy import deploy_graph
from sagemaker_object_detection.model.network import Network
from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.processor import cpu_flags
from sagemaker_object_detection.platform.stop_request import StopRequest
from sagemaker_object_detection.platform.world import require_an_image_each
from sagemaker_object_detection.training.checkpoint import Checkpoints, Trained
from sagemaker_object_detection.training.communicator import Communicator, begin, connecting
from sagemaker_object_detection.training.data import Data, read_channels
from sagemaker_object_detection.training.epochs import (
    EarlyStopping,
    EpochResult,
    LiveView,
    NoView,
    Progress,
)
from sagemaker_object_detection.training.finish import Finish
from sagemaker_object_detection.training.loop import (
    Hooks,
    TrainingLoop,
    follow,
    warn_of_batch_count,
)
from sagemaker_object_detection.training.optimizer import make_trainer
from sagemaker_object_detection.training.start import (
    choose_precision,
    find_devices,
    find_trainable,
    log_batch,
    make_average,
    make_recipe,
    make_start,
)
from sagemaker_object_detection.training.update import Replicas, Updates
from sagemaker_object_detection.training.validation import Validation

log = logging.getLogger(__name__)


def run_job(
    job: Job,
    stop: StopRequest,
    threads: int,
    environ: Mapping[str, str],
    communicator: Communicator,
) -> None:
    """Train a detector as the job asks; the main process leaves the best model in its folder.

    Args:
        threads: processor cores to use.
        communicator: to the processes that train the same network.

    Raises:
        JobError: the user's, ours or the platform's; OSError where a file cannot be written.
    """
    started, begun = time.time(), time.monotonic()
    world = communicator.world
    devices = find_devices(world, environ)
    hyperparameters = job.hyperparameters
    on_gpu = devices[0].device_type == "gpu"
    precision = choose_precision(hyperparameters.precision, on_gpu, cpu_flags())
    log.info(
        "Training on %s with %d threads, computing in %s.",
        ", ".join(map(str, devices)),
        threads,
        precision,
    )
    require_an_image_each(hyperparameters.mini_batch_size, len(devices))
    log_batch(hyperparameters.mini_batch_size, world, len(devices))
    start = make_start(job, precision, devices, environ)
    job = start.job
    checkpoints = Checkpoints(job, start.network, communicator)
    data = read_channels(
        job, communicator, threads, stop.requested, start.class_names, checkpoints.first_epoch
    )
    setup_seconds = time.monotonic() - begun
    try:
        progress, results = _train(job, data, start.network, checkpoints, devices, stop)
        stop.finishing = True
        if stop.requested():
            log.warning("Stopped: what was to follow the training is left undone.")
        elif world.is_main:
            Finish(job, data, devices[0], threads)(progress, results)
        else:
            log.info("The main process, on %s, finishes the job.", world.hosts[0])
    finally:
        data.close()
    seconds = time.monotonic() - begun
    totals = {
        "epochs": len(progress.history),
        "setuptime": 1000 * setup_seconds,
        "totaltime": 1000 * seconds,
    }
    dimensions = logs.dimensions(job.current_host)
    print(logs.metrics_json_line(started, started + seconds, dimensions, totals), flush=True)


def _train(
    job: Job,
    data: Data,
    network: Network,
    checkpoints: Checkpoints,
    devices: Sequence[mx.Context],
    stop: StopRequest,
) -> tuple[Progress, Results | None]:
    """Train; what the epochs came to, and what the kept model found on the validation channel."""
    hyperparameters = job.hyperparameters
    trainable = find_trainable(network, hyperparameters)
    machines = len(data.communicator.world.hosts)
    average = make_average(network, trainable, hyperparameters, data.images_by_largest, machines)
    graph = deploy_graph(
        network,
        hyperparameters.nms_threshold,
        hyperparameters.nms_topk,
        average.arrays if average else None,
    )
    batch = data.scoring_batch("validation")
    engine = MXNetEngine(
        graph.symbol, graph.args, graph.auxs, graph.image_shape, devices[0], batch_sizes=[batch]
    )

    communicator = data.communicator
    world = communicator.world
    validation = Validation(job, data, engine, batch, stop.requested, communicator)
    if "train" not in data.streams:
        warn_of_batch_count(hyperparameters, data.train_images, len(world.hosts))
    recipe = make_recipe(job, data)
    with connecting(communicator):
        trainer = make_trainer(trainable, hyperparameters, world, recipe.learning_rate)
    trained = Trained(network, trainer, average)
    replicas = Replicas(communicator, network, average)
    loop = TrainingLoop(
        Updates(network, trainer, devices, communicator),
        communicator,
        data.loaders["train"],
        recipe,
        validation,
        stop.requested,
        average.update if average else lambda count: None,
        replicas.settle,
    )
    progress = Progress(
        EarlyStopping(
            hyperparameters.early_stopping_min_epochs,
            hyperparameters.early_stopping_patience,
            hyperparameters.early_stopping_tolerance,
        )
    )
    loop.position = checkpoints.restore(trained, progress, data.train_images)
    if not loop.position.updates:  # a checkpoint has given all the same already
        replicas.begin()
    if world.size > 1:
        with connecting(communicator):
            trainer.begin()
    stop.training = True
    begin(communicator)

    live = NoView()
    if world.is_main:
        live = LiveView(
            job.paths.output_data_dir, hyperparameters.epochs, hyperparameters.tensorboard, progress
        )
    loop.on_batches = live.batches
    validation.on_line = lambda: live.validating(loop.position, loop.learning_rate)

    def is_best(result: EpochResult) -> None:
        validation.keep()
        checkpoints.keep_best(result.epoch)

    hooks = Hooks(
        best=is_best,
        epoch=lambda result: live.epoch(loop.position, result),
        moment=lambda: checkpoints.save(trained, loop.position, progress, data.train_images),
    )
    state = "failed"
    try:
        interrupted = follow(job, loop, graph, data, progress, hooks)
        trainer.close()
        state = "stopped" if interrupted else "finished"
    finally:
        try:
            live.end(loop.position, state)
        except OSError as error:  # which must not hide what ended the training
            log.warning("The end of training is not in live.json (%s).", error)
    return progress, validation.kept
