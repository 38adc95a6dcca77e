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
    "pipe": "a stream (Pipe mode)",
}


def with_forms(
    channels: Mapping[str, Channel], names: Iterable[str] = DATA_CHANNELS
) -> dict[str, Channel]:
    """The channels, those of these names, which hold images, with their form.

    "pipe" by the mode; "recordio" where .rec files stand alone; with an annotation channel, or a
    list beside the images, "coco" and "manifest" when it is such a file, else "image".

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
    if "recordio" in kinds and notes is None and listing is None:
        if len(kinds) > 1:
            _warn_of_both(channel, ".rec files")
        return "recordio"
    if "image" in kinds and (notes is not None or listing is not None):
        if len(kinds) > 1:
            _warn_of_both(channel, "images")
        if listing is None and notes is not None and not files.has_json(notes.path):
            raise _refusal(
                notes,
                f"{notes.path} holds neither .json files nor a manifest "
                f"({', '.join(sorted(files.MANIFEST_SUFFIXES))}), so that no image of '{name}' is "
                "annotated. Put one JSON file an image there, a COCO file or a manifest.",
            )
        return listing or "image"
    if kinds and notes is not None:
        raise ClientError(
            f"Channel '{name}': {folder} holds RecordIO, which carries its labels, but there is a "
            f"channel {notes.name}. Leave the annotation channel out, or give single images."
        )
    if notes is not None:
        raise _refusal(
            channel,
            f"{folder} holds no images ({', '.join(sorted(files.IMAGE_SUFFIXES))}). Put the images "
            f"there, and their annotations into {notes.name}.",
        )
    if "image" in kinds:
        raise _refusal(
            channel,
            f"{folder} holds single images, which need a channel {name}_annotation with one JSON "
            "file an image, a COCO file or a manifest. Missing required channel: "
            f"{name}_annotation.",
        )
    raise _refusal(
        channel,
        f"{folder} holds neither .rec files nor images. Pack the data as RecordIO, or give images "
        f"and a channel {name}_annotation.",
    )


def _refusal(channel: Channel, fault: str) -> ClientError:
    """Of a channel that lacks something: labels of another tool in it explain more than that."""
    return ClientError(f"Channel '{channel.name}': {recognized(channel.path) or fault}")


def _listing(channel: Channel, notes: Channel | None) -> Form | None:
    """Which kind of one file for all images there is, if any."""
    folder = (notes or channel).path
    if files.manifest_file(folder) is not None:
        return "manifest"
    return "coco" if files.coco_file(folder) is not None else None


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
