"""One training job from its channels to its artefact."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Protocol

import mxnet as mx

from sagemaker_object_detection.data.augment import Augmentation
from sagemaker_object_detection.data.loader import Batch
from sagemaker_object_detection.evaluation.average_precision import AveragePrecision, score
from sagemaker_object_detection.evaluation.evaluate import evaluate
from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine, default_context
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.deploy import deploy_graph
from sagemaker_object_detection.model.names import frozen_names
from sagemaker_object_detection.model.network import Network
from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.training.average import WeightAverage, decay_over
from sagemaker_object_detection.training.data import Data, read_channels
from sagemaker_object_detection.training.early_stopping import EarlyStopping
from sagemaker_object_detection.training.follow import Hooks, follow, warn_of_batch_count
from sagemaker_object_detection.training.interruptions import BrokenData, guarded
from sagemaker_object_detection.training.loop import Recipe, TrainingLoop
from sagemaker_object_detection.training.optimizer import make_trainer
from sagemaker_object_detection.training.precision import choose_precision, cpu_flags
from sagemaker_object_detection.training.progress import Progress
from sagemaker_object_detection.training.resume import Checkpoints, Trained
from sagemaker_object_detection.training.saving import save_test_score
from sagemaker_object_detection.training.schedule import batches_per_epoch, make_learning_rate
from sagemaker_object_detection.training.start import make_start

log = logging.getLogger(__name__)


class Stop(Protocol):
    """What `training.main.StopRequest` offers."""

    training: bool

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
        progress = _train(job, data, start.network, checkpoints, ctx, stop)
        if "test" in data.loaders and not stop.requested():
            _score_test(job, data, ctx, stop)
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
) -> Progress:
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

    def validate() -> AveragePrecision | None:
        engine.refresh()
        batches = data.loaders["validation"].evaluation_pass(batch)
        return _score(job, engine, guarded(batches), stop)

    if "train" not in data.streams:
        warn_of_batch_count(hyperparameters, data.train_images)
    trained = Trained(network, make_trainer(trainable, hyperparameters), average)
    loop = TrainingLoop(
        network,
        trained.trainer,
        ctx,
        data.loaders["train"],
        _recipe(job, data),
        validate,
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

    hooks = Hooks(
        best=lambda result: checkpoints.keep_best(result.epoch),
        moment=lambda: checkpoints.save(trained, loop.position, progress, data.train_images),
    )
    follow(job, loop, graph, data, progress, hooks)
    return progress


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


def _score(
    job: Job, engine: MXNetEngine, batches: Iterator[Batch], stop: Stop
) -> AveragePrecision | None:
    hyperparameters = job.hyperparameters
    results = evaluate(engine, batches, stop.requested)
    if results is None:
        return None
    return score(results, hyperparameters.num_classes, hyperparameters.overlap_threshold)


def _score_test(job: Job, data: Data, ctx: mx.Context, stop: Stop) -> None:
    """Score the artefact, as it was written, on the test channel.

    Raises JobError and OSError where the channel's data cannot be used; the model stays.
    """
    batch = data.scoring_batch("test")
    engine = MXNetEngine.from_folder(job.paths.model_dir, ctx, batch_sizes=[batch])
    batches = guarded(data.loaders["test"].evaluation_pass(batch))
    try:
        score = _score(job, engine, batches, stop)
    except BrokenData as broken:
        data.report(broken.error.faults)
        raise broken.error from broken
    if score is None:
        log.warning("Stopped before the test channel was scored.")
        return
    if "test" in data.streams:
        data.report()
    epoch = artifact.read_config(job.paths.model_dir).validation["epoch"]
    log.info(logs.map_line(job.current_host, epoch, score.mean, "test"))
    save_test_score(job, score)


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
