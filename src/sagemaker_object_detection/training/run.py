"""One training job from its channels to its artefact: devices, number format, network, training."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import mxnet as mx

from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
from sagemaker_object_detection.model.archive import find_model
from sagemaker_object_detection.model.continued import earlier_network
from sagemaker_object_detection.model.deploy import deploy_graph
from sagemaker_object_detection.model.names import frozen_names
from sagemaker_object_detection.model.network import Network, build_network, initialize
from sagemaker_object_detection.model.specs import Spec, get_spec
from sagemaker_object_detection.model.weights import find_weights, load_backbone
from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.processor import AMX_FLAGS, BFLOAT16_FLAGS, cpu_flags
from sagemaker_object_detection.platform.stop_request import StopRequest
from sagemaker_object_detection.platform.supervisor import BEGIN
from sagemaker_object_detection.platform.world import (
    HOROVOD,
    World,
    cpu_devices,
    require_an_image_each,
)
from sagemaker_object_detection.training.checkpoint import Checkpoints
from sagemaker_object_detection.training.communicator import Communicator, connecting
from sagemaker_object_detection.training.data import Data, read_channels
from sagemaker_object_detection.training.epochs import EarlyStopping, LiveView, Progress
from sagemaker_object_detection.training.finish import Finish
from sagemaker_object_detection.training.loop import Trainer, warn_of_batch_count
from sagemaker_object_detection.training.optimizer import WeightAverage, decay_over, make_trainer
from sagemaker_object_detection.training.schedule import batches_per_epoch, make_learning_rate
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

    `threads` are the processor cores to use. Raises JobError: the user's, ours or the platform's;
    OSError where a file cannot be written.
    """
    started, begun = time.time(), time.monotonic()
    world = communicator.world
    devices = find_devices(world, environ)
    batch, on_gpu = job.hyperparameters.mini_batch_size, devices[0].device_type == "gpu"
    precision = choose_precision(job.hyperparameters.precision, on_gpu, cpu_flags())
    named = ", ".join(map(str, devices))
    log.info("Training on %s with %d threads, computing in %s.", named, threads, precision)
    require_an_image_each(batch, len(devices))
    if world.size * len(devices) > 1:
        count, several = len(world.hosts), f" of {len(devices)} devices"
        machines = "1 machine" if count == 1 else f"{count} machines"
        log.info(
            f"An update takes in {batch * count} images: mini_batch_size {batch} on {machines}"
            f"{several if len(devices) > 1 else ''}."
        )
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
    milliseconds = {"setuptime": 1000 * setup_seconds, "totaltime": 1000 * seconds}
    totals = {"epochs": len(history), **milliseconds}
    dimensions = logs.dimensions(job.current_host)
    logs.print_metrics(started, started + seconds, dimensions, totals)


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


def find_devices(world: World, environ: Mapping[str, str]) -> list[mx.Context]:
    """All GPUs of this machine, or with Horovod this process's one; without any, the CPU."""
    gpus = mx.context.num_gpus()
    make, count = (mx.gpu, gpus) if gpus else (mx.cpu, cpu_devices(environ))
    if world.form == HOROVOD:
        return [make(world.local_rank if gpus else 0)]
    return [make(number) for number in range(count)]


def choose_precision(asked: str, on_gpu: bool, flags: frozenset[str]) -> str:
    """float32, bfloat16 or float16 for what was asked, "auto" included; the log says why.

    `flags` are the instruction sets of the CPU. Raises ClientError: float16 on a CPU, which has no
    arithmetic for it, or bfloat16 on a GPU.
    """
    if asked == "float16" and not on_gpu:
        raise ClientError(
            "Hyperparameter precision: float16 needs a GPU, and this machine has none that MXNet "
            "sees. Use bfloat16, float32 or auto."
        )
    if asked == "bfloat16" and on_gpu:
        raise ClientError(
            "Hyperparameter precision: bfloat16 is for CPUs; MXNet has no kernels for it on GPUs. "
            "Use float16, float32 or auto."
        )
    if asked != "auto":
        if asked == "bfloat16" and not flags & BFLOAT16_FLAGS:
            log.warning("This CPU has no bfloat16 instructions: training will be slow.")
        return asked
    faster = ""
    if not on_gpu and flags & BFLOAT16_FLAGS:
        share = "0.4 to 0.65" if flags >= AMX_FLAGS else "0.6"
        faster = f" This CPU computes bfloat16 too: precision=bfloat16 takes {share} of the time."
    log.info("Precision auto: float32.%s", faster)
    return "float32"


