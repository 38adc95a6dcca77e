"""What a job trains on and is scored on: the channels of a job, read and checked."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sagemaker_object_detection.data.class_names import AnnotatedNames, class_names
from sagemaker_object_detection.data.dataset import Source
from sagemaker_object_detection.data.gate import passed, survey
from sagemaker_object_detection.data.loader import Batch, Loader, far_fullest
from sagemaker_object_detection.data.report import Checked, make_report
from sagemaker_object_detection.data.report_html import write_report
from sagemaker_object_detection.data.report_log import log_report
from sagemaker_object_detection.data.sharding import WHOLE, is_sharded, share
from sagemaker_object_detection.data.sources import categories, open_sources
from sagemaker_object_detection.data.sources.parts import split_off
from sagemaker_object_detection.data.stream import StreamLoader
from sagemaker_object_detection.data.tally import Limits, Tally, refusals
from sagemaker_object_detection.evaluation.evaluate import SCORING_BATCH
from sagemaker_object_detection.model.specs import get_spec
from sagemaker_object_detection.platform.channels import DATA_CHANNELS
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.progress import LONGEST_SILENCE_SECONDS, Heartbeat
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.communicator import Communicator, gather_values
from sagemaker_object_detection.training.schedule import batches_per_epoch

log = logging.getLogger(__name__)

HOST_RECORDS = 2**40
"""Numbers that the records of one host may take; those of the next host follow."""


@dataclass(frozen=True)
class Shards:
    """How the records of a channel are numbered and called over all processes.

    Attributes:
        sharded: whether each host has records of its own, instead of all the same.
        names: by host, of its records; empty where they are not known beforehand.
    """

    world: World
    sharded: bool
    names: Sequence[Sequence[str]] = field(default=(), repr=False)

    @property
    def several(self) -> bool:
        """Whether there are hosts with other records."""
        return self.sharded and len(self.world.hosts) > 1

    @property
    def start(self) -> int:
        """The number of this process's record 0 among those of all."""
        return self.world.host_rank * HOST_RECORDS if self.sharded else 0

    def name(self, own: Callable[[int], str], record: int) -> str:
        """What to call a record by its number among all; `own` names this process's records."""
        host, number = divmod(record, HOST_RECORDS)
        if not self.several or host == self.world.host_rank:
            return own(number)
        there = self.world.hosts[host]
        return self.names[host][number] if self.names else f"record {number} on {there}"


def find_shards(
    communicator: Communicator, sharded: bool, own: Callable[[int], str], count: int
) -> Shards:
    """Tell all processes how each host calls its records of a channel.

    `own` names this process's records, of which there are `count`; 0 where that is not known.
    """
    world = communicator.world
    if not sharded or world.size == 1:
        return Shards(world, sharded)
    told = [own(record) for record in range(count)] if world.local_rank == 0 else []
    names = gather_values(communicator, told)[:: world.local_size]
    return Shards(world, sharded, names if all(names) else ())


