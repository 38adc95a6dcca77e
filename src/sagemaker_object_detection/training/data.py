"""The channels of a job, read and checked."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sagemaker_object_detection.data.class_names import class_names
from sagemaker_object_detection.data.coco import CocoSource
from sagemaker_object_detection.data.dataset import Source
from sagemaker_object_detection.data.gate import passed, survey
from sagemaker_object_detection.data.loader import Loader
from sagemaker_object_detection.data.report import Checked, log_report, make_report
from sagemaker_object_detection.data.report_html import write_report
from sagemaker_object_detection.data.sharding import share
from sagemaker_object_detection.data.sources import open_source
from sagemaker_object_detection.data.stream_loader import StreamLoader
from sagemaker_object_detection.data.tally import Limits, Tally
from sagemaker_object_detection.model.specs import Spec, get_spec
from sagemaker_object_detection.platform.channels import DATA_CHANNELS
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.platform.job import Job

log = logging.getLogger(__name__)

MIB = 2**20
SCORING_BATCH = 8


@dataclass(frozen=True)
class Data:
    """What a job trains on and is scored on.

    Attributes:
        loaders: channel -> its loader; train, validation and, where it is given, test.
        sources: of the channels that were read before training.
        tallies: what the gate counted in these.
    """

    job: Job
    spec: Spec
    loaders: Mapping[str, Loader | StreamLoader]
    sources: Mapping[str, Source]
    tallies: Mapping[str, Tally]

    @property
    def train_images(self) -> int:
        """Images of an epoch; of a stream those that num_training_samples promises."""
        tally = self.tallies.get("train")
        return tally.images if tally else self.job.hyperparameters.num_training_samples

    def scoring_batch(self, channel: str) -> int:
        """Images that are scored at a time: never more than the channel is known to have."""
        tally = self.tallies.get(channel)
        return min(SCORING_BATCH, tally.images) if tally else SCORING_BATCH

    def class_names(self) -> tuple[str, ...]:
        """One name for each class id; a stream tells its names as it is read.

        Raises ClientError as data.class_names does.
        """
        return _names(self.job, self.sources, self.loaders)

    def report_streams(self) -> None:
        """Write the data report again, with what streams have counted in their first pass."""
        streams = {
            name: loader
            for name, loader in self.loaders.items()
            if isinstance(loader, StreamLoader) and loader.first_pass is not None
        }
        if streams:
            _report(self.job, self.spec, self.sources, self.tallies, self.loaders)

    def close(self) -> None:
        """Stop the threads of all loaders."""
        for loader in self.loaders.values():
            loader.close()


def read_channels(job: Job, threads: int, should_stop: Callable[[], bool]) -> Data:
    """Pass the channels through the gate and write the data report.

    A channel in Pipe mode is only opened: its records pass the gate as they come.

    Args:
        threads: records checked at a time.
        should_stop: whether a stream that is waited for is to be given up.

    Raises:
        ClientError: the faults of all channels, as the sources and the gate find them; OSError
            where the report cannot be written.
    """
    hyperparameters = job.hyperparameters
    spec = get_spec(hyperparameters.base_network, hyperparameters.image_shape)
    limits = Limits(hyperparameters.max_dropped_images, hyperparameters.max_dropped_boxes)
    names = [name for name in DATA_CHANNELS if name in job.channels]
    sources = _open(job, [name for name in names if job.channels[name].form != "pipe"])
    tallies = {}
    for name, source in sources.items():
        begun = time.perf_counter()
        tallies[name] = survey(name, source, hyperparameters.num_classes, threads, limits)
        log.info("Channel '%s' checked in %.1f s.", name, time.perf_counter() - begun)
    refused = _refused(tallies)
    _report(job, spec, sources, tallies, {}, refused)
    if refused:
        raise ClientError(*refused)
    _warn_of_width(hyperparameters, tallies)
    rank, world_size = job.hosts.index(job.current_host), len(job.hosts)
    loaders: dict[str, Loader | StreamLoader] = {}
    for name in names:
        channel = job.channels[name]
        part = share(channel, rank, world_size)
        if name in sources:
            dataset = passed(sources[name], tallies[name])
            loaders[name] = Loader(dataset, hyperparameters.image_shape, threads, part)
            continue
        loaders[name] = StreamLoader(
            channel.path,
            name,
            hyperparameters.image_shape,
            threads,
            num_classes=hyperparameters.num_classes,
            limits=limits,
            buffer_bytes=hyperparameters.shuffle_buffer_mib * MIB,
            expected_records=hyperparameters.num_training_samples if name == "train" else 0,
            label_rows=max(1, (hyperparameters.label_width - 2) // 5),
            share=part,
            stop=should_stop,
            epochs=1 if name == "test" else hyperparameters.epochs,
        )
    return Data(job, spec, loaders, sources, tallies)


def _open(job: Job, names: list[str]) -> dict[str, Source]:
    sources: dict[str, Source] = {}
    faults: list[str] = []
    for name in names:
        try:
            sources[name] = open_source(job.channels, name, job.hyperparameters.num_classes)
        except ClientError as error:
            faults.extend(error.faults)
    if faults:
        raise ClientError(*faults)
    return sources


def _refused(tallies: Mapping[str, Tally]) -> list[str]:
    """Why the channels cannot be trained on, one text each at most."""
    refused = []
    for tally in tallies.values():
        try:
            tally.refuse_faults()
            tally.refuse_shares()
            tally.refuse_empty()
        except ClientError as error:
            refused.extend(error.faults)
    return refused


def _names(
    job: Job, sources: Mapping[str, Source], loaders: Mapping[str, Loader | StreamLoader]
) -> tuple[str, ...]:
    listed = {n: s.category_names for n, s in sources.items() if isinstance(s, CocoSource)}
    found: dict[int, set[str]] = {}
    streams = [loader for loader in loaders.values() if isinstance(loader, StreamLoader)]
    for origin in (*sources.values(), *streams):
        for class_id, names in origin.class_names.items():
            found.setdefault(class_id, set()).update(names)
    channels = [job.channels[n] for n in ("train", "train_annotation") if n in job.channels]
    hyperparameters = job.hyperparameters
    return class_names(
        hyperparameters.class_names,
        listed,
        [channel.path for channel in channels],
        found,
        hyperparameters.num_classes,
    )


def _report(
    job: Job,
    spec: Spec,
    sources: Mapping[str, Source],
    tallies: Mapping[str, Tally],
    loaders: Mapping[str, Loader | StreamLoader],
    refused: list[str] | None = None,
) -> None:
    checked = [Checked(tallies[name], source.name) for name, source in sources.items()]
    for loader in loaders.values():
        if isinstance(loader, StreamLoader) and loader.first_pass is not None:
            checked.append(Checked(loader.first_pass, loader.name))
    if not checked:
        return
    report: dict[str, Any] = make_report(
        checked, _names(job, sources, loaders), spec, refused or ()
    )
    log_report(report)
    job.paths.output_data_dir.mkdir(parents=True, exist_ok=True)
    write_report(job.paths.output_data_dir, report)


def _warn_of_width(hyperparameters: Hyperparameters, tallies: Mapping[str, Tally]) -> None:
    widest = max((tally.label_width for tally in tallies.values()), default=0)
    if widest > hyperparameters.label_width:
        log.warning(
            "label_width is %d, the fullest image needs %d. Nothing is lost: the data is counted "
            "here, but the service's own algorithm would fail.",
            hyperparameters.label_width,
            widest,
        )
