"""Labeled images of any format, made into channels for training."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from sagemaker_object_detection.data.class_names import CLASSES_FILE, read_classes
from sagemaker_object_detection.data.dataset import Source
from sagemaker_object_detection.data.refusal import Offenders
from sagemaker_object_detection.data.sources import merge_classes
from sagemaker_object_detection.data.sources.parts import Joined
from sagemaker_object_detection.data.sources.splits import SPLITS, open_split
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.foreign import recognized
from sagemaker_object_detection.tools.channel_writers import WRITERS, Checked
from sagemaker_object_detection.tools.findings import (
    Findings,
    Settings,
    ValidationShare,
    examine,
    with_validation,
)
from sagemaker_object_detection.tools.output import make_folder

_CHANNEL = re.compile(r"[A-Za-z0-9._-]{1,64}")


def convert(
    source: Path,
    output: Path,
    splits: Sequence[tuple[str, str]],
    *,
    reader: str = "voc",
    writer: str = "recordio",
    settings: Settings | None = None,
    attribute_names: tuple[str, ...] = (),
    validation: ValidationShare | None = None,
) -> tuple[Findings, list[str]]:
    """Check splits of `source` as training would, and write them as channels into `output`.

    What training would drop is not written. Everything is written aside and moved into place at
    the end, so that `output` never holds half a channel. The same input gives the same bytes.

    Args:
        splits: pairs (split, channel); several splits may go into one channel.
        reader: a key of SPLITS.
        writer: a key of WRITERS.
        attribute_names: of a manifest's image and annotation.
        validation: splits train, where there is no other channel validation.

    Returns:
        What was found, and remarks on how the data was read.

    Raises:
        ClientError: faults of the data, as training would refuse them; a split that is not there;
            data without any class; a channel that is there already; class names that differ from
            those of the classes.txt that is there.
    """
    settings = settings or Settings(turn_boxes=True)
    for channel in {channel for _, channel in splits}:
        _check_channel(output, channel)
    _check_splits(source, reader, splits)
    parts: dict[str, list[Source]] = {}
    for split, channel in splits:
        try:
            part = open_split(reader, source, split, attribute_names)
        except ClientError as error:
            other = recognized(source) if source.is_dir() else None
            raise ClientError(*([other] if other else []), *error.faults) from None
        parts.setdefault(channel, []).append(part)
    channels = _number(parts, settings.class_names)
    if validation is not None:
        channels = _with_validation(channels, validation, output)
    folders = [source / split for split, _ in splits] + [source]
    findings = examine(channels, [f for f in folders if f.is_dir()], settings)
    refused = [*findings.refused, *_without_boxes(source, channels, findings)]
    if refused:
        raise ClientError(*refused)
    _check_names(channels, findings)
    _check_classes(output, findings.class_names)
    make_folder(output)
    with tempfile.TemporaryDirectory(dir=output, prefix=".converting-") as name:
        aside = Path(name)
        for channel, joined in channels.items():
            checked = Checked(joined, findings.tallies[channel], findings.class_names)
            WRITERS[writer](aside, channel, checked)
        text = "".join(f"{name}\n" for name in findings.class_names)
        (aside / CLASSES_FILE).write_text(text, encoding="utf-8", newline="\n")
        for path in sorted(aside.iterdir()):
            path.replace(output / path.name)
    remarks = [remark for one in parts.values() for source in one for remark in source.remarks]
    return findings, list(dict.fromkeys(remarks))


def _number(parts: Mapping[str, list[Source]], given: tuple[str, ...]) -> dict[str, Source]:
    """Channels, with their classes numbered alike."""
    names = merge_classes([source for one in parts.values() for source in one], given)
    missing = [name for name in names if name not in given] if given else []
    if missing:
        raise ClientError(
            f"The data has the classes {', '.join(missing)}, which are not in --classes "
            f"({', '.join(given)}). Add them to the list."
        )
    channels: dict[str, Source] = {}
    for channel, sources in parts.items():
        channels[channel] = Joined(sources)
        channels[channel].listed_names = names
    return channels


def _with_validation(
    channels: dict[str, Source], validation: ValidationShare, output: Path
) -> dict[str, Source]:
    _check_channel(output, "validation")
    return with_validation(channels, validation)


def _check_splits(source: Path, reader: str, splits: Sequence[tuple[str, str]]) -> None:
    if len({split for split, _ in splits}) > 1 and not SPLITS[reader](source):
        raise ClientError(
            f"{source} is not split, and several splits are asked for. Give one, as --split "
            "train, and --validation-share 0.2 for a channel validation."
        )


def _without_boxes(source: Path, channels: Mapping[str, Source], findings: Findings) -> list[str]:
    if any(tally.boxes_kept for tally in findings.tallies.values()):
        return []
    if not any(channel.listed_names for channel in channels.values()):
        return [
            f"{source}: no image has an object, and no class is named. Give --classes with the "
            "names of the classes."
        ]
    remarks = " ".join(remark for channel in channels.values() for remark in channel.remarks)
    return [
        f"{source}: no image has an object: there is nothing to learn. {remarks} Check that the "
        "annotations are the right ones."
    ]


def _check_channel(output: Path, channel: str) -> None:
    taken = channel in (".", "..", CLASSES_FILE) or channel.endswith("_annotation")
    if taken or not _CHANNEL.fullmatch(channel):
        raise ClientError(
            f"'{channel}' cannot be the name of a channel. Use letters, digits, '.', '-' and '_', "
            "and no ending that annotations have."
        )
    for path in (output / channel, output / f"{channel}_annotation"):
        if path.exists():
            raise ClientError(
                f"{path} is there already. Remove it, or choose another output folder."
            )


def _check_names(channels: Mapping[str, Source], findings: Findings) -> None:
    """Names of images must be text, lead nowhere else, and be unique in their channel."""
    offenders = Offenders()
    for channel, source in channels.items():
        indices = findings.tallies[channel].indices.tolist()
        names = [name for index in indices if (name := source.image_name(index)) is not None]
        for name, count in Counter(names).items():
            path = PurePosixPath(name)
            if not name.isprintable() or path.is_absolute() or ".." in path.parts:
                offenders.add(f"{name!r} cannot be the name of an image. Rename the file.")
            if count > 1:
                offenders.add(
                    f"Channel '{channel}': {count} images are called '{name}'. Rename them, or "
                    "put the splits into channels of their own."
                )
    offenders.refuse("The images cannot be written")
    for name in findings.class_names:
        if len(name.splitlines()) != 1 or not name.isprintable():
            raise ClientError(
                f"The class name {name!r} cannot be a line of text. Rename the class in the data."
            )


def _check_classes(output: Path, names: tuple[str, ...]) -> None:
    """Channels that are used together must number their classes alike."""
    path = output / CLASSES_FILE
    if path.is_dir():
        raise ClientError(f"{path} is a folder. Remove it, or choose another output folder.")
    if path.exists() and (there := read_classes(path)) != names:
        raise ClientError(
            f"{path} lists the classes {', '.join(there)}, this conversion has "
            f"{', '.join(names)}. Give --classes with all of them, or another output folder."
        )


def summary(findings: Findings, remarks: Sequence[str], output: Path) -> str:
    """What follows the report: remarks, classes, and the hyperparameters of a job."""
    numbered = ", ".join(f"{number} {name}" for number, name in enumerate(findings.class_names))
    hyperparameters = f"num_classes={len(findings.class_names)}"
    if "train" in findings.tallies:
        hyperparameters += f" num_training_samples={findings.tallies['train'].images}"
    return "\n".join(
        [
            *remarks,
            f"classes ({output / CLASSES_FILE}): {numbered}",
            f"hyperparameters: {hyperparameters}",
        ]
    )