@dataclass(frozen=True)
class Data:
    """What a job trains on and is scored on, channel by channel.

    Attributes:
        earlier_names: class names of the model that training goes on from.
        sources: of the channels in File mode; tallies: what the gate counted in these.
        streams: the channels in Pipe mode.
        loaders: train, validation and, where it is given, test.
        shards: of each channel over all of them.
        counts: images of each channel of File mode, host by host where they differ.
    """

    job: Job
    earlier_names: tuple[str, ...]
    sources: Mapping[str, Source]
    tallies: Mapping[str, Tally]
    communicator: Communicator
    streams: dict[str, StreamLoader] = field(default_factory=dict)
    loaders: dict[str, Loader | StreamLoader] = field(default_factory=dict)
    shards: dict[str, Shards] = field(default_factory=dict)
    counts: dict[str, list[int]] = field(default_factory=dict)
    _names: dict[Hashable, tuple[str, ...]] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)
    _elsewhere: list[AnnotatedNames] = field(default_factory=list)

    @property
    def train_images(self) -> int:
        """Images of an epoch over all hosts; of a stream what num_training_samples promises."""
        return sum(self.counts.get("train", [self.job.hyperparameters.num_training_samples]))

    @property
    def images_by_largest(self) -> int:
        """Images of an epoch if all hosts had as many as that with most, which sets the updates."""
        counts = self.counts.get("train", [self.train_images])
        return max(counts) * len(counts)

    def scoring_batch(self, channel: str) -> int:
        """Images that are scored at a time: never more than the channel is known to have."""
        tally = self.tallies.get(channel)
        return min(SCORING_BATCH, tally.images) if tally else SCORING_BATCH

    def class_names(self) -> tuple[str, ...]:
        """One name for each class id; a stream tells its names as it is read.

        Raises ClientError as data.class_names does.
        """
        found, given, channels = self._found_names(), self.job.hyperparameters, self.job.channels
        told = frozenset(found.places), found.misfit is None
        if told not in self._names:  # decided, and said in the log, once
            lists, count = categories(self.sources), given.num_classes
            paths = [channels[n].path for n in ("train", "train_annotation") if n in channels]
            names = class_names(given.class_names, lists, paths, found, count, self.earlier_names)
            log.info("Class names: %s", ", ".join(names))
            self._names[told] = names
        return self._names[told]

    def exchange_names(self) -> None:
        """Learn what annotations call the classes on other hosts; in all processes at a time."""
        ours = self._found_names()
        message = [[*named, place] for named, place in ours.places.items()], ours.misfit
        self._elsewhere[:] = [
            AnnotatedNames({(class_id, name): place for class_id, name, place in places}, misfit)
            for places, misfit in gather_values(self.communicator, message)
        ]

    def _found_names(self) -> AnnotatedNames:
        """Of the annotations here and, as far as they are known, elsewhere."""
        sources = [source.found_names for source in self.sources.values()]
        streams = [stream.found_names for stream in self.streams.values()]
        return AnnotatedNames.merged([*sources, *streams, *self._elsewhere])

    def report(self, refused: Sequence[str] = ()) -> None:
        """Write the data report: the channels of File mode, and the first pass of each stream.

        The log tells of every channel once: on each host of the records that it has itself; the
        written report is the first host's. `refused`: why the data cannot be trained on.
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
        if self.communicator.world.is_main:
            self.job.paths.output_data_dir.mkdir(parents=True, exist_ok=True)
            write_report(self.job.paths.output_data_dir, report)

    def close(self) -> None:
        """Stop the threads of all loaders."""
        for loader in self.loaders.values():
            loader.close()


MIB = 2**20


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
        threads: records checked at a time.
        should_stop: whether a stream that is waited for is to be given up.
        earlier_names: class names of the model that training goes on from.
        first_epoch: that training begins with; a stream is read only as often as there are others.

    Raises ClientError: the faults of all channels, as the sources and the gate find them; OSError
    where the report cannot be written.
    """
    names = [name for name in DATA_CHANNELS if name in job.channels]
    given, world = job.hyperparameters, communicator.world
    pipes = [name for name in names if job.channels[name].form == "pipe"]
    if pipes and world.local_size > 1:
        raise ClientError(
            f"Channel '{pipes[0]}' comes in Pipe mode, and a stream can be read by one process "
            f"only, but distribution=horovod has {world.local_size} on this machine, one for each "
            "GPU. Leave distribution out (kvstore has one), or give the channel in File mode."
        )
    files = [name for name in names if job.channels[name].form not in ("pipe", "share")]
    sources = open_sources(job.channels, files, given.num_classes, given.class_names)
    _require_one_list(communicator, sources)
    if "validation" in names and job.channels["validation"].form == "share":
        parts = split_off(sources["train"], given.validation_share, given.seed)
        sources |= dict(zip(("train", "validation"), parts, strict=True))
        log.info("%d images of the channel 'train' validate, %d train.", *map(len, parts[::-1]))
    limits = Limits(given.max_dropped_images, given.max_dropped_boxes)
    tallies: dict[str, Tally] = {}
    for name, source in sources.items():
        begun = time.perf_counter()
        tallies[name] = survey(name, source, given.num_classes, threads, limits)
        log.info("Channel '%s' checked in %.1f s.", name, time.perf_counter() - begun)
    data = Data(job, earlier_names, sources, tallies, communicator)
    refused = refusals(tallies.values())
    data.exchange_names()
    if sources:
        try:
            data.report(refused)
        except ClientError as error:  # the classes cannot be named
            refused.extend(error.faults)
    if refused:
        raise ClientError(*refused)
    _warn(given.label_width, sources, tallies)
    for name in names:
        sharded = is_sharded(job.channels[name])
        loader: Loader | StreamLoader
        images = tallies[name].images if name in tallies else 0
        named = images if name == "validation" else 0  # the report shows these alone
        if name in sources:
            by_process = gather_values(communicator, images)
            if not sharded:
                _require_equal(name, by_process, world)
            counts = by_process[:: world.local_size if sharded else world.size]
            data.counts[name] = counts
            loader = Loader(
                passed(sources[name], tallies[name]),
                given.image_shape,
                threads,
                share(job.channels[name], world),
                shared_by=1 if sharded else len(world.hosts),
                batches=batches_per_epoch(given, max(counts)) if sharded else None,
            )
        else:
            test = name == "test"  # read once, by the main process alone
            loader = data.streams[name] = StreamLoader(
                job.channels[name].path,
                name,
                given.image_shape,
                threads,
                given.num_classes,
                epochs=1 if test else max(1, given.epochs - first_epoch),
                expected_records=given.num_training_samples if name == "train" else 0,
                declared_boxes=(given.label_width - 2) // 5,
                limits=limits,
                buffer_bytes=given.shuffle_buffer_mib * MIB,
                share=WHOLE if test else share(job.channels[name], world),
                stop=should_stop,
            )
        data.loaders[name] = loader
        data.shards[name] = find_shards(communicator, sharded, loader.name, named)
    return data


