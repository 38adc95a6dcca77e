"""The network that a job starts from: new, on pretrained weights, or an earlier model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import mxnet as mx

from sagemaker_object_detection.model.archive import find_model
from sagemaker_object_detection.model.continued import earlier_network
from sagemaker_object_detection.model.network import Network, build_network, initialize
from sagemaker_object_detection.model.specs import Spec, get_spec
from sagemaker_object_detection.model.weights import find_weights, load_backbone
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.job import Job

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """What training begins with.

    Attributes:
        job: the job with what was decided on the way.
        network: with its values.
        class_names: of the earlier model; empty when there is none, or it has no names.
    """

    job: Job
    network: Network
    class_names: tuple[str, ...] = ()


def make_start(
    job: Job, precision: str, devices: Sequence[mx.Context], environ: Mapping[str, str]
) -> Start:
    """The network to train, on all these devices: the model channel's, or a new one.

    Raises:
        ClientError: the earlier model or the pretrained weights cannot be used.
    """
    hyperparameters = job.hyperparameters
    if "model" in job.channels:
        return _from_earlier(job, precision, devices)
    spec = get_spec(hyperparameters.base_network, hyperparameters.image_shape)
    weights = _weights(job, spec, environ)
    network = build_network(spec, hyperparameters.num_classes, precision)
    initialize(network, list(devices), hyperparameters.seed)
    if weights is not None:
        count = load_backbone(network, weights)
        log.info("Loaded pretrained model parameters: %d from %s.", count, weights)
    return Start(_with(job, use_pretrained_model=weights is not None), network)


def _from_earlier(job: Job, precision: str, devices: Sequence[mx.Context]) -> Start:
    """Weights carry over, the optimiser's state does not; see make_learning_rate."""
    hyperparameters = job.hyperparameters
    if hyperparameters.use_pretrained_model:
        log.warning("use_pretrained_model is ignored: there is a model channel.")
    with TemporaryDirectory(prefix="earlier-model-") as scratch:
        network, earlier = earlier_network(
            find_model(job.channels["model"].path, Path(scratch)),
            hyperparameters.base_network,
            hyperparameters.num_classes,
            hyperparameters.image_shape,
            precision,
            devices[0],
        )
    network.parameters.reset_ctx(list(devices))
    if earlier.validation_map is not None:
        log.info("Its validation mAP was %.4f.", earlier.validation_map)
    return Start(_with(job, use_pretrained_model=False), network, earlier.class_names)


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
            "use_pretrained_model was not given and there are no weights for %s: training starts "
            "from scratch, which needs more epochs. `object-detection weights fetch %s` gets them.",
            spec.base_network,
            spec.base_network,
        )
    return path


def _with(job: Job, **changes: Any) -> Job:
    """The job with other hyperparameters, as they turned out."""
    return replace(job, hyperparameters=replace(job.hyperparameters, **changes))
