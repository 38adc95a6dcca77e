"""`object-detection check`: everything that training checks before it trains, and nothing more."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import click

from sagemaker_object_detection.data.sources import open_sources
from sagemaker_object_detection.platform.channels import (
    DATA_CHANNELS,
    Channel,
    discover_channels,
    parse_channels,
)
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.forms import with_forms
from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.platform.job import Job, load_job, read_object
from sagemaker_object_detection.platform.paths import BASE_DIR_VARIABLE, Paths
from sagemaker_object_detection.platform.threads import set_threads
from sagemaker_object_detection.platform.world import make_world
from sagemaker_object_detection.tools.findings import DEFAULTS, report_text
from sagemaker_object_detection.tools.output import logged, printable
from sagemaker_object_detection.tools.training_data import examine

Result = TypeVar("Result")


def check(folder: Path, tell: Callable[[str], None]) -> tuple[str, ...]:
    """The faults of the job whose tree is `folder`; none where it can be trained.

    Configuration, channels, pretrained weights or earlier model, frozen layers, and every image
    and label are checked, also when the configuration has faults. Nothing is written there.

    Args:
        tell: gets lines about what was found.
    """
    environ = {**os.environ, BASE_DIR_VARIABLE: str(folder.absolute())}
    paths = Paths.from_environment(environ)
    faults: list[str] = []

    def tried(step: Callable[[], Result]) -> Result | None:
        try:
            return step()
        except ClientError as error:
            faults.extend(error.faults)
            return None

    job = tried(lambda: load_job(environ))
    if job is None:
        tried(lambda: _check_data(_channels_alone(paths), None, tell))
    else:
        faults += _unwritable(job)
        tried(lambda: make_world(job, 1))
        tried(lambda: _check_network(job, environ))
        tried(lambda: _check_data(job.channels, job.hyperparameters, tell))
    return tuple(dict.fromkeys(faults))


def _channels_alone(paths: Paths) -> Mapping[str, Channel]:
    """The channels of a job that has other faults; none where these have some, already told."""
    file = paths.input_data_config_file
    config = read_object(file, []) if file.is_file() else discover_channels(paths)
    with suppress(ClientError):
        return with_forms(parse_channels(config or {}, paths, "validation" not in (config or {})))
    return {}


def _unwritable(job: Job) -> list[str]:
    folders = [job.paths.model_dir, job.paths.output_data_dir, job.checkpoint_dir]
    faults = []
    for folder in filter(None, folders):
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            faults.append(f"{folder} cannot be written to. Check owner and mode of {there}.")
    return faults


def _check_data(
    channels: Mapping[str, Channel], given: Hyperparameters | None, tell: Callable[[str], None]
) -> None:
    """As training's read_channels. Raises ClientError with the faults of all channels."""
    names = [name for name in DATA_CHANNELS if name in channels]
    for name in names:
        if channels[name].form == "pipe":
            tell(f"Channel '{name}' is a stream: its records are checked as they come.")
    files = [name for name in names if channels[name].form not in ("pipe", "share")]
    places = [channels[name].path for name in ("train", "train_annotation") if name in channels]
    number = given.num_classes if given else None
    given = given or DEFAULTS
    if files:
        sources = open_sources(channels, files, number, given.class_names)
        tell(report_text(examine(sources, places, given, number).report))


def _check_network(job: Job, environ: Mapping[str, str]) -> None:
    """The network that training would start from, built as training builds it.

    Raises ClientError: earlier model, pretrained weights or the pattern of frozen layers.
    """
    given, channels = job.hyperparameters, job.channels
    if "mxnet" not in sys.modules:  # which reads them when it is loaded
        set_threads(os.environ)
    from sagemaker_object_detection.inference.engine_mxnet import default_context
    from sagemaker_object_detection.model.archive import find_model
    from sagemaker_object_detection.model.continued import earlier_network
    from sagemaker_object_detection.model.names import frozen_names
    from sagemaker_object_detection.model.network import build_network, initialize
    from sagemaker_object_detection.model.specs import get_spec
    from sagemaker_object_detection.model.weights import find_weights, load_backbone

    name, classes, side = given.base_network, given.num_classes, given.image_shape
    if "model" in channels:
        with TemporaryDirectory(prefix="earlier-model-") as scratch:
            found = find_model(channels["model"].path, Path(scratch))
            network, _ = earlier_network(found, name, classes, side, "float32", default_context())
    else:
        spec = get_spec(name, side)
        network = build_network(spec, classes)
        folder = channels["pretrained"].path if "pretrained" in channels else None
        if given.use_pretrained_model is not False:
            weights = find_weights(name, spec.backbone, folder, environ)
            if weights is not None:
                initialize(network, [default_context()], given.seed)
                load_backbone(network, weights)
            elif given.use_pretrained_model:
                raise ClientError(
                    f"use_pretrained_model is 1, but there are no weights for {name}. Give a "
                    "channel 'pretrained' with a GluonCV .params file, get them by "
                    f"`object-detection weights fetch {name}`, or set it to 0."
                )
    if given.freeze_layer_pattern:
        layers = [n for n, p in network.parameters.items() if p.grad_req != "null"]
        if len(frozen_names(given.freeze_layer_pattern, layers, name)) == len(layers):
            raise ClientError(
                f"freeze_layer_pattern {given.freeze_layer_pattern!r} freezes every layer: nothing "
                "is left to train. Narrow it."
            )


@click.command("check", short_help="Check a training job without running it.")
@click.argument("job", type=click.Path(exists=True, file_okay=False, path_type=Path))
def command(job: Path) -> None:
    """Check the training job in the folder JOB, laid out like /opt/ml, without running it.

    Hyperparameters, channels, hosts, weights to start from, and every image and label are checked
    as training checks them. All faults are reported together, and the exit code is then 2.
    Nothing is trained and nothing in JOB is written.

    \b
    object-detection check job
    """
    with logged():
        faults = check(job, lambda line: click.echo(printable(line)))
    if faults:
        raise ClientError(*faults)
    click.echo("This job can be trained.")
