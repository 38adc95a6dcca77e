"""`object-detection convert`: labelled images of another layout into channels for training."""

from pathlib import Path

import click

from sagemaker_object_detection.platform.channels import SPLIT_CHANNELS
from sagemaker_object_detection.tools.class_list import class_list
from sagemaker_object_detection.tools.conversion import convert, summary
from sagemaker_object_detection.tools.formats import READERS, WRITERS
from sagemaker_object_detection.tools.report_text import printable


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


def _attribute_names(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[str, ...]:
    if value is None:
        return ()
    if ctx.params.get("reader", "manifest") != "manifest":
        raise click.BadParameter("only manifests have attributes", ctx, param)
    names = tuple(name.strip() for name in value.split(","))
    if len(names) != 2 or not all(names):
        raise click.BadParameter(f"{value!r} is not two names with a comma", ctx, param)
    return names


@click.command("convert")
@click.option(
    "--from",
    "reader",
    type=click.Choice(sorted(READERS)),
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
@click.option(
    "--attribute-names",
    callback=_attribute_names,
    metavar="IMAGE,ANNOTATION",
    help="Of a manifest with several annotations, e.g. source-ref,bounding-box.",
)
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
def command(
    reader: str,
    writer: str,
    splits: tuple[tuple[str, str], ...],
    class_names: tuple[str, ...] | None,
    attribute_names: tuple[str, ...],
    source: Path,
    output: Path,
) -> None:
    """Turn the labelled images in SOURCE into channels in OUTPUT.

    Images are copied byte for byte, and labels are neither dropped nor mended: that is left to
    training. OUTPUT can serve as /opt/ml/input/data.

    \b
    Where a split called train is looked for:
      voc             ImageSets/Main/train.txt, Annotations, JPEGImages
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
    data = convert(
        source,
        output,
        splits,
        reader=reader,
        writer=writer,
        class_names=class_names,
        attribute_names=attribute_names,
    )
    click.echo(printable(summary(data, output)))
