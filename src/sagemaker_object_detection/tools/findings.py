"""What the data checks find in sources, outside of any job."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sagemaker_object_detection.data.class_names import (
    CLASSES_FILE,
    AnnotatedNames,
    class_names,
    read_classes,
)
from sagemaker_object_detection.data.dataset import Source
from sagemaker_object_detection.data.gate import survey
from sagemaker_object_detection.data.reasons import REASONS
from sagemaker_object_detection.data.report import Checked, make_report
from sagemaker_object_detection.data.sources import categories, open_sources
from sagemaker_object_detection.data.sources.parts import split_off
from sagemaker_object_detection.data.tally import Limits, Tally, refusals
from sagemaker_object_detection.model.specs import get_spec
from sagemaker_object_detection.platform.channels import Channel
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.forms import with_forms
from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.platform.threads import physical_cores
from sagemaker_object_detection.tools.output import printable

DEFAULTS = Hyperparameters(num_classes=1, num_training_samples=1)
"""What a training job takes where nothing is given."""

NOTES = "_annotation"
"""The ending of the folder that annotates a channel's."""


_MOST_CLASSES = 10_000


@dataclass(frozen=True)
class Findings:
    """What was found.

    Attributes:
        report: the content of data_report.json.
        tallies: what the records of each channel add up to.
        class_names: class id 0 first.
        counted_by: what tells how many classes there are, for a reader.
        refused: why the channels cannot be trained on; empty when they can.
    """

    report: dict[str, Any]
    tallies: Mapping[str, Tally]
    class_names: tuple[str, ...]
    counted_by: str
    refused: tuple[str, ...]


@dataclass(frozen=True)
class Settings:
    """What a job would say: its classes, its network, and what share may be unusable."""

    num_classes: int | None = None
    class_names: tuple[str, ...] = ()
    base_network: str = DEFAULTS.base_network
    image_shape: int = DEFAULTS.image_shape
    limits: Limits | None = None
    turn_boxes: bool = False


@dataclass(frozen=True)
class ValidationShare:
    """How much of train, in 0..1, becomes validation, and the seed of the choice."""

    share: float
    seed: int = 0


def with_validation(
    sources: Mapping[str, Source], validation: ValidationShare
) -> dict[str, Source]:
    """The sources, with a part of train as validation.

    Raises ClientError where there is no train, or a validation already.
    """
    if "train" not in sources or "validation" in sources:
        raise ClientError(
            "--validation-share splits the channel train, and there is "
            + ("none." if "train" not in sources else "a channel validation already.")
            + " Leave it out, or name the channels otherwise."
        )
    train, rest = split_off(sources["train"], validation.share, validation.seed)
    return {**sources, "train": train, "validation": rest}


def validate(
    folders: Mapping[str, Path],
    settings: Settings | None = None,
    attribute_names: tuple[str, ...] = (),
    validation: ValidationShare | None = None,
) -> Findings:
    """Look through channels, all their records, whatever is wrong with some.

    Args:
        folders: channel -> its folder; the folder of its annotations lies beside it.
        attribute_names: of manifests whose lines have several annotations.
        validation: splits train.

    Raises:
        ClientError: the files of a channel are of no form, or cannot be opened as a source.
    """
    settings = settings or Settings()
    channels = with_forms(channels_of(folders, attribute_names), list(folders))
    given = settings.class_names
    sources = open_sources(channels, folders, settings.num_classes, given)
    if validation is not None:
        sources = with_validation(sources, validation)
    inside = [channel.path for channel in channels.values()]
    return examine(sources, [*inside, *(path.parent for path in inside)], settings)


def examine(sources: Mapping[str, Source], folders: Sequence[Path], settings: Settings) -> Findings:
    """Look through sources, whose classes are numbered alike.

    Args:
        folders: where a classes.txt may lie.

    Raises:
        ClientError: the classes cannot be named.
    """
    counted, counted_by = _count_classes(sources, folders, settings)
    tallies = {
        name: survey(
            name,
            source,
            counted or _MOST_CLASSES,
            physical_cores(),
            settings.limits,
            settings.turn_boxes,
        )
        for name, source in sources.items()
    }
    if counted is None:
        counted = 1 + max(int(tally.class_ids.max(initial=0)) for tally in tallies.values())
        for tally in tallies.values():
            tally.num_classes = counted
    refused = refusals(tallies.values())
    checked = [Checked(tallies[name], source.name) for name, source in sources.items()]
    try:
        names = class_names(
            settings.class_names,
            categories(sources),
            folders,
            AnnotatedNames.merged(source.found_names for source in sources.values()),
            counted,
        )
    except ClientError as error:
        raise ClientError(*refused, *error.faults) from None
    spec = get_spec(settings.base_network, settings.image_shape)
    report = make_report(checked, names, spec, refused)
    return Findings(report, tallies, names, counted_by, tuple(refused))


