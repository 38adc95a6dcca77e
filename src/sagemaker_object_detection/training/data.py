"""The channels of a job, read and checked."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sagemaker_object_detection.data.class_names import class_names, found_names
from sagemaker_object_detection.data.dataset import Source
from sagemaker_object_detection.data.gate import passed, survey
from sagemaker_object_detection.data.loader import Loader
from sagemaker_object_detection.data.report import Checked, log_report, make_report
from sagemaker_object_detection.data.report_html import write_report
from sagemaker_object_detection.data.sharding import is_sharded, share
from sagemaker_object_detection.data.sources import categories, open_sources
from sagemaker_object_detection.data.stream_loader import StreamLoader
from sagemaker_object_detection.data.tally import Limits, Tally, refusals
from sagemaker_object_detection.evaluation.evaluate import SCORING_BATCH
from sagemaker_object_detection.model.specs import get_spec
from sagemaker_object_detection.platform.channels import DATA_CHANNELS
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.communicator import Communicator, gather_values
from sagemaker_object_detection.training.schedule import batches_per_epoch
from sagemaker_object_detection.training.shards import Shards, find_shards

log = logging.getLogger(__name__)

MIB = 2**20


@dataclass(frozen=True)
class Data:
    """What a job trains on and is scored on, channel by channel.

    Attributes:
        job: whose channels they are.
        earlier_names: class names of the model that training goes on from.
        sources: of the channels that are read in File mode.
        tallies: what the gate counted in these.
        streams: the channels in Pipe mode.
        loaders: train, validation and, where it is given, test.
        communicator: to the processes that have the same job.
        shards: of each channel over all of them.
    """

    job: Job
    earlier_names: tuple[str, ...]
    sources: Mapping[str, Source]
    tallies: Mapping[str, Tally]
    streams: Mapping[str, StreamLoader]
    loaders: Mapping[str, Loader | StreamLoader]
    communicator: Communicator
    shards: dict[str, Shards] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)
    _by_largest: dict[str, int] = field(default_factory=dict)
    _names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)

    @property
    def train_images(self) -> int:
        """Images of an epoch over all hosts; of a stream what num_training_samples promises."""
        return self._counts.get("train", self.job.hyperparameters.num_training_samples)

    @property
    def images_by_largest(self) -> int:
        """Images of an epoch if all hosts had as many as that with most, which sets the updates."""
        return self._by_largest.get("train", self.train_images)

    def scoring_batch(self, channel: str) -> int:
        """Images that are scored at a time: never more than the channel is known to have."""
        tally = self.tallies.get(channel)
        return min(SCORING_BATCH, tally.images) if tally else SCORING_BATCH

    def class_names(self) -> tuple[str, ...]:
        """One name for each class id; a stream tells its names as it is read.

        Raises ClientError as data.class_names does.
        """
        found = found_names([*self.sources.values(), *self.streams.values()])
        told = repr(sorted((class_id, sorted(names)) for class_id, names in found.items()))
        if told not in self._names:  # decided, and said in the log, once
            self._names[told] = self._decide_names(found)
        return self._names[told]

    def _decide_names(self, found: Mapping[int, set[str]]) -> tuple[str, ...]:
        channels = self.job.channels
        names = class_names(
            self.job.hyperparameters.class_names,
            categories(self.sources),
            [channels[n].path for n in ("train", "train_annotation") if n in channels],
            found,
            self.job.hyperparameters.num_classes,
            self.earlier_names,
        )
        log.info("Class names: %s", ", ".join(names))
        return names

    def report(self, refused: Sequence[str] = ()) -> None:
        """Write the data report: the channels of File mode, and the first pass of each stream.

        The log tells of every channel once.

        Args:
            refused: why the data cannot be trained on.
        """
        seen = {n: Checked(self.tallies[n], source.name) for n, source in self.sources.items()}
        for name, stream in self.streams.items():
            if stream.first_pass is not None:
                seen[name] = Checked(stream.first_pass, stream.record_name)
        checked = [seen[name] for name in DATA_CHANNELS if name in seen]
        hyperparameters = self.job.hyperparameters
        spec = get_spec(hyperparameters.base_network, hyperparameters.image_shape)
        report = make_report(checked, self.class_names(), spec, refused)
        new = {n: c for n, c in report["channels"].items() if n not in self._told}
        leaks = [leak for leak in report["leaked_images"] if new.keys() & set(leak["channels"])]
        log_report({**report, "channels": new, "leaked_images": leaks})
        self._told.update(new)
        if not self.communicator.world.is_main:
            return
        self.job.paths.output_data_dir.mkdir(parents=True, exist_ok=True)
        write_report(self.job.paths.output_data_dir, report)

    def close(self) -> None:
        """Stop the threads of all loaders."""
        for loader in self.loaders.values():
            loader.close()


def read_channels(
    job: Job,
    communicator: Communicator,
    threads: int,
    should_stop: Callable[[], bool],
    earlier_names: tuple[str, ...] = (),
    first_epoch: int = 0,
) -> Data:
    """Pass the channels through the gate and write the data report.

    A channel in Pipe mode is only opened: its records pass the gate as they come.

    Args:
        communicator: to the processes that share the channels.
        threads: records checked at a time.
        should_stop: whether a stream that is waited for is to be given up.
        earlier_names: class names of the model that training goes on from.
        first_epoch: that training begins with; a stream is read only as often as there are others.

    Raises:
        ClientError: the faults of all channels, as the sources and the gate find them; OSError
            where the report cannot be written.
    """
    names = [name for name in DATA_CHANNELS if name in job.channels]
    files = [name for name in names if job.channels[name].form != "pipe"]
    sources = open_sources(job.channels, files, job.hyperparameters.num_classes)
    tallies = {name: _check(name, source, job, threads) for name, source in sources.items()}
    streams: dict[str, StreamLoader] = {}
    loaders: dict[str, Loader | StreamLoader] = {}
    data = Data(job, earlier_names, sources, tallies, streams, loaders, communicator)
    refused = refusals(tallies.values())
    if sources:
        try:
            data.report(refused)
        except ClientError as error:  # a classes.txt that is no text
            refused.extend(error.faults)
    if refused:
        raise ClientError(*refused)
    _warn(job.hyperparameters.label_width, tallies)
    world = communicator.world
    for name in names:
        sharded, count = is_sharded(job.channels[name]), 0
        if name in sources:
            count = tallies[name].images
            counts = gather_values(communicator, count)[
                :: world.local_size if sharded else world.size
            ]
            data._counts[name] = sum(counts)
            data._by_largest[name] = max(counts) * len(counts)
            loaders[name] = Loader(
                passed(sources[name], tallies[name]),
                job.hyperparameters.image_shape,
                threads,
                share(job.channels[name], world),
                shared_by=1 if sharded else len(world.hosts),
                batches=batches_per_epoch(job.hyperparameters, max(counts)) if sharded else None,
            )
        else:
            stream = _stream(name, job, world, threads, should_stop, first_epoch)
            loaders[name] = streams[name] = stream
        data.shards[name] = find_shards(communicator, sharded, loaders[name].name, count)
    return data


def _limits(job: Job) -> Limits:
    hyperparameters = job.hyperparameters
    return Limits(hyperparameters.max_dropped_images, hyperparameters.max_dropped_boxes)


def _check(name: str, source: Source, job: Job, threads: int) -> Tally:
    begun = time.perf_counter()
    tally = survey(name, source, job.hyperparameters.num_classes, threads, _limits(job))
    log.info("Channel '%s' checked in %.1f s.", name, time.perf_counter() - begun)
    return tally


def _stream(
    name: str,
    job: Job,
    world: World,
    threads: int,
    should_stop: Callable[[], bool],
    first_epoch: int,
) -> StreamLoader:
    hyperparameters = job.hyperparameters
    if world.local_size > 1:
        raise ClientError(
            f"Channel '{name}' comes in Pipe mode, and a stream can be read by one process only, "
            f"but distribution=horovod has {world.local_size} on this machine, one for each GPU. "
            "Leave distribution out (kvstore has one), or give the channel in File mode."
        )
    passes = 1 if name == "test" else max(1, hyperparameters.epochs - first_epoch)
    return StreamLoader(
        job.channels[name].path,
        name,
        hyperparameters.image_shape,
        threads,
        hyperparameters.num_classes,
        epochs=passes,
        expected_records=hyperparameters.num_training_samples if name == "train" else 0,
        declared_boxes=(hyperparameters.label_width - 2) // 5,
        limits=_limits(job),
        buffer_bytes=hyperparameters.shuffle_buffer_mib * MIB,
        share=share(job.channels[name], world),
        stop=should_stop,
    )


def _warn(label_width: int, tallies: Mapping[str, Tally]) -> None:
    """Of what is odd about the channels, but no reason to refuse them."""
    for name, tally in tallies.items():
        if not tally.boxes_kept:
            log.warning(
                "Channel '%s' has %d images and not one box: its mAP means nothing, and no epoch "
                "is better than another.",
                name,
                tally.images,
            )
    widest = max((tally.label_width for tally in tallies.values()), default=0)
    if widest > label_width:
        log.warning(
            "label_width is %d, the fullest image needs %d. Nothing is lost: the data is counted "
            "here, but the service's own algorithm would fail.",
            label_width,
            widest,
        )
