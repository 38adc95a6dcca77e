"""One training job from its channels to its artefact."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

import mxnet as mx

from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
from sagemaker_object_detection.model.deploy import deploy_graph
from sagemaker_object_detection.model.network import Network
from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.processor import cpu_flags
from sagemaker_object_detection.platform.stop_request import StopRequest
from sagemaker_object_detection.platform.supervisor import BEGIN
from sagemaker_object_detection.platform.world import require_an_image_each
from sagemaker_object_detection.training.checkpoint import Checkpoints
from sagemaker_object_detection.training.communicator import Communicator, connecting
from sagemaker_object_detection.training.data import Data, read_channels
from sagemaker_object_detection.training.epochs import EarlyStopping, LiveView, Progress
from sagemaker_object_detection.training.finish import Finish
from sagemaker_object_detection.training.loop import Trainer, warn_of_batch_count
from sagemaker_object_detection.training.optimizer import make_trainer
from sagemaker_object_detection.training.schedule import make_learning_rate
from sagemaker_object_detection.training.start import (
    choose_precision,
    find_devices,
    find_trainable,
    log_batch,
    make_average,
    make_start,
)
from sagemaker_object_detection.training.update import Learner

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
    batch, on_gpu = job.hyperparameters.mini_batch_size, devices[0].device_type == "gpu"
    precision = choose_precision(job.hyperparameters.precision, on_gpu, cpu_flags())
    named = ", ".join(map(str, devices))
    log.info("Training on %s with %d threads, computing in %s.", named, threads, precision)
    require_an_image_each(batch, len(devices))
    log_batch(batch, world, len(devices))
    job, network, earlier_names = make_start(job, precision, devices, environ)
    checkpoints = Checkpoints(job, network, communicator)
    first_epoch = checkpoints.first_epoch
    data = read_channels(job, communicator, threads, stop.requested, earlier_names, first_epoch)
    setup_seconds = time.monotonic() - begun
    try:
        trainer = _train(job, data, network, checkpoints, devices, stop)
        history, best = trainer.progress.history, trainer.progress.best
        stop.finishing = True
        if stop.requested():
            log.warning("Stopped: what was to follow the training is left undone.")
        elif not world.is_main:
            log.info("The main process, on %s, finishes the job.", world.hosts[0])
        elif best is not None:
            Finish(job, data, devices[0], threads, history, best, trainer.results)()
    finally:
        data.close()
    seconds = time.monotonic() - begun
    totals = {"setuptime": 1000 * setup_seconds, "totaltime": 1000 * seconds}
    totals = {"epochs": len(history), **totals}
    dimensions = logs.dimensions(job.current_host)
    print(logs.metrics_json_line(started, started + seconds, dimensions, totals), flush=True)


def _train(
    job: Job,
    data: Data,
    network: Network,
    checkpoints: Checkpoints,
    devices: Sequence[mx.Context],
    stop: StopRequest,
) -> Trainer:
    """Train; the trainer knows what the epochs came to."""
    given, communicator = job.hyperparameters, data.communicator
    world = communicator.world
    machines = len(world.hosts)
    trainable = find_trainable(network, given)
    average = make_average(network, trainable, given, data.images_by_largest, machines)
    averages = average.arrays if average else None
    graph = deploy_graph(network, given.nms_threshold, given.nms_topk, averages)
    shape, batches = graph.image_shape, [data.scoring_batch("validation")]
    engine = MXNetEngine(graph.symbol, graph.args, graph.auxs, shape, devices[0], batches)
    if "train" not in data.streams:
        warn_of_batch_count(given, data.train_images, machines)
    continued = "model" in job.channels
    schedule = make_learning_rate(given, data.images_by_largest, continued, machines)
    if schedule.warmup_steps:
        log.info("The learning rate rises over the first %d batches.", schedule.warmup_steps)
    with connecting(communicator):
        optimizer = make_trainer(trainable, given, world, schedule.base)
    learner = Learner(network, optimizer, devices, communicator, average)
    progress = Progress(EarlyStopping.of(given))
    checkpoints.restore(learner, progress, data.train_images)
    if not progress.position.updates:  # a checkpoint has given all the same already
        learner.begin()
    if world.size > 1:
        with connecting(communicator):
            optimizer.begin()
    stop.training = True
    communicator.gather(BEGIN)  # the supervisors take note: from here on an end counts
    folder = job.paths.output_data_dir if world.is_main else None
    live = LiveView(folder, given.epochs, given.tensorboard, progress)
    trainer = Trainer(
        job, data, learner, schedule, graph, engine, checkpoints, progress, live, stop
    )
    trainer.run()
    return trainer
