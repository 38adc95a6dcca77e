"""What the hyperparameters come to with this data, this network and these machines."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import mxnet as mx

from sagemaker_object_detection.data.augment import Augmentation
from sagemaker_object_detection.model.names import frozen_names
from sagemaker_object_detection.model.network import Network
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.data import Data
from sagemaker_object_detection.training.epochs import Recipe
from sagemaker_object_detection.training.optimizer import WeightAverage, decay_over
from sagemaker_object_detection.training.schedule import (
    batches_per_epoch,
    make_learning_rate,
)

log = logging.getLogger(__name__)


def make_recipe(job: Job, data: Data) -> Recipe:
    """What the loop is to do."""
    hyperparameters = job.hyperparameters
    world = data.communicator.world
    learning_rate = make_learning_rate(
        hyperparameters,
        data.images_by_largest,
        continued="model" in job.channels,
        machines=len(world.hosts),
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


def log_batch(mini_batch_size: int, world: World, devices: int) -> None:
    """How large the batch of an update is, and who shares it."""
    if world.size * devices == 1:
        return
    machines = len(world.hosts)
    log.info(
        "An update takes in %d images: mini_batch_size %d on %s%s.",
        mini_batch_size * machines,
        mini_batch_size,
        "1 machine" if machines == 1 else f"{machines} machines",
        f" of {devices} devices" if devices > 1 else "",
    )


def find_trainable(
    network: Network, hyperparameters: Hyperparameters
) -> dict[str, mx.gluon.Parameter]:
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


def make_average(
    network: Network,
    trainable: Mapping[str, mx.gluon.Parameter],
    hyperparameters: Hyperparameters,
    images: int,
    machines: int,
) -> WeightAverage | None:
    """The average of all that training changes: what is trained, and BatchNorm's statistics."""
    decay = hyperparameters.ema_decay
    if decay is None:
        decay = decay_over(batches_per_epoch(hyperparameters, images, machines))
    if not decay:
        return None
    log.info("Weights are averaged, of which a share of %g stays at each batch.", decay)
    statistics = network.heads.list_auxiliary_states()
    changing = {n: p for n, p in network.parameters.items() if n in trainable or n in statistics}
    return WeightAverage(changing, decay)
