"""What a job trains on and is scored on."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from sagemaker_object_detection.data.class_names import AnnotatedNames, class_names
from sagemaker_object_detection.data.dataset import Source
from sagemaker_object_detection.data.loader import Loader
from sagemaker_object_detection.data.report import Checked, make_report
from sagemaker_object_detection.data.report_html import write_report
from sagemaker_object_detection.data.report_log import log_report
from sagemaker_object_detection.data.sources import categories
from sagemaker_object_detection.data.stream import StreamLoader
from sagemaker_object_detection.data.tally import Tally
from sagemaker_object_detection.evaluation.evaluate import SCORING_BATCH
from sagemaker_object_detection.model.specs import get_spec
from sagemaker_object_detection.platform.channels import DATA_CHANNELS
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.training.communicator import Communicator, gather_values
from sagemaker_object_detection.training.shards import Shards

log = logging.getLogger(__name__)


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
        counts: images of each channel of File mode, host by host where they differ.
    """

    job: Job
    earlier_names: tuple[str, ...]
    sources: Mapping[str, Source]
    tallies: Mapping[str, Tally]
    streams: Mapping[str, StreamLoader]
    loaders: Mapping[str, Loader | StreamLoader]
    communicator: Communicator
    shards: dict[str, Shards] = field(default_factory=dict)
    counts: dict[str, list[int]] = field(default_factory=dict)
    _names: dict[Hashable, tuple[str, ...]] = field(default_factory=dict)
    _told: set[str] = field(default_factory=set)
    _elsewhere: list[AnnotatedNames] = field(default_factory=list)

    @property
    def train_images(self) -> int:
        """Images of an epoch over all hosts; of a stream what num_training_samples promises."""
        counts = self.counts.get("train", [self.job.hyperparameters.num_training_samples])
        return sum(counts)

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
        found = self._found_names()
        told = frozenset(found.places), found.misfit is None
        if told not in self._names:  # decided, and said in the log, once
            self._names[told] = self._decide_names(found)
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

    def _decide_names(self, found: AnnotatedNames) -> tuple[str, ...]:
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

        The log tells of every channel once. Where hosts have records of their own, each host's log
        tells of these, and the written report of the first host's.

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
