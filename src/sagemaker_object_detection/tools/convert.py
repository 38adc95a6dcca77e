"""`object-detection convert`: labelled images of another layout into channels for training."""

from pathlib import Path

import click

from sagemaker_object_detection.data.sources.splits import SPLITS
from sagemaker_object_detection.data.tally import Limits
from sagemaker_object_detection.platform.channels import SPLIT_CHANNELS
from sagemaker_object_detection.tools.channel_writers import WRITERS
from sagemaker_object_detection.tools.conversion import convert, summary
from sagemaker_object_detection.tools.findings import Settings, ValidationShare, report_text
from sagemaker_object_detection.tools.options import (
    attribute_names_option,
    class_list,
    limit_options,
    share_options,
)
from sagemaker_object_detection.tools.output import logged, printable


def _split_list(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """Take ``NAME`` or ``NAME=CHANNEL`` apart; `val` alone becomes the channel `validation`."""
    pairs: list[tuple[str, str]] = []
    for value in values:
        split, equals, channel = value.partition("=")
        if not split or (equals and not channel):
            raise click.BadParameter(f"{value!r} is not NAME or NAME=CHANNEL", ctx, param)
        channel = channel or SPLIT_CHANNELS.get(split, split)
        if (split, channel) in pairs:
            raise click.BadParameter(f"{value!r} is given twice", ctx, param)
        pairs.append((split, channel))
    return tuple(pairs)


@click.command("convert")
@click.option(
    "--from",
    "reader",
    type=click.Choice(sorted(SPLITS)),
    required=True,
    is_eager=True,
    help="The format of SOURCE.",
)
@click.option(
    "--to",
    "writer",
    type=click.Choice(sorted(WRITERS)),
    default="recordio",
    show_default=True,
    help="The form of the channels in OUTPUT.",
)
@click.option(
    "--split",
    "splits",
    callback=_split_list,
    metavar="NAME[=CHANNEL]",
    multiple=True,
    required=True,
    help="A split of SOURCE and the channel it becomes. Without =CHANNEL that is the name of the "
    "split, and validation for val, valid and dev.",
)
@click.option(
    "--classes",
    "class_names",
    callback=class_list,
    metavar="A,B,C",
    help="Class names, class id 0 first; a JSON list where a name has a comma. By default as the "
    "data numbers them, or sorted.",
)
@attribute_names_option
@share_options
@limit_options
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
def command(
    reader: str,
    writer: str,
    splits: tuple[tuple[str, str], ...],
    class_names: tuple[str, ...] | None,
    attribute_names: tuple[str, ...],
    validation: ValidationShare | None,
    max_dropped_images: float,
    max_dropped_boxes: float,
    source: Path,
    output: Path,
) -> None:
    """Turn the labelled images in SOURCE into channels in OUTPUT.

    The data is checked as training would; what training would drop is named and left out. Images
    are copied byte for byte. OUTPUT can serve as /opt/ml/input/data. SOURCE may be a data.yaml.

    \b
    Where a split called train is looked for; data that is not split is one split:
      voc             ImageSets/Main/train.txt with Annotations and JPEGImages; or train
      coco            annotations/instances_train2017.json with train2017, train.json with
                      images/train, train/_annotations.coco.json, and the like
      yolo            as data.yaml says, images/train with labels/train, or train.txt
      manifest        train.manifest, train.jsonl
      sagemaker-json  train with train_annotation
      recordio        train.rec, or the .rec files in train; names in classes.txt

    \b
    object-detection convert --from voc --to recordio \\
        --split train --split val VOCdevkit/VOC2012 build/voc
    """
    if attribute_names and reader != "manifest":
        raise click.BadParameter("only manifests have attributes", param_hint="--attribute-names")
    with logged():
        findings, remarks = convert(
            source,
            output,
            splits,
            reader=reader,
            writer=writer,
            settings=Settings(
                class_names=class_names or (),
                limits=Limits(max_dropped_images, max_dropped_boxes),
                turn_boxes=True,
            ),
            attribute_names=attribute_names,
            validation=validation,
        )
    click.echo(report_text(findings.report))
    click.echo(printable(summary(findings, remarks, output)))
