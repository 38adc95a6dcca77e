"""One training job from its channels to its artefact."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Protocol

import mxnet as mx

from sagemaker_object_detection.data.augment import Augmentation
from sagemaker_object_detection.evaluation.results import Results
from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine, default_context
from sagemaker_object_detection.model.deploy import deploy_graph
from sagemaker_object_detection.model.names import frozen_names
from sagemaker_object_detection.model.network import Network
from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.processor import cpu_flags
from sagemaker_object_detection.training.average import WeightAverage, decay_over
from sagemaker_object_detection.training.data import Data, read_channels
from sagemaker_object_detection.training.early_stopping import EarlyStopping
from sagemaker_object_detection.training.finish import Finish
from sagemaker_object_detection.training.follow import Hooks, follow, warn_of_batch_count
from sagemaker_object_detection.training.history import EpochResult
from sagemaker_object_detection.training.live import LiveView
from sagemaker_object_detection.training.loop import Recipe, TrainingLoop
from sagemaker_object_detection.training.optimizer import make_trainer
from sagemaker_object_detection.training.precision import choose_precision
from sagemaker_object_detection.training.progress import Progress
from sagemaker_object_detection.training.resume import Checkpoints, Trained
from sagemaker_object_detection.training.schedule import batches_per_epoch, make_learning_rate
from sagemaker_object_detection.training.start import make_start
from sagemaker_object_detection.training.validation import Validation

log = logging.getLogger(__name__)


class Stop(Protocol):
    """What `training.main.StopRequest` offers."""

    training: bool
    finishing: bool

    def requested(self) -> bool:
        """Whether the process was asked to end."""
        ...


def run_job(job: Job, stop: Stop, threads: int, environ: Mapping[str, str]) -> None:
    """Train a detector as the job asks; leaves the best model in the model folder.

    Args:
        threads: processor cores to use.

    Raises:
        JobError: the user's, ours or the platform's; OSError where a file cannot be written.
    """
    started = time.time()
    ctx = default_context()
    hyperparameters = job.hyperparameters
    precision = choose_precision(hyperparameters.precision, ctx.device_type == "gpu", cpu_flags())
    log.info("Training on %s with %d threads, computing in %s.", ctx, threads, precision)
    start = make_start(job, precision, ctx, environ)
    job = start.job
    checkpoints = Checkpoints(job, start.network)
    data = read_channels(job, threads, stop.requested, start.class_names, checkpoints.first_epoch)
    setup_seconds = time.time() - started
    stop.training = True
    try:
        progress, results = _train(job, data, start.network, checkpoints, ctx, stop)
        stop.finishing = True
        if stop.requested():
            log.warning("Stopped: what was to follow the training is left undone.")
        else:
            Finish(job, data, ctx, threads)(progress, results)
    finally:
        data.close()
    finished = time.time()
    totals = {
        "epochs": len(progress.history),
        "setuptime": 1000 * setup_seconds,
        "totaltime": 1000 * (finished - started),
    }
    dimensions = logs.dimensions(job.current_host)
    print(logs.metrics_json_line(started, finished, dimensions, totals), flush=True)


def _train(
    job: Job,
    data: Data,
    network: Network,
    checkpoints: Checkpoints,
    ctx: mx.Context,
    stop: Stop,
) -> tuple[Progress, Results | None]:
    """Train; what the epochs came to, and what the kept model found on the validation channel."""
    hyperparameters = job.hyperparameters
    trainable = _trainable(network, hyperparameters)
    average = _average(network, trainable, hyperparameters, data.train_images)
    graph = deploy_graph(
        network,
        hyperparameters.nms_threshold,
        hyperparameters.nms_topk,
        average.arrays if average else None,
    )
    batch = data.scoring_batch("validation")
    engine = MXNetEngine(
        graph.symbol, graph.args, graph.auxs, graph.image_shape, ctx, batch_sizes=[batch]
    )

    validation = Validation(job, data, engine, batch, stop.requested)
    if "train" not in data.streams:
        warn_of_batch_count(hyperparameters, data.train_images)
    trained = Trained(network, make_trainer(trainable, hyperparameters), average)
    loop = TrainingLoop(
        network,
        trained.trainer,
        ctx,
        data.loaders["train"],
        _recipe(job, data),
        validation,
        stop.requested,
        average,
    )
    progress = Progress(
        EarlyStopping(
            hyperparameters.early_stopping_min_epochs,
            hyperparameters.early_stopping_patience,
            hyperparameters.early_stopping_tolerance,
        )
    )
    loop.position = checkpoints.restore(trained, progress, data.train_images)

    live = LiveView(job.paths.output_data_dir, hyperparameters.epochs, hyperparameters.tensorboard)
    loop.on_batches = live.batches

    def is_best(result: EpochResult) -> None:
        validation.keep()
        checkpoints.keep_best(result.epoch)

    hooks = Hooks(
        best=is_best,
        epoch=lambda result: live.epoch(loop.position, result, progress.best),
        moment=lambda: checkpoints.save(trained, loop.position, progress, data.train_images),
    )
    state = "failed"
    try:
        follow(job, loop, graph, data, progress, hooks)
        state = "stopped" if stop.requested() else "finished"
    finally:
        live.end(loop.position, state)
    return progress, validation.kept


def _recipe(job: Job, data: Data) -> Recipe:
    hyperparameters = job.hyperparameters
    learning_rate = make_learning_rate(
        hyperparameters, data.train_images, continued="model" in job.channels
    )
    if learning_rate.warmup_steps:
        log.info("The learning rate rises over the first %d batches.", learning_rate.warmup_steps)
    return Recipe(
        epochs=hyperparameters.epochs,
        batch_size=hyperparameters.mini_batch_size,
        seed=hyperparameters.seed,
        augmentation=Augmentation.of(hyperparameters.augmentation),
        learning_rate=learning_rate,
        host=job.current_host,
    )


def _trainable(network: Network, hyperparameters: Hyperparameters) -> dict[str, mx.gluon.Parameter]:
    """Parameters that learn, by name; the others get no gradient."""
    parameters = network.parameters
    pattern = hyperparameters.freeze_layer_pattern
    if pattern:
        candidates = [name for name, p in parameters.items() if p.grad_req != "null"]
        frozen = frozen_names(pattern, candidates, hyperparameters.base_network)
        for name in frozen:
            parameters[name].grad_req = "null"
        log.info("freeze_layer_pattern keeps %d of %d parameters.", len(frozen), len(candidates))
    learning = {name: p for name, p in parameters.items() if p.grad_req != "null"}
    if not learning:
        raise ClientError(
            f"freeze_layer_pattern {pattern!r} freezes every layer: nothing is left to train. "
            "Narrow it."
        )
    return learning


def _average(
    network: Network,
    trainable: Mapping[str, mx.gluon.Parameter],
    hyperparameters: Hyperparameters,
    images: int,
) -> WeightAverage | None:
    """The average of all that training changes: what is trained, and BatchNorm's statistics."""
    decay = hyperparameters.ema_decay
    if decay is None:
        decay = decay_over(batches_per_epoch(hyperparameters, images))
    if not decay:
        return None
    log.info("Weights are averaged, of which a share of %g stays at each batch.", decay)
    statistics = network.heads.list_auxiliary_states()
    changing = {n: p for n, p in network.parameters.items() if n in trainable or n in statistics}
    return WeightAverage(changing, decay)
