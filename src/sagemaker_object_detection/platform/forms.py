"""In which form each channel's data comes.

Content types never decide: clients declare image channels as RecordIO and annotation channels as
images or JSON, or declare nothing. What the files are decides, each channel for itself.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace

from sagemaker_object_detection.platform import files
from sagemaker_object_detection.platform.channels import DATA_CHANNELS, RECORDIO, Channel, Form
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.foreign import recognized

log = logging.getLogger(__name__)

_SAID: Mapping[Form, str] = {
    "recordio": "RecordIO",
    "image": "single images with one annotation file each",
    "coco": "images with a COCO file",
    "manifest": "images with a manifest",
    "voc": "images with Pascal VOC's XML",
    "yolo": "images with YOLO's labels",
    "pipe": "a stream (Pipe mode)",
}


def with_forms(
    channels: Mapping[str, Channel], names: Iterable[str] = DATA_CHANNELS
) -> dict[str, Channel]:
    """The channels, those of these names, which hold images, with their form.

    "pipe" by the mode; "recordio" where .rec files stand alone; with an annotation channel, or a
    list beside the images, "coco" and "manifest" when it is such a file; "voc" and "yolo" by XML
    and texts; else "image".

    Raises ClientError with all faults: files that are of no form or contradict the channels.
    """
    result = dict(channels)
    faults: list[str] = []
    for name in names:
        if name not in channels:
            continue
        try:
            form = _form(channels, name)
        except ClientError as error:
            faults.extend(error.faults)
            continue
        result[name] = replace(channels[name], form=form)
        _tell(result[name], form)
    if faults:
        raise ClientError(*faults)
    return result


def _form(channels: Mapping[str, Channel], name: str) -> Form:
    channel, notes = channels[name], channels.get(f"{name}_annotation")
    if channel.mode == "Pipe":
        if notes is not None:
            raise ClientError(
                f"Channel '{name}' is in Pipe mode, which carries the labels in the stream, but "
                f"there is a channel {notes.name}. Leave that out, or set TrainingInputMode of "
                f"'{name}' to File."
            )
        if channel.path.is_dir() and any(files.walk(channel.path)):
            log.warning(
                "Channel '%s' is in Pipe mode: FIFOs %s_0 and so on are waited for, and the files "
                "in the folder %s are not read. To read them set TrainingInputMode to File.",
                name,
                channel.path,
                channel.path,
            )
        return "pipe"
    folder = channel.path
    kinds = files.forms(folder)
    listing = _listing(channel, notes) if "image" in kinds else None
    if listing is None and "recordio" not in kinds:
        other = recognized((notes or channel).path)
        if other is not None:
            raise ClientError(f"Channel '{(notes or channel).name}': {other}")
    if "recordio" in kinds and notes is None and listing is None:
        if len(kinds) > 1:
            _warn_of_both(channel, ".rec files")
        return "recordio"
    if "image" in kinds and (notes is not None or listing is not None):
        if len(kinds) > 1:
            _warn_of_both(channel, "images")
        if listing is None and notes is not None and not files.has_json(notes.path):
            raise ClientError(
                f"Channel '{notes.name}': {notes.path} holds neither .json files nor a manifest "
                f"({', '.join(sorted(files.MANIFEST_SUFFIXES))}), so that no image of '{name}' is "
                "annotated. Put one JSON file an image there, a COCO file or a manifest."
            )
        return listing or "image"
    if kinds and notes is not None:
        raise ClientError(
            f"Channel '{name}': {folder} holds RecordIO, which carries its labels, but there is a "
            f"channel {notes.name}. Leave the annotation channel out, or give single images."
        )
    if notes is not None:
        raise ClientError(
            f"Channel '{name}': {folder} holds no images "
            f"({', '.join(sorted(files.IMAGE_SUFFIXES))}). Put the images there, and their "
            f"annotations into {notes.name}."
        )
    if "image" in kinds:
        raise ClientError(
            f"Channel '{name}': {folder} holds single images, which need a channel "
            f"{name}_annotation with one JSON file an image, a COCO file or a manifest. Missing "
            f"required channel: {name}_annotation."
        )
    raise ClientError(
        f"Channel '{name}': {folder} holds neither .rec files nor images. Pack the data as "
        f"RecordIO, or give images and a channel {name}_annotation."
    )


def _listing(channel: Channel, notes: Channel | None) -> Form | None:
    """What annotates the images, where it is not one JSON file for each."""
    folder = (notes or channel).path
    if files.manifest_file(folder) is not None:
        return "manifest"
    if files.coco_file(folder) is not None:
        return "coco"
    if notes is not None and files.has_json(folder):
        return None
    if files.has_voc(folder):
        return "voc"
    return "yolo" if files.has_yolo(folder) else None


def _warn_of_both(channel: Channel, used: str) -> None:
    log.warning(
        "Channel '%s': %s holds .rec files and single images; the %s are used.",
        channel.name,
        channel.path,
        used,
    )


def _tell(channel: Channel, form: Form) -> None:
    declared = channel.content_type
    if declared is None or form == "pipe" or (declared == RECORDIO) == (form == "recordio"):
        log.info("Channel '%s' comes as %s.", channel.name, _SAID[form])
        return
    log.info(
        "Channel '%s' is declared as %s; its files are read as %s.",
        channel.name,
        declared,
        _SAID[form],
    )