def _count_classes(
    sources: Mapping[str, Source], folders: Sequence[Path], settings: Settings
) -> tuple[int | None, str]:
    """How many classes there are, None where only the records tell, and what says so."""
    if settings.num_classes is not None:
        return settings.num_classes, "as given"
    if settings.class_names:
        return len(settings.class_names), "as given"
    for name, source in sources.items():
        if source.listed_names:
            return len(source.listed_names), f"the classes of {name}"
    file = next((path for f in folders if (path := f / CLASSES_FILE).is_file()), None)
    if file is not None:
        return max(1, len(read_classes(file))), str(file)
    return None, "the largest class_id"


def channels_of(
    folders: Mapping[str, Path], attribute_names: tuple[str, ...] = ()
) -> dict[str, Channel]:
    """A channel for each folder, and one for the folder of its annotations where it lies beside."""
    channels = {}
    for name, path in folders.items():
        channels[name] = Channel(name, path, attribute_names=attribute_names)
        notes = path.with_name(path.name + NOTES)
        if notes.is_dir():
            channels[name + NOTES] = Channel(name + NOTES, notes)
    return channels


_SHOWN_CLASSES = 30
_SHOWN_SIZES = 5
_SHOWN_NAMES = 5
_BAR = 24


def report_text(report: Mapping[str, Any]) -> str:
    """The content of data_report.json as lines to read."""
    lines: list[str] = []
    for name, channel in report["channels"].items():
        lines += [name, *(f"  {line}" for line in _channel(channel)), ""]
    for leak in report["leaked_images"]:
        lines += [*_leak(leak, report), ""]
    return printable("\n".join(lines))


def _channel(channel: Mapping[str, Any]) -> Iterator[str]:
    images, boxes = channel["images"], channel["boxes"]
    yield f"images         {images:,}, {channel['images_without_boxes']:,} of them without boxes"
    yield f"boxes          {boxes:,}, at most {(channel['label_width'] - 2) // 5} an image"
    yield from _classes(channel["boxes_per_class"], boxes)
    sizes = [f"{s['width']} x {s['height']} ({s['images']:,})" for s in channel["image_sizes"]]
    more = ", ..." if len(sizes) > _SHOWN_SIZES else ""
    yield f"image sizes    {', '.join(sizes[:_SHOWN_SIZES]) or '-'}{more}"
    yield from _box_sizes(channel)
    if channel["duplicates"]["images"]:
        pair = " = ".join(channel["duplicates"]["examples"][0][:2])
        yield f"copies         {channel['duplicates']['images']:,} images, as {pair}"
    if channel["boxes_clipped"]:
        yield f"clipped        {channel['boxes_clipped']:,} boxes hung over the picture's edge"
    yield from _reasons(channel, "dropped")
    yield from _reasons(channel, "noted")


def _classes(counts: Mapping[str, int], boxes: int) -> Iterator[str]:
    shown = list(counts.items())[:_SHOWN_CLASSES]
    width = max((len(label) for label, _ in shown), default=0)
    digits = max((len(f"{count:,}") for _, count in shown), default=0)
    most = max((count for _, count in shown), default=0) or 1
    for label, count in shown:
        bar = "#" * -(-_BAR * count // most)
        share = f"{count / boxes:6.1%}" if boxes else ""
        yield f"  {label:{width}}  {count:{digits},}  {share}  {bar}".rstrip()
    if len(counts) > len(shown):
        yield f"  and {len(counts) - len(shown)} more classes"


def _box_sizes(channel: Mapping[str, Any]) -> Iterator[str]:
    anchors, sizes = channel["anchors"], channel["box_sizes"]
    if not sizes["size"]:
        return
    side = anchors["image_shape"]
    named = dict(zip(sizes["quantiles"], sizes["size"], strict=True))
    low, middle, high = (side * named[mark] for mark in (0.0, 0.5, 1.0))
    yield (
        f"box sizes      {low:.0f} to {high:.0f} px of {side}, the median is {middle:.0f} "
        "(square root of the area)"
    )
    yield (
        f"anchors        {anchors['unmatched_share']:.1%} of the boxes overlap none of "
        f"{anchors['base_network']} at {side} by more than {anchors['match_iou']}; such a box has "
        "its best anchor alone"
    )


def _reasons(channel: Mapping[str, Any], what: str) -> Iterator[str]:
    for name, count in channel[f"{what}_counts"].items():
        reason = REASONS[name]
        yield f"{reason.policy:13}  {count:,} {name}: {reason.text} {reason.cure}"
        rows = [row for row in channel[what] if row["reason"] == name][:_SHOWN_NAMES]
        for row in rows:
            yield f"  {row['record']}: {row['detail']}"
        if count > len(rows):
            yield f"  ... and {count - len(rows):,} more"


def _leak(leak: Mapping[str, Any], report: Mapping[str, Any]) -> Iterator[str]:
    first, second = leak["channels"]
    yield (
        f"LEAKAGE: {leak['images']:,} images of {second} are in {first} too, byte for byte; scores "
        "come out too high. Remove them from one of the two."
    )
    pairs = [pair for pair in report["leakage"] if set(pair) == {first, second}][:_SHOWN_NAMES]
    for pair in pairs:
        yield f"  {pair[second]} is {pair[first]}"
    if leak["images"] > len(pairs):
        yield f"  ... and {leak['images'] - len(pairs):,} more"
