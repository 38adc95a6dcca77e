"""Labelled images of another layout, made into channels for training."""

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from sagemaker_object_detection.data.class_names import CLASSES_FILE, read_classes
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.foreign import recognized
from sagemaker_object_detection.platform.progress import Progress
from sagemaker_object_detection.tools.folders import make_folder
from sagemaker_object_detection.tools.formats import READERS, WRITERS, manifest
from sagemaker_object_detection.tools.formats.data_set import DataSet, Images, Step
from sagemaker_object_detection.tools.formats.record import LabelledImage, Split

_CHANNEL = re.compile(r"[A-Za-z0-9._-]{1,64}")


def convert(
    source: Path,
    output: Path,
    splits: Sequence[tuple[str, str]],
    *,
    reader: str = "voc",
    writer: str = "recordio",
    class_names: Sequence[str] | None = None,
    attribute_names: tuple[str, ...] = (),
) -> DataSet:
    """Read splits of `source` and write them as channels into the folder `output`.

    `splits` are pairs (split, channel); several splits may go into one channel. The class names go
    to ``classes.txt``, one a line, class id 0 first. `attribute_names` are those of a manifest's
    image and annotation, in case its lines have several. The images are read twice, to check and to
    write them, one at a time. Everything is written aside and moved into place at the end, so that
    `output` never holds half a channel. The same input gives the same bytes. Raises ClientError
    for faults of the data, for a split without images, for data without any class, for a channel
    that is there already and for class names that differ from those of the ``classes.txt`` that is
    there.
    """
    for channel in {channel for _, channel in splits}:
        _check_channel(output, channel)
    read = READERS[reader]
    if attribute_names:
        read = partial(manifest.read, attribute_names=attribute_names)
    found: dict[str, list[Split]] = {}
    for split, channel in splits:
        try:
            part = read(source, split)
            if not len(part):
                raise ClientError(
                    f"{source}: the split '{split}' has no annotated images. Add some, or leave "
                    "the split out."
                )
        except ClientError as error:
            foreign = recognized(source, reader)
            if foreign is None:
                raise
            raise ClientError(*dict.fromkeys((foreign, *error.faults))) from None
        found.setdefault(channel, []).append(part)
    channels = {channel: Images(parts) for channel, parts in found.items()}
    total = sum(len(images) for images in channels.values())
    with Progress("Images checked", total) as progress:
        data = DataSet.build(channels, class_names, partial(progress.advance, 1))
    if not data.class_names:
        raise ClientError(
            f"{source}: no image has an object, and no class is named. Give --classes with the "
            "names of the classes."
        )
    _check_classes(output, data)
    make_folder(output)
    with tempfile.TemporaryDirectory(dir=output, prefix=".converting-") as name:
        aside = Path(name)
        with Progress("Images written", total) as progress:
            step = partial(progress.advance, 1)
            for channel, images in channels.items():
                WRITERS[writer](aside, channel, data, _counted(images, step))
        (aside / CLASSES_FILE).write_text(data.table.text(), encoding="utf-8", newline="\n")
        for path in sorted(aside.iterdir()):
            path.replace(output / path.name)
    return data


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


def _check_classes(output: Path, data: DataSet) -> None:
    """Channels that are used together must number their classes alike."""
    path = output / CLASSES_FILE
    if path.is_dir():
        raise ClientError(f"{path} is a folder. Remove it, or choose another output folder.")
    if path.exists() and (there := read_classes(path)) != data.class_names:
        raise ClientError(
            f"{path} lists the classes {', '.join(there)}, this conversion has "
            f"{', '.join(data.class_names)}. Give --classes with all of them, or another output "
            "folder."
        )


def _counted(images: Iterable[LabelledImage], step: Step) -> Iterator[LabelledImage]:
    for image in images:
        yield image
        step()


def summary(data: DataSet, output: Path) -> str:
    """What was written, for a reader, with the hyperparameters that follow from it."""
    width = max(len(name) for name in (*data.channels, "channel"))
    lines = [f"{'channel':{width}}  images  boxes  of these"]
    for channel, survey in data.surveys.items():
        counts = data.boxes_per_class(channel)
        shown = ", ".join(f"{name} {counts[name]}" for name in data.class_names)
        lines.append(f"{channel:{width}}  {survey.images:6d}  {counts.total():5d}  {shown}")
    empty = sum(survey.empty for survey in data.surveys.values())
    if empty:
        lines.append(f"{empty} images have no objects; training takes them as background.")
    flat = sum(survey.flat for survey in data.surveys.values())
    if flat:
        lines.append(f"{flat} boxes have no area; they were kept, training drops them.")
    difficult = sum(survey.difficult for survey in data.surveys.values())
    if difficult:
        lines.append(f"{difficult} boxes are marked as difficult; only recordio keeps the mark.")
    splits = (split for images in data.channels.values() for split in images.splits)
    lines += [sentence for split in splits for sentence in split.left_out]
    numbered = ", ".join(f"{number} {name}" for number, name in enumerate(data.class_names))
    lines.append(f"classes ({output / CLASSES_FILE}): {numbered}")
    lines.append("hyperparameters: " + _hyperparameters(data))
    return "\n".join(lines)


def _hyperparameters(data: DataSet) -> str:
    text = f"num_classes={len(data.class_names)}"
    train = data.surveys.get("train")
    return text + (f" num_training_samples={train.images}" if train is not None else "")