def make_start(
    job: Job, precision: str, devices: Sequence[mx.Context], environ: Mapping[str, str]
) -> tuple[Job, Network, tuple[str, ...]]:
    """The network to train, on all these devices: the model channel's, or a new one.

    Returns the job with what was decided on the way, the network, and the class names of the
    earlier model: empty when there is none, or it has no names. Raises ClientError when the earlier
    model or the pretrained weights cannot be used.
    """
    given = job.hyperparameters
    if "model" in job.channels:
        network, names = _from_earlier(job, precision, devices)
        pretrained = False
    else:
        spec = get_spec(given.base_network, given.image_shape)
        weights, names = _weights(job, spec, environ), ()
        network = build_network(spec, given.num_classes, precision)
        initialize(network, list(devices), given.seed)
        pretrained = weights is not None
        if weights is not None:
            count = load_backbone(network, weights)
            log.info("Loaded pretrained model parameters: %d from %s.", count, weights)
    given = replace(given, use_pretrained_model=pretrained)
    return replace(job, hyperparameters=given), network, names


def _from_earlier(
    job: Job, precision: str, devices: Sequence[mx.Context]
) -> tuple[Network, tuple[str, ...]]:
    """Weights carry over, the optimiser's state does not; see make_learning_rate."""
    given = job.hyperparameters
    if given.use_pretrained_model:
        log.warning("use_pretrained_model is ignored: there is a model channel.")
    with TemporaryDirectory(prefix="earlier-model-") as scratch:
        folder = find_model(job.channels["model"].path, Path(scratch))
        base, classes, side = given.base_network, given.num_classes, given.image_shape
        network, earlier = earlier_network(folder, base, classes, side, precision, devices[0])
    network.parameters.reset_ctx(list(devices))
    if earlier.validation_map is not None:
        log.info("Its validation mAP was %.4f.", earlier.validation_map)
    return network, earlier.class_names


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
            "a channel 'pretrained' with a GluonCV .params file nor weights in the image. Get them "
            f"by `object-detection weights fetch {spec.base_network}`, or set use_pretrained_model "
            "to 0."
        )
    else:
        log.warning(
            f"use_pretrained_model was not given and there are no weights for {spec.base_network}: "
            "training starts from scratch, which needs more epochs. `object-detection weights "
            f"fetch {spec.base_network}` gets them."
        )
    return path


def find_trainable(network: Network, given: Hyperparameters) -> dict[str, mx.gluon.Parameter]:
    """Parameters that learn, by name; the others get no gradient."""
    parameters, pattern = network.parameters, given.freeze_layer_pattern
    if pattern:
        candidates = [name for name, p in parameters.items() if p.grad_req != "null"]
        frozen = frozen_names(pattern, candidates, given.base_network)
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


def make_average(
    network: Network,
    trainable: Mapping[str, mx.gluon.Parameter],
    given: Hyperparameters,
    images: int,
    machines: int,
) -> WeightAverage | None:
    """The average of all that training changes: what is trained, and BatchNorm's statistics."""
    decay = given.ema_decay
    if decay is None:
        decay = decay_over(batches_per_epoch(given, images, machines))
    if not decay:
        return None
    log.info("Weights are averaged, of which a share of %g stays at each batch.", decay)
    statistics = network.heads.list_auxiliary_states()
    changing = {n: p for n, p in network.parameters.items() if n in trainable or n in statistics}
    return WeightAverage(changing, decay)
