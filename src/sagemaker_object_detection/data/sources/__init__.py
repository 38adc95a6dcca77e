"""Sources: where the records of a channel or of a split come from. Nothing is copied."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sagemaker_object_detection.data.dataset import Source
from sagemaker_object_detection.data.sources.coco import CocoSource
from sagemaker_object_detection.data.sources.image_pairs import ImageSource, json_pairs
from sagemaker_object_detection.data.sources.manifest import ManifestSource
from sagemaker_object_detection.data.sources.pascal_voc import VocSource, open_voc
from sagemaker_object_detection.data.sources.record_files import RecordIOSource
from sagemaker_object_detection.data.sources.yolo import open_yolo
from sagemaker_object_detection.platform import files, memory
from sagemaker_object_detection.platform.channels import Channel
from sagemaker_object_detection.platform.errors import ClientError

log = logging.getLogger(__name__)

_SHOWN_NAMES = 20


def open_sources(
    channels: Mapping[str, Channel],
    names: Iterable[str],
    num_classes: int | None,
    class_names: Sequence[str] = (),
) -> dict[str, Source]:
    """The sources of several channels, whose classes are numbered alike.

    Args:
        num_classes: that lists of classes must have; None takes any number.
        class_names: the order of the classes, if these are all that the sources list.

    Raises:
        ClientError: the faults of all as `open_source` finds them, or lists of classes that have
            more or fewer than num_classes.
    """
    sources: dict[str, Source] = {}
    faults: list[str] = []
    for name in names:
        try:
            sources[name] = open_source(channels, name)
        except ClientError as error:
            faults.extend(error.faults)
    if faults:
        raise ClientError(*faults)
    merged = merge_classes(list(sources.values()), class_names)
    if merged and num_classes is not None:
        _check_num_classes(sources, merged, num_classes)
    for name, source in sources.items():
        for remark in source.remarks:
            log.info("Channel '%s': %s", name, remark)
    memory.give_back()
    return sources


def merge_classes(sources: Sequence[Source], class_names: Sequence[str] = ()) -> tuple[str, ...]:
    """Number the classes alike in all sources that list them, by their names.

    Where each list is the beginning of the longest one, that is the order, and else the alphabet;
    or that of class_names, if it has all that are listed. () where no source lists any.
    """
    lists = [source.listed_names for source in sources if source.listed_names]
    if not lists:
        return ()
    names = max(lists, key=len)
    if any(one != names[: len(one)] for one in lists):
        names = tuple(sorted({name for one in lists for name in one}))
        log.info("The lists of classes differ; they are merged by name: %s.", ", ".join(names))
    if set(names) <= set(class_names):
        names = tuple(class_names)
    for source in sources:
        if source.listed_names and source.listed_names != names:
            source.renumber(names)
    return names


def _check_num_classes(sources: Mapping[str, Source], names: Sequence[str], wanted: int) -> None:
    count = len(names)
    if count != wanted:
        shown = ", ".join(names[:_SHOWN_NAMES])
        more = f" and {count - _SHOWN_NAMES} more" if count > _SHOWN_NAMES else ""
        listing = ", ".join(name for name, source in sources.items() if source.listed_names)
        raise ClientError(
            f"The annotations of {listing} list {count} classes ({shown}{more}), but num_classes "
            f"is {wanted}. Set num_classes to {count}, or correct the list of classes."
        )


def categories(sources: Mapping[str, Source]) -> dict[str, tuple[str, ...]]:
    """The classes that sources list, by channel; after `open_sources` they are the same."""
    return {name: s.listed_names for name, s in sources.items() if s.listed_names}


def open_source(channels: Mapping[str, Channel], name: str) -> Source:
    """The source of one channel, by its form. Raises ClientError as the sources do."""
    channel = channels[name]
    notes = channels.get(f"{name}_annotation", channel)
    if channel.form == "recordio":
        return RecordIOSource(files.of_form(channel.path, "recordio"))
    if channel.form == "image":
        return ImageSource(json_pairs(channel.path, notes.path))
    if channel.form == "coco":
        return CocoSource(channel.path, _listed(files.coco_file(notes.path), channel))
    if channel.form == "manifest":
        path = _listed(files.manifest_file(notes.path), channel)
        attributes = channel.attribute_names or notes.attribute_names
        return ManifestSource(channel.path, path, attributes)
    if channel.form == "voc":
        if notes is channel:
            return open_voc(channel.path, name)
        return VocSource(channel.path, notes.path)
    if channel.form == "yolo":
        return open_yolo(channel.path, name, None if notes is channel else notes.path)
    raise ValueError(f"channel '{name}' of form {channel.form} cannot be read record by record")


def _listed(path: Path | None, channel: Channel) -> Path:
    if path is None:
        raise ClientError(
            f"Channel '{channel.name}': its {channel.form} file is no longer there. Do not change "
            "the channel while it is being read."
        )
    return path
