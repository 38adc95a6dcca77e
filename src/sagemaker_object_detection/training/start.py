"""The network that a job starts from: new, on pretrained weights, or an earlier model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import mxnet as mx

from sagemaker_object_detection.model.network import Network, build_network, initialize
from sagemaker_object_detection.model.specs import Spec, get_spec
from sagemaker_object_detection.model.weights import find_weights, load_backbone
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.job import Job

log = logging.getLogger(__name__)


def starting_network(
    job: Job, precision: str, ctx: mx.Context, environ: Mapping[str, str]
) -> tuple[Job, Network]:
    """A network with values, and the job with what was decided on the way.

    Raises:
        ClientError: the earlier model or the pretrained weights cannot be used.
    """
    hyperparameters = job.hyperparameters
    spec = get_spec(hyperparameters.base_network, hyperparameters.image_shape)
    weights = _weights(job, spec, environ)
    job = _with_pretrained(job, weights is not None)
    network = build_network(spec, hyperparameters.num_classes, precision)
    initialize(network, [ctx], hyperparameters.seed)
    if weights is not None:
        count = load_backbone(network, weights)
        log.info("Loaded pretrained model parameters: %d from %s.", count, weights)
    return job, network


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