def _require_one_list(communicator: Communicator, sources: Mapping[str, Source]) -> None:
    """Parts of the data on several hosts may list other classes, and each host sorts its own."""
    world = communicator.world
    listed = [list(names) for names in dict.fromkeys(categories(sources).values())]
    for rank, told in enumerate(gather_values(communicator, listed)):
        if told != listed:
            theirs, ours = (", ".join(one[0]) if one else "none" for one in (told, listed))
            raise ClientError(
                f"The annotations on {world.hosts[rank // world.local_size]} list the classes "
                f"{theirs}, those on {world.hosts[world.host_rank]} {ours}. Set the hyperparameter "
                "class_names to all of them."
            )


def _require_equal(name: str, images: list[int], world: World) -> None:
    for rank, count in enumerate(images):
        if count != images[0]:
            raise ClientError(
                f"Channel '{name}' has {images[0]} usable images on {world.hosts[0]} and "
                f"{count} on {world.hosts[rank // world.local_size]}, and is FullyReplicated. Give "
                "all hosts the same data, or set its S3DistributionType to ShardedByS3Key."
            )


def _warn(label_width: int, sources: Mapping[str, Source], tallies: Mapping[str, Tally]) -> None:
    """Of what is odd about the channels, but no reason to refuse them."""
    for name, tally in tallies.items():
        if not tally.boxes_kept:
            log.warning(
                f"Channel '{name}' has {tally.images} images and not one box: its mAP means "
                "nothing, and no epoch is better than another."
            )
    found = far_fullest(tallies["train"].offsets) if "train" in tallies else None
    if found is not None:
        image, boxes, usual = found
        record = sources["train"].name(int(tallies["train"].indices[image]))
        log.warning(
            f"Channel 'train': {record} has {boxes:,} boxes, 99 % of the other images have at most "
            f"{usual}; batches with it need more memory."
        )
    widest = max((tally.label_width for tally in tallies.values()), default=0)
    if widest > label_width:
        log.warning(
            f"label_width is {label_width}, the fullest image needs {widest}. Nothing is lost: the "
            "data is counted here, but the service's own algorithm would fail."
        )


def with_lines(
    channel: str,
    batches: Iterable[Batch],
    on_line: Callable[[], None] = lambda: None,
    silence: float = LONGEST_SILENCE_SECONDS,
) -> Iterator[Batch]:
    """The batches of an evaluation pass; while it takes long, the log counts their images."""
    heartbeat, started, images = Heartbeat(silence), time.monotonic(), 0
    for batch in batches:
        yield batch
        images += sum(labels is not None for labels in batch.truth)
        if heartbeat.is_due():
            heartbeat.logged()
            rate = images / (time.monotonic() - started)
            log.info("Channel '%s': %d images done (%.1f a second).", channel, images, rate)
            on_line()
