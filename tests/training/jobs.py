"""Jobs for tests of the parts of training, made without reading a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sagemaker_object_detection.platform.channels import Channel
from sagemaker_object_detection.platform.hyperparameters import parse
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.paths import Paths


def make_job(base: Path, channels: Sequence[str] = (), **given: object) -> Job:
    """A job of ResNet-18 and two classes below `base`, whose channels are empty folders."""
    paths = Paths(base)
    needed = {"num_classes": 2, "num_training_samples": 8, "base_network": "resnet-18"}
    for folder in (paths.model_dir, *(paths.channel_dir(name) for name in channels)):
        folder.mkdir(parents=True)
    return Job(
        paths=paths,
        hyperparameters=parse({**needed, **given}),
        channels={name: Channel(name, paths.channel_dir(name)) for name in channels},
        hosts=("algo-1",),
        current_host="algo-1",
        network_interface_name="eth0",
    )
