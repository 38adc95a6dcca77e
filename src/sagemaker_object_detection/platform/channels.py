"""The input channels of a training job: which are there, and what the job says about each."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from sagemaker_object_detection.platform import files
from sagemaker_object_detection.platform.errors import ClientError, dead_link, is_dead_link
from sagemaker_object_detection.platform.paths import Paths

Form = Literal["recordio", "image", "coco", "manifest", "voc", "yolo", "pipe", "share"]

RECORDIO = "application/x-recordio"
MODEL = "application/x-sagemaker-model"
_IMAGES = frozenset({"application/x-image", "image/jpeg", "image/jpg", "image/png"})
_DATA = _IMAGES | {RECORDIO, "application/jsonlines"}
_ANNOTATIONS = _DATA | {"application/json"}
_WEIGHTS = frozenset({MODEL, "application/octet-stream", "binary/octet-stream"})

CONTENT_TYPES: Mapping[str, frozenset[str]] = {
    "train": _DATA,
    "validation": _DATA,
    "train_annotation": _ANNOTATIONS,
    "validation_annotation": _ANNOTATIONS,
    "test": _DATA,
    "test_annotation": _ANNOTATIONS,
    "pretrained": _WEIGHTS,
    "model": _WEIGHTS,
}
"""The known channels, and what each may declare itself to be."""

IGNORED = frozenset({"code", "sm_drivers", files.LOST_AND_FOUND})
"""Not the algorithm's: what version 3 of the SageMaker SDK adds, and a disk's own folder."""

REQUIRED = ("train", "validation")
DATA_CHANNELS = (*REQUIRED, "test")
SPLIT_CHANNELS: Mapping[str, str] = dict.fromkeys(("val", "valid", "dev"), "validation")
"""Usual names of splits -> the channel that training knows them by."""
_MODES = {"file": "File", "fastfile": "FastFile", "pipe": "Pipe"}
_DISTRIBUTIONS = {"fullyreplicated": "FullyReplicated", "shardedbys3key": "ShardedByS3Key"}


@dataclass(frozen=True)
class Channel:
    """One channel: its folder and what the job said about it.

    content_type: lower case without parameters, None when not declared. mode: File, FastFile or
    Pipe; in Pipe mode there is no folder but FIFOs, <path>_0 and so on, one for each epoch.
    distribution: FullyReplicated or ShardedByS3Key. attribute_names: of an augmented manifest, the
    image's first. form: how the data comes, None for channels that hold no images; see forms;
    "share" is a share of train.
    """

    name: str
    path: Path
    content_type: str | None = None
    mode: str = "File"
    distribution: str = "FullyReplicated"
    attribute_names: tuple[str, ...] = ()
    form: Form | None = None


def parse_channels(
    config: Mapping[str, object], paths: Paths, shared: bool = False
) -> dict[str, Channel]:
    """Read inputdataconfig.json's content, without what is IGNORED; check that folders exist.

    Args:
        shared: whether a share of train validates, so that there is no channel validation.

    Raises ClientError with all faults: missing and unknown channels, content types, modes and
    distributions that are not supported, folders that are missing or empty.
    """
    faults = [
        f"Missing required channel: {name}. Add it to the job's input channels"
        + (
            ", or set the hyperparameter validation_share: 0.2 takes a fifth of train."
            if name == "validation"
            else "."
        )
        for name in _missing(config)
        if not (shared and name == "validation")
    ]
    if shared and "validation" in config:
        faults.append(
            "The hyperparameter validation_share splits validation off train, but there is a "
            "channel validation. Leave one of the two out."
        )
    channels: dict[str, Channel] = {}
    for name, given in config.items():
        if name in IGNORED:
            continue
        channel, wrong = _channel(name, given, paths)
        faults.extend(wrong)
        channels[name] = channel
    if faults:
        raise ClientError(*faults)
    return channels


def _missing(config: Mapping[str, object]) -> list[str]:
    needed = list(REQUIRED)
    if "test_annotation" in config:
        needed.append("test")
    return [name for name in needed if name not in config]


def _channel(name: str, given: object, paths: Paths) -> tuple[Channel, list[str]]:
    channel = Channel(name, paths.channel_dir(name))
    if name not in CONTENT_TYPES:
        split, ending, _ = name.lower().partition("_annotation")
        usual = SPLIT_CHANNELS.get(split, split) + ending
        near = get_close_matches(usual, CONTENT_TYPES, n=1)
        cure = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(CONTENT_TYPES)}."
        return channel, [f"Extraneous channel found: {name}. {cure}"]
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
        if name not in DATA_CHANNELS:
            faults.append(
                f"Channel '{name}': TrainingInputMode 'Pipe' is for {', '.join(DATA_CHANNELS)}. "
                "Set it to File or FastFile."
            )
    elif is_dead_link(channel.path):
        faults.append(f"Channel '{name}': its folder {dead_link(channel.path)}")
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
    attributes = _attributes(given, name, faults)
    return Channel(name, channel.path, content_type, mode, distribution, attributes), faults


def _attributes(given: Mapping[str, object], name: str, faults: list[str]) -> tuple[str, ...]:
    value = given.get("AttributeNames") or ()
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        faults.append(
            f"Channel '{name}': AttributeNames is {value!r}; it must be a list of names, the "
            'image\'s first, like ["source-ref", "bounding-box"].'
        )
        return ()
    return tuple(value)


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
    """Describe the sub-folders of input/data as inputdataconfig.json would, in File mode.

    A link that leads nowhere is one of them if it has a channel's name: it was meant as one.
    """
    if not paths.data_dir.is_dir():
        return {}
    names = sorted(p.name for p in paths.data_dir.iterdir() if p.is_dir() or _was_channel(p))
    return {name: {"TrainingInputMode": "File"} for name in names if not name.startswith(".")}


def _was_channel(path: Path) -> bool:
    return path.name in CONTENT_TYPES and is_dead_link(path)
