"""Sources: where the records of a channel come from. Nothing is copied or repacked."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path

import numpy as np

from sagemaker_object_detection.data import recordio
from sagemaker_object_detection.data.class_names import check_categories
from sagemaker_object_detection.data.coco import CocoSource
from sagemaker_object_detection.data.dataset import RawRecord, Source
from sagemaker_object_detection.data.image_pairs import ImageSource, pair_files
from sagemaker_object_detection.data.manifest import ManifestSource
from sagemaker_object_detection.data.records import from_payload
from sagemaker_object_detection.platform import files, memory
from sagemaker_object_detection.platform.channels import Channel
from sagemaker_object_detection.platform.errors import ClientError

log = logging.getLogger(__name__)


class RecordIOSource:
    """The records of one or more .rec files, found by one scan and read by their offsets.

    Raises ClientError (RecordIOError) for broken framing, naming file, record and byte.

    Attributes:
        class_names, unannotated: empty; a record has class ids alone and always a label.
    """

    class_names: Mapping[int, Set[str]] = {}
    unannotated: Sequence[str] = ()

    def __init__(self, paths: Sequence[Path]) -> None:
        self._indexes = [
            replace(index, files=recordio.names_from_list(index.path, len(index)))
            for index in map(recordio.scan, paths)
        ]
        self._descriptors = [os.open(path, os.O_RDONLY) for path in paths]
        self._starts = np.cumsum([0, *(len(index) for index in self._indexes)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __del__(self) -> None:
        for descriptor in getattr(self, "_descriptors", ()):
            os.close(descriptor)

    def _locate(self, index: int) -> tuple[int, int]:
        file = int(np.searchsorted(self._starts, index, side="right")) - 1
        return file, index - int(self._starts[file])

    def _payload(self, index: int) -> bytes:
        file, record = self._locate(index)
        return recordio.read(self._descriptors[file], self._indexes[file], record)

    def name(self, index: int) -> str:
        """`train.rec, record 12 (a.jpg)` where a list names its image, else `(byte 34567)`."""
        file, record = self._locate(index)
        return self._indexes[file].name(record)

    def read(self, index: int) -> RawRecord:
        """Image and label, corners in 0..1."""
        return from_payload(self._payload(index), self.name(index))

    def read_image(self, index: int) -> bytes:
        """The encoded picture alone."""
        return recordio.unpack(self._payload(index), self.name(index)).image


def open_sources(
    channels: Mapping[str, Channel], names: Iterable[str], num_classes: int | None
) -> dict[str, Source]:
    """The sources of several channels.

    Raises:
        ClientError: the faults of all as `open_source` finds them, or COCO files whose categories
            differ.
    """
    sources: dict[str, Source] = {}
    faults: list[str] = []
    for name in names:
        try:
            sources[name] = open_source(channels, name, num_classes)
        except ClientError as error:
            faults.extend(error.faults)
    if faults:
        raise ClientError(*faults)
    check_categories(categories(sources))  # before the pictures, which take their time
    memory.give_back()
    return sources


def categories(sources: Mapping[str, Source]) -> dict[str, tuple[str, ...]]:
    """The categories of the COCO files, by channel."""
    return {n: s.category_names for n, s in sources.items() if isinstance(s, CocoSource)}


def open_source(channels: Mapping[str, Channel], name: str, num_classes: int | None) -> Source:
    """The source of one channel, by its form.

    Raises:
        ClientError: as RecordIOSource, `pair_files`, CocoSource and ManifestSource do, and for a
            COCO file that does not have num_classes categories; with None any number will do.
    """
    channel = channels[name]
    notes = channels.get(f"{name}_annotation", channel)
    if channel.form == "recordio":
        return RecordIOSource(files.of_form(channel.path, "recordio"))
    if channel.form == "image":
        return ImageSource(pair_files(channel.path, notes.path))
    if channel.form == "coco":
        coco = CocoSource(channel.path, _listed(files.coco_file(notes.path), channel))
        if num_classes is not None:
            coco.check_num_classes(num_classes)
        log.info("Channel '%s': %d iscrowd boxes are left out.", name, coco.crowd_boxes)
        _tell_unlisted(name, coco)
        return coco
    if channel.form == "manifest":
        path = _listed(files.manifest_file(notes.path), channel)
        attributes = channel.attribute_names or notes.attribute_names
        manifest = ManifestSource(channel.path, path, attributes)
        _tell_unlisted(name, manifest)
        return manifest
    raise ValueError(f"channel '{name}' of form {channel.form} cannot be read record by record")


def _tell_unlisted(name: str, source: CocoSource | ManifestSource) -> None:
    if source.unlisted:
        log.warning(
            "Channel '%s': %d images are not used, since the %s does not list them.",
            name,
            source.unlisted,
            "COCO file" if isinstance(source, CocoSource) else "manifest",
        )


def _listed(path: Path | None, channel: Channel) -> Path:
    if path is None:
        raise ClientError(
            f"Channel '{channel.name}': its {channel.form} file is no longer there. Do not change "
            "the channel while it is being read."
        )
    return path
