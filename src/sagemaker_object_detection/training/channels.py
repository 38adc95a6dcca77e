"""The channels of a job, read and checked."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from sagemaker_object_detection.data.dataset import Source
from sagemaker_object_detection.data.gate import passed, survey
from sagemaker_object_detection.data.loader import Loader, far_fullest
from sagemaker_object_detection.data.sharding import WHOLE, is_sharded, share
from sagemaker_object_detection.data.sources import categories, open_sources
from sagemaker_object_detection.data.sources.parts import split_off
from sagemaker_object_detection.data.stream import StreamLoader
from sagemaker_object_detection.data.tally import Limits, Tally, refusals
from sagemaker_object_detection.platform.channels import DATA_CHANNELS
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.communicator import Communicator, gather_values
from sagemaker_object_detection.training.data import Data
from sagemaker_object_detection.training.schedule import batches_per_epoch
from sagemaker_object_detection.training.shards import find_shards

log = logging.getLogger(__name__)

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
    files = [name for name in names if job.channels[name].form not in ("pipe", "share")]
    for name in names:
        if job.channels[name].form == "pipe":
            _require_one_reader(name, communicator.world)
    given = job.hyperparameters
    sources = open_sources(job.channels, files, given.num_classes, given.class_names)
    _require_one_list(communicator, sources)
    if "validation" in names and job.channels["validation"].form == "share":
        parts = split_off(sources["train"], given.validation_share, given.seed)
        sources |= dict(zip(("train", "validation"), parts, strict=True))
        log.info("%d images of the channel 'train' validate, %d train.", *map(len, parts[::-1]))
    tallies = {name: _check(name, source, job, threads) for name, source in sources.items()}
    streams: dict[str, StreamLoader] = {}
    loaders: dict[str, Loader | StreamLoader] = {}
    data = Data(job, earlier_names, sources, tallies, streams, loaders, communicator)
    refused = refusals(tallies.values())
    data.exchange_names()
    if sources:
        try:
            data.report(refused)
        except ClientError as error:  # the classes cannot be named
            refused.extend(error.faults)
    if refused:
        raise ClientError(*refused)
    _warn(job.hyperparameters.label_width, sources, tallies)
    world = communicator.world
    for name in names:
        sharded = is_sharded(job.channels[name])
        named = 0  # records whose names others have to know: the report shows these alone
        if name in sources:
            images = tallies[name].images
            named = images if name == "validation" else 0
            by_process = gather_values(communicator, images)
            if not sharded:
                _require_equal(name, by_process, world)
            counts = by_process[:: world.local_size if sharded else world.size]
            data.counts[name] = counts
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
        data.shards[name] = find_shards(communicator, sharded, loaders[name].name, named)
    return data


def _require_one_reader(name: str, world: World) -> None:
    if world.local_size > 1:
        raise ClientError(
            f"Channel '{name}' comes in Pipe mode, and a stream can be read by one process only, "
            f"but distribution=horovod has {world.local_size} on this machine, one for each GPU. "
            "Leave distribution out (kvstore has one), or give the channel in File mode."
        )


def _require_one_list(communicator: Communicator, sources: Mapping[str, Source]) -> None:
    """Parts of the data on several hosts may list other classes, and each host sorts its own."""
    listed = [list(names) for names in dict.fromkeys(categories(sources).values())]
    for rank, told in enumerate(gather_values(communicator, listed)):
        if told != listed:
            world = communicator.world
            host = world.hosts[rank // world.local_size]
            raise ClientError(
                f"The annotations on {host} list the classes {_names(told)}, those on "
                f"{world.hosts[world.host_rank]} {_names(listed)}. Set the hyperparameter "
                "class_names to all of them."
            )


def _names(lists: list[list[str]]) -> str:
    return ", ".join(lists[0]) if lists else "none"


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
    test = name == "test"  # read once, by the main process alone
    passes = 1 if test else max(1, hyperparameters.epochs - first_epoch)
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
        share=WHOLE if test else share(job.channels[name], world),
        stop=should_stop,
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
                "Channel '%s' has %d images and not one box: its mAP means nothing, and no epoch "
                "is better than another.",
                name,
                tally.images,
            )
    found = far_fullest(tallies["train"].offsets) if "train" in tallies else None
    if found is not None:
        image, boxes, usual = found
        log.warning(
            "Channel 'train': %s has %s boxes, 99 %% of the other images have at most %d; batches "
            "with it need more memory.",
            sources["train"].name(int(tallies["train"].indices[image])),
            f"{boxes:,}",
            usual,
        )
    widest = max((tally.label_width for tally in tallies.values()), default=0)
    if widest > label_width:
        log.warning(
            "label_width is %d, the fullest image needs %d. Nothing is lost: the data is counted "
            "here, but the service's own algorithm would fail.",
            label_width,
            widest,
        )
