"""`object-detection validate`: pass channels through the gate and show what it sees.

Nothing is trained and MXNet is not needed. What is printed, refused and written is what a training
job would say of the same channels.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from sagemaker_object_detection.data.class_names import CLASSES_FILE, class_names, read_classes
from sagemaker_object_detection.data.coco import CocoSource
from sagemaker_object_detection.data.dataset import Source
from sagemaker_object_detection.data.gate import survey
from sagemaker_object_detection.data.report import Checked, make_report
from sagemaker_object_detection.data.report_html import as_json, render
from sagemaker_object_detection.data.sources import open_source
from sagemaker_object_detection.data.tally import Limits, Tally
from sagemaker_object_detection.model.artifact import write_text_whole
from sagemaker_object_detection.model.specs import BASE_NETWORKS, MINIMUM_IMAGE_SHAPE, get_spec
from sagemaker_object_detection.platform import files
from sagemaker_object_detection.platform.channels import Channel
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.forms import with_forms
from sagemaker_object_detection.platform.hyperparameters import Hyperparameters
from sagemaker_object_detection.platform.threads import physical_cores
from sagemaker_object_detection.tools.folders import make_folder
from sagemaker_object_detection.tools.report_text import printable, report_text

_NOTES = "_annotation"
_MOST_CLASSES = 10_000
_DEFAULTS = Hyperparameters(num_classes=1, num_training_samples=1)


@dataclass(frozen=True)
class Findings:
    """What was found.

    Attributes:
        report: the content of data_report.json.
        num_classes: as given, or as the data has it.
        counted_by: where num_classes comes from, for a reader.
        refused: why the channels cannot be trained on; empty when they can.
    """

    report: dict[str, Any]
    num_classes: int
    counted_by: str
    refused: tuple[str, ...]


def validate(
    folders: Mapping[str, Path],
    num_classes: int | None = None,
    base_network: str = _DEFAULTS.base_network,
    image_shape: int = _DEFAULTS.image_shape,
    limits: Limits | None = None,
) -> Findings:
    """Look through channels, all their records, whatever is wrong with some.

    Args:
        folders: channel -> its folder; the folder of its annotations lies beside it.
        num_classes: as the job will have it; None to take it from the data.

    Raises:
        ClientError: the files of a channel are of no form, or cannot be opened as a source.
    """
    names = list(folders)
    channels = with_forms(_channels(folders), names)
    sources: dict[str, Source] = {}
    refused: list[str] = []
    for name in names:
        try:
            sources[name] = _open(channels, name, num_classes)
        except ClientError as error:
            refused.extend(error.faults)
    if refused:
        raise ClientError(*refused)
    counted, counted_by = _count_classes(channels, sources, num_classes)
    tallies = {
        name: survey(name, source, counted or _MOST_CLASSES, physical_cores(), limits)
        for name, source in sources.items()
    }
    if counted is None:
        counted = 1 + max(int(tally.class_ids.max(initial=0)) for tally in tallies.values())
        for tally in tallies.values():
            tally.num_classes = counted
    refused = [fault for tally in tallies.values() for fault in _faults(tally)]
    checked = [Checked(tallies[name], source.name) for name, source in sources.items()]
    labels = _class_names(channels, sources, counted)
    report = make_report(checked, labels, get_spec(base_network, image_shape), refused)
    return Findings(report, counted, counted_by, tuple(refused))


def _channels(folders: Mapping[str, Path]) -> dict[str, Channel]:
    channels = {}
    for name, path in folders.items():
        channels[name] = Channel(name, path)
        notes = path.with_name(path.name + _NOTES)
        if notes.is_dir():
            channels[name + _NOTES] = Channel(name + _NOTES, notes)
    return channels


def _open(channels: Mapping[str, Channel], name: str, num_classes: int | None) -> Source:
    channel = channels[name]
    if num_classes is None and channel.form == "coco":  # its categories tell how many there are
        listed = files.coco_file(channels.get(name + _NOTES, channel).path)
        if listed is not None:
            return CocoSource(channel.path, listed)
    return open_source(channels, name, num_classes or _MOST_CLASSES)


def _count_classes(
    channels: Mapping[str, Channel], sources: Mapping[str, Source], given: int | None
) -> tuple[int | None, str]:
    """How many classes there are, None where only the records tell, and what says so."""
    if given is not None:
        return given, "as given"
    for name, source in sources.items():
        if isinstance(source, CocoSource):
            return len(source.category_names), f"the COCO categories of {name}"
    inside = [channel.path for channel in channels.values()]
    for folder in (*inside, *(path.parent for path in inside)):
        file = folder / CLASSES_FILE
        if file.is_file():
            return max(1, len(read_classes(file))), str(file)
    return None, "the largest class_id"


def _faults(tally: Tally) -> Sequence[str]:
    try:
        tally.refuse()
    except ClientError as error:
        return error.faults
    return ()


def _class_names(
    channels: Mapping[str, Channel], sources: Mapping[str, Source], num_classes: int
) -> tuple[str, ...]:
    found: dict[int, set[str]] = {}
    for source in sources.values():
        for class_id, names in source.class_names.items():
            found.setdefault(class_id, set()).update(names)
    listed = {n: s.category_names for n, s in sources.items() if isinstance(s, CocoSource)}
    folders = [channel.path for channel in channels.values()]
    return class_names((), listed, folders, found, num_classes)


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


@contextmanager
def _logged() -> Iterator[None]:
    """Show on stderr what the gate logs: which forms it found, and how far it is."""
    root = logging.getLogger()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Printable())
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


def _named_folders(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, Path]:
    """Take `folder` or `name=folder` apart; a channel's annotations are no channel."""
    folders: dict[str, Path] = {}
    for value in values:
        name, equals, folder = value.partition("=")
        path = Path(folder if equals and not Path(value).exists() else value)
        if not path.is_dir():
            raise click.BadParameter(f"{path} is not a folder", ctx, param)
        if path.name in ("", ".."):
            path = path.resolve()
        label = name if equals and str(path) == folder else path.name
        if not label or label in folders:
            raise click.BadParameter(
                f"{value!r}: the name '{label}' is taken or empty; write name=folder", ctx, param
            )
        folders[label] = path
    return {
        name: path
        for name, path in folders.items()
        if not (name.endswith(_NOTES) and name.removesuffix(_NOTES) in folders)
    }


