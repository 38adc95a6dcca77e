"""The input channels of a training job: which are there, and in which form the data comes.

Content types are checked but never decide: clients declare image channels as RecordIO and
annotation channels as images or JSON, or declare nothing. What the files are decides.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from sagemaker_object_detection.platform import files
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.files import Form
from sagemaker_object_detection.platform.paths import Paths

log = logging.getLogger(__name__)

RECORDIO = "application/x-recordio"
MODEL = "application/x-sagemaker-model"
_IMAGES = frozenset({"application/x-image", "image/jpeg", "image/jpg", "image/png"})
_DATA = _IMAGES | {RECORDIO}
_ANNOTATIONS = _DATA | {"application/json", "application/jsonlines"}
_WEIGHTS = frozenset({MODEL, "application/octet-stream", "binary/octet-stream"})

CONTENT_TYPES: Mapping[str, frozenset[str]] = {
    "train": _DATA,
    "validation": _DATA,
    "train_annotation": _ANNOTATIONS,
    "validation_annotation": _ANNOTATIONS,
    "pretrained": _WEIGHTS,
    "model": _WEIGHTS,
    "test": _DATA,
}
"""The known channels, and what each may declare itself to be."""

REQUIRED = ("train", "validation")
_NOT_YET = {
    "model": "training that goes on from an earlier model",
    "test": "a test channel",
}
_MODES = {"file": "File", "fastfile": "FastFile", "pipe": "Pipe"}
_DISTRIBUTIONS = {"fullyreplicated": "FullyReplicated", "shardedbys3key": "ShardedByS3Key"}


@dataclass(frozen=True)
class Channel:
    """One channel: its folder and what the job said about it.

    content_type: lower case without parameters, None when not declared. mode: File, FastFile or
    Pipe. distribution: FullyReplicated or ShardedByS3Key.
    """

    name: str
    path: Path
    content_type: str | None = None
    mode: str = "File"
    distribution: str = "FullyReplicated"


def parse_channels(config: Mapping[str, object], paths: Paths) -> dict[str, Channel]:
    """Read inputdataconfig.json's content and look whether the folders are there.

    Raises ClientError with all faults: missing and unknown channels, content types, modes and
    distributions that are not supported, folders that are missing or empty.
    """
    faults = [
        f"Missing required channel: {name}. Add it to the job's input channels."
        for name in _missing(config)
    ]
    channels: dict[str, Channel] = {}
    for name, given in config.items():
        channel, wrong = _channel(name, given, paths)
        faults.extend(wrong)
        channels[name] = channel
    if faults:
        raise ClientError(*faults)
    return channels


def _missing(config: Mapping[str, object]) -> list[str]:
    needed = list(REQUIRED)
    if any(f"{name}_annotation" in config for name in REQUIRED):
        needed += [f"{name}_annotation" for name in REQUIRED]
    return [name for name in needed if name not in config]


def _channel(name: str, given: object, paths: Paths) -> tuple[Channel, list[str]]:
    channel = Channel(name, paths.channel_dir(name))
    if name not in CONTENT_TYPES:
        near = get_close_matches(name.lower(), CONTENT_TYPES, n=1)
        cure = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(CONTENT_TYPES)}."
        return channel, [f"Extraneous channel found: {name}. {cure}"]
    if name in _NOT_YET:
        return channel, [
            f"Channel '{name}': {_NOT_YET[name]} is not supported yet. Leave the channel out."
        ]
    if not isinstance(given, Mapping):
        return channel, [
            f"Channel '{name}' is described by {given!r} in {paths.input_data_config_file}; it "
            'must be a JSON object like {"TrainingInputMode": "File"}.'
        ]
    faults: list[str] = []
    content_type = str(given.get("ContentType") or "").split(";")[0].strip().lower() or None
    if content_type is not None and content_type not in CONTENT_TYPES[name]:
        faults.append(
            f"Channel '{name}': ContentType '{given['ContentType']}' is not supported. Use one of "
            f"{', '.join(sorted(CONTENT_TYPES[name]))}, or none."
        )
    mode = _word(given, "TrainingInputMode", _MODES, "File", name, faults)
    distribution = _word(
        given, "S3DistributionType", _DISTRIBUTIONS, "FullyReplicated", name, faults
    )
    if mode == "Pipe":
        faults.append(
            f"Channel '{name}': Pipe mode is not supported yet. Set TrainingInputMode to File or "
            "FastFile."
        )
    elif not channel.path.is_dir():
        faults.append(
            f"Channel '{name}': its folder {channel.path} is missing. Check the channel's S3 URI, "
            "or make the folder."
        )
    elif not any(files.walk(channel.path)):
        faults.append(
            f"Channel '{name}': its folder {channel.path} holds no files. Check the channel's S3 "
            "URI: the prefix may be misspelt."
        )
    return Channel(name, channel.path, content_type, mode, distribution), faults


def _word(
    given: Mapping[str, object],
    key: str,
    words: Mapping[str, str],
    default: str,
    name: str,
    faults: list[str],
) -> str:
    value = given.get(key) or default
    word = words.get(str(value).lower())
    if word is None:
        allowed = ", ".join(words.values())
        faults.append(f"Channel '{name}': {key} '{value}' is not known. Use one of {allowed}.")
    return word or default


def discover_channels(paths: Paths) -> dict[str, object]:
    """Describe the sub-folders of input/data as inputdataconfig.json would, in File mode."""
    if not paths.data_dir.is_dir():
        return {}
    names = sorted(p.name for p in paths.data_dir.iterdir() if p.is_dir())
    return {name: {"TrainingInputMode": "File"} for name in names if not name.startswith(".")}


def input_form(channels: Mapping[str, Channel]) -> Form:
    """Decide by the channels and their files in which form the data comes.

    With annotation channels it is "image" and train and validation must hold images; without, it
    is "recordio" and they must hold .rec files. Raises ClientError when neither fits.
    """
    annotated = "train_annotation" in channels
    form: Form = "image" if annotated else "recordio"
    faults: list[str] = []
    for name in REQUIRED:
        folder = channels[name].path
        kinds = files.forms(folder)
        if form in kinds:
            if len(kinds) > 1:
                log.warning(
                    "Channel '%s': %s holds .rec files and single images; the %s are used.",
                    name,
                    folder,
                    "images" if annotated else ".rec files",
                )
            _compare_type(channels[name], form)
        elif annotated and kinds:
            faults.append(
                f"Channel '{name}': {folder} holds RecordIO, which carries its labels, but there "
                "are annotation channels. Leave the annotation channels out, or give single "
                "images."
            )
        elif annotated:
            faults.append(f"Channel '{name}': {folder} holds no .jpg, .jpeg or .png images.")
        elif kinds:
            faults.append(
                f"Channel '{name}': {folder} holds single images, which need a channel "
                f"{name}_annotation with one JSON file an image. Missing required channel: "
                f"{name}_annotation."
            )
        else:
            faults.append(
                f"Channel '{name}': {folder} holds neither .rec files nor images. Pack the data as "
                f"RecordIO, or give images and a channel {name}_annotation."
            )
    if faults:
        raise ClientError(*faults)
    return form


def _compare_type(channel: Channel, form: Form) -> None:
    declared = channel.content_type
    if declared is not None and (declared == RECORDIO) != (form == "recordio"):
        log.info(
            "Channel '%s' is declared as %s; its files are read as %s.",
            channel.name,
            declared,
            "RecordIO" if form == "recordio" else "single images",
        )
