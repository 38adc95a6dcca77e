"""One training job from its channels to its artefact."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import mxnet as mx

from sagemaker_object_detection.data.augment import Augmentation
from sagemaker_object_detection.data.loader import Loader
from sagemaker_object_detection.evaluation.average_precision import AveragePrecision
from sagemaker_object_detection.evaluation.evaluate import evaluate
from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine, default_context
from sagemaker_object_detection.model.deploy import DeployGraph, deploy_graph
from sagemaker_object_detection.model.names import frozen_names
from sagemaker_object_detection.model.network import Network, build_network, initialize
from sagemaker_object_detection.model.specs import Spec, get_spec
from sagemaker_object_detection.model.weights import find_weights, load_backbone
from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.training.data import Data, read_channels
from sagemaker_object_detection.training.early_stopping import EarlyStopping
from sagemaker_object_detection.training.history import EpochResult, write_history
from sagemaker_object_detection.training.loop import Interrupted, Recipe, TrainingLoop
from sagemaker_object_detection.training.optimizer import make_trainer
from sagemaker_object_detection.training.precision import choose_precision, cpu_flags
from sagemaker_object_detection.training.saving import save_model
from sagemaker_object_detection.training.schedule import make_learning_rate

log = logging.getLogger(__name__)

VALIDATION_BATCH = 8


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
    hyperparameters = job.hyperparameters
    ctx = default_context()
    precision = choose_precision(hyperparameters.precision, ctx.device_type == "gpu", cpu_flags())
    spec = get_spec(hyperparameters.base_network, hyperparameters.image_shape)
    weights = _weights(job, spec, environ)
    job = _with_pretrained(job, weights is not None)
    log.info("Training on %s with %d threads, computing in %s.", ctx, threads, precision)
    network = build_network(spec, hyperparameters.num_classes, precision)
    initialize(network, [ctx], hyperparameters.seed)
    if weights is not None:
        count = load_backbone(network, weights)
        log.info("Loaded pretrained model parameters: %d from %s.", count, weights)
    data = read_channels(job, threads)
    setup_seconds = time.time() - started
    stop.training = True
    history = _train(job, data, network, ctx, threads, stop)
    finished = time.time()
    totals = {
        "epochs": len(history),
        "setuptime": 1000 * setup_seconds,
        "totaltime": 1000 * (finished - started),
    }
    dimensions = logs.dimensions(job.current_host)
    print(logs.metrics_json_line(started, finished, dimensions, totals), flush=True)


def _weights(job: Job, spec: Spec, environ: Mapping[str, str]) -> Path | None:
    """The file of pretrained weights to start from, None for training from scratch."""
    asked = job.hyperparameters.use_pretrained_model
    channel = job.channels.get("pretrained")
    if asked is False:
        log.info("Start training from scratch.")
        return None
    folder = channel.path if channel else None
    path = find_weights(spec.base_network, spec.backbone, folder, environ)
    if path is not None:
        log.info("Start training from pretrained model %s.", path.name)
    elif asked:
        raise ClientError(
            f"use_pretrained_model is 1, but there are no weights for {spec.base_network}: neither "
            "a channel 'pretrained' with a GluonCV .params file nor weights in the image. Give one "
            "of them, or set use_pretrained_model to 0."
        )
    else:
        log.warning(
            "use_pretrained_model was not given and there are no weights for %s: training starts "
            "from scratch, which needs more epochs.",
            spec.base_network,
        )
    return path


def _with_pretrained(job: Job, used: bool) -> Job:
    """The job with use_pretrained_model as it turned out."""
    return replace(job, hyperparameters=replace(job.hyperparameters, use_pretrained_model=used))


def _train(
    job: Job, data: Data, network: Network, ctx: mx.Context, threads: int, stop: Stop
) -> list[EpochResult]:
    hyperparameters = job.hyperparameters
    trainable = _trainable(network, hyperparameters)
    graph = deploy_graph(network, hyperparameters.nms_threshold, hyperparameters.nms_topk)
    batch = min(VALIDATION_BATCH, len(data.validation))
    engine = MXNetEngine(
        graph.symbol, graph.args, graph.auxs, graph.image_shape, ctx, batch_sizes=[batch]
    )
    side = hyperparameters.image_shape
    train_loader = Loader(data.train, side, threads)
    validation_loader = Loader(data.validation, side, threads)

    def validate() -> AveragePrecision | None:
        engine.refresh()
        return evaluate(
            engine,
            data.validation,
            validation_loader,
            hyperparameters.num_classes,
            hyperparameters.overlap_threshold,
            batch,
            stop.requested,
        )

    _warn_of_batch_count(hyperparameters, len(data.train))
    recipe = Recipe(
        epochs=hyperparameters.epochs,
        batch_size=hyperparameters.mini_batch_size,
        seed=hyperparameters.seed,
        augmentation=Augmentation() if hyperparameters.augmentation else None,
        learning_rate=make_learning_rate(hyperparameters, len(data.train)),
        host=job.current_host,
    )
    loop = TrainingLoop(
        network,
        make_trainer(trainable, hyperparameters),
        ctx,
        train_loader,
        recipe,
        validate,
        stop.requested,
    )
    try:
        return _follow(job, loop, graph, data.class_names)
    finally:
        train_loader.close()
        validation_loader.close()


def _follow(
    job: Job, loop: TrainingLoop, graph: DeployGraph, names: tuple[str, ...]
) -> list[EpochResult]:
    """Run the epochs; keep the best model, write the history, stop early where asked."""
    hyperparameters = job.hyperparameters
    stopping = EarlyStopping(
        hyperparameters.early_stopping_min_epochs,
        hyperparameters.early_stopping_patience,
        hyperparameters.early_stopping_tolerance,
    )
    history: list[EpochResult] = []
    best: EpochResult | None = None
    try:
        for result in loop.epochs():
            history.append(result)
            write_history(job.paths.output_data_dir, history)
            if best is None or result.score.mean >= best.score.mean:
                best = result
                log.info(logs.best_model_line(result.score.mean))
                log.info(logs.saved_line(save_model(job, graph, names, result)))
            log.info(logs.progress_line(job.current_host, len(history), hyperparameters.epochs))
            stop_now = stopping.should_stop(len(history), result.score.mean)
            if hyperparameters.early_stopping and stop_now:
                log.info(
                    "Early stopping after epoch %d: validation mAP has not exceeded its best, "
                    "%.4f, by more than a share of %g for %d epochs.",
                    result.epoch,
                    best.score.mean,
                    stopping.tolerance,
                    stopping.epochs_without_gain,
                )
                break
    except Interrupted:
        if best is None:
            log.warning("Stopped before the first epoch was validated: there is no model yet.")
            return history
        log.warning("Stopped; the best model so far stays in %s.", job.paths.model_dir)
    assert best is not None
    log.info("The best model is of epoch %d, validation mAP %.4f.", best.epoch, best.score.mean)
    return history


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


def _warn_of_batch_count(hyperparameters: Hyperparameters, images: int) -> None:
    expected = -(-hyperparameters.num_training_samples // hyperparameters.mini_batch_size)
    processed = -(-images // hyperparameters.mini_batch_size)
    if expected != processed:
        log.warning(
            "%s num_training_samples is %d, the train channel has %d usable images.",
            logs.batch_count_line(expected, processed),
            hyperparameters.num_training_samples,
            images,
        )
