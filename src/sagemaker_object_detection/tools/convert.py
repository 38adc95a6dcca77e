"""`object-detection convert`: labelled images of another layout into channels for training."""

import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click
from tqdm import tqdm

from sagemaker_object_detection.data.class_names import CLASSES_FILE
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.formats import READERS, WRITERS
from sagemaker_object_detection.tools.formats.record import (
    DataSet,
    LabelledImage,
    count_classes,
    count_degenerate,
)

_CHANNEL = re.compile(r"[A-Za-z0-9._-]{1,64}")


def convert(
    source: Path,
    output: Path,
    splits: Sequence[tuple[str, str]],
    *,
    reader: str = "voc",
    writer: str = "recordio",
    class_names: Sequence[str] | None = None,
) -> DataSet:
    """Read splits of `source` and write them as channels into the folder `output`.

    `splits` are pairs (split, channel); several splits may go into one channel. The class names go
    to ``classes.txt``, one a line, class id 0 first. Everything is written aside and moved into
    place at the end, so that `output` never holds half a channel. The same input gives the same
    bytes. Raises ClientError for faults of the data, for a channel that is there already and for
    class names that differ from those of the ``classes.txt`` that is there.
    """
    for channel in {channel for _, channel in splits}:
        _check_channel(output, channel)
    read = READERS[reader]
    channels: dict[str, list[LabelledImage]] = {}
    for split, channel in splits:
        channels.setdefault(channel, []).extend(read(source, split))
    data = DataSet.build(channels, class_names)
    _check_classes(output, data)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".converting-") as name:
        aside = Path(name)
        for channel, images in channels.items():
            WRITERS[writer](aside, channel, data, _with_progress(images, channel))
        (aside / CLASSES_FILE).write_text(data.classes_text(), encoding="utf-8", newline="\n")
        for path in sorted(aside.iterdir()):
            path.replace(output / path.name)
    return data


def _check_channel(output: Path, channel: str) -> None:
    if not _CHANNEL.fullmatch(channel) or channel in (".", "..", CLASSES_FILE):
        raise ClientError(
            f"'{channel}' cannot be the name of a channel. Use letters, digits, '.', '-' and '_'."
        )
    for path in (output / channel, output / f"{channel}_annotation"):
        if path.exists():
            raise ClientError(
                f"{path} is there already. Remove it, or choose another output folder."
            )


def _check_classes(output: Path, data: DataSet) -> None:
    """Channels that are used together must number their classes alike."""
    path = output / CLASSES_FILE
    if path.exists() and (there := path.read_text(encoding="utf-8")) != data.classes_text():
        raise ClientError(
            f"{path} lists the classes {', '.join(there.splitlines())}, this conversion has "
            f"{', '.join(data.class_names)}. Give --classes with all of them, or another output "
            "folder."
        )


def _with_progress(images: Sequence[LabelledImage], channel: str) -> Iterable[LabelledImage]:
    bar: Iterable[LabelledImage] = tqdm(
        images, desc=channel, unit="image", disable=not sys.stderr.isatty()
    )
    return bar


def summary(data: DataSet, output: Path) -> str:
    """What was written, for a reader, with the hyperparameters that follow from it."""
    width = max(len(name) for name in (*data.channels, "channel"))
    lines = [f"{'channel':{width}}  images  boxes  of these"]
    for channel, images in data.channels.items():
        counts = count_classes(images)
        shown = ", ".join(f"{name} {counts[name]}" for name in data.class_names)
        lines.append(f"{channel:{width}}  {len(images):6d}  {counts.total():5d}  {shown}")
    degenerate = sum(count_degenerate(images) for images in data.channels.values())
    if degenerate:
        lines.append(f"{degenerate} boxes have no area; they were kept, training drops them.")
    numbered = ", ".join(f"{number} {name}" for number, name in enumerate(data.class_names))
    lines.append(f"classes ({output / CLASSES_FILE}): {numbered}")
    lines.append("hyperparameters: " + _hyperparameters(data.class_names, data.channels))
    return "\n".join(lines)


def _hyperparameters(
    class_names: Sequence[str], channels: Mapping[str, Sequence[LabelledImage]]
) -> str:
    text = f"num_classes={len(class_names)}"
    return text + (f" num_training_samples={len(channels['train'])}" if "train" in channels else "")


def _split_list(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """Take ``NAME`` or ``NAME=CHANNEL`` apart."""
    pairs = []
    for value in values:
        split, equals, channel = value.partition("=")
        if not split or (equals and not channel):
            raise click.BadParameter(f"{value!r} is not NAME or NAME=CHANNEL", ctx, param)
        pairs.append((split, channel or split))
    return tuple(pairs)


def _class_list(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    names = None if value is None else tuple(name.strip() for name in value.split(","))
    if names is not None and not all(names):
        raise click.BadParameter(f"{value!r} has an empty name", ctx, param)
    return names


@click.command("convert")
@click.option("--from", "reader", type=click.Choice(sorted(READERS)), required=True)
@click.option(
    "--to", "writer", type=click.Choice(sorted(WRITERS)), default="recordio", show_default=True
)
@click.option(
    "--split",
    "splits",
    callback=_split_list,
    metavar="NAME[=CHANNEL]",
    multiple=True,
    required=True,
    help="A split of SOURCE and the channel it becomes, e.g. --split train --split val=validation.",
)
@click.option(
    "--classes",
    "class_names",
    callback=_class_list,
    metavar="A,B,C",
    help="Class names, class id 0 first. By default all names of the data, sorted.",
)
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
def command(
    reader: str,
    writer: str,
    splits: tuple[tuple[str, str], ...],
    class_names: tuple[str, ...] | None,
    source: Path,
    output: Path,
) -> None:
    """Turn the labelled images in SOURCE into channels in OUTPUT.

    Images are copied byte for byte. OUTPUT can serve as /opt/ml/input/data.

    \b
    object-detection convert --from voc --to recordio \\
        --split train --split val=validation VOCdevkit/VOC2012 build/voc
    """
    data = convert(source, output, splits, reader=reader, writer=writer, class_names=class_names)
    click.echo(summary(data, output))