@click.command("validate", short_help="Check CHANNELS as training would.")
@click.argument("channels", nargs=-1, required=True, callback=_named_folders)
@click.option(
    "--num-classes",
    type=click.IntRange(1),
    help="Number of classes. By default COCO categories, a classes.txt or the largest class_id "
    "tell it.",
)
@click.option(
    "--base-network",
    type=click.Choice(BASE_NETWORKS),
    default=_DEFAULTS.base_network,
    show_default=True,
    help="Whose anchors the boxes are held against.",
)
@click.option(
    "--image-shape",
    type=click.IntRange(MINIMUM_IMAGE_SHAPE),
    default=_DEFAULTS.image_shape,
    show_default=True,
    help="Side of the network's input.",
)
@click.option(
    "--max-dropped-images",
    type=click.FloatRange(0, 1),
    default=_DEFAULTS.max_dropped_images,
    show_default=True,
    help="Share of a channel's images that may be unusable.",
)
@click.option(
    "--max-dropped-boxes",
    type=click.FloatRange(0, 1),
    default=_DEFAULTS.max_dropped_boxes,
    show_default=True,
    help="Share of a channel's boxes that may be unusable.",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report to this file too, as data_report.json of a training job.",
)
@click.option(
    "--html",
    "html_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the report to this file too, as a page to look at.",
)
def command(
    channels: dict[str, Path],
    num_classes: int | None,
    base_network: str,
    image_shape: int,
    max_dropped_images: float,
    max_dropped_boxes: float,
    json_file: Path | None,
    html_file: Path | None,
) -> None:
    """Check CHANNELS as training would, and say what is in them and what is wrong.

    A channel is a folder, or name=folder. The folder of its annotations, <folder>_annotation, is
    found beside it. Several channels are compared with each other: a picture that is in two of
    them is reported. The exit code is 2 when training would refuse the data.

    \b
    object-detection validate data/train data/validation --html report.html
    """
    limits = Limits(max_dropped_images, max_dropped_boxes)
    for file in (json_file, html_file):
        if file is not None:  # before the work, so that a wrong path is told at once
            make_folder(file.parent)
    with _logged():
        found = validate(channels, num_classes, base_network, image_shape, limits)
    click.echo(report_text(found.report))
    click.echo(printable(f"num_classes is {found.num_classes} ({found.counted_by})."))
    for file, text in ((json_file, as_json), (html_file, render)):
        if file is not None:
            write_text_whole(file, text(found.report))
            click.echo(printable(f"Written: {file}"))
    if found.refused:
        raise ClientError(*found.refused)
    click.echo("These channels can be trained on.")
