"""`object-detection validate`: pass channels through the gate and show what it sees.

Nothing is trained and MXNet is not needed. What is printed, refused and written is what a training
job would say of the same channels.
"""

from __future__ import annotations

from pathlib import Path

import click

from sagemaker_object_detection.data.report_html import as_json, render
from sagemaker_object_detection.data.tally import Limits
from sagemaker_object_detection.model.specs import BASE_NETWORKS, MINIMUM_IMAGE_SHAPE
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.findings import (
    DEFAULTS,
    Settings,
    ValidationShare,
    report_text,
    validate,
)
from sagemaker_object_detection.tools.options import (
    attribute_names_option,
    class_list,
    limit_options,
    named_folders,
    share_options,
)
from sagemaker_object_detection.tools.output import logged, prepare_file, printable, write_file


@click.command("validate", short_help="Check CHANNELS as training would.")
@click.argument("channels", nargs=-1, required=True, callback=named_folders)
@click.option(
    "--num-classes",
    type=click.IntRange(1),
    help="Number of classes. By default COCO categories, a classes.txt or the largest class_id "
    "tell it.",
)
@click.option(
    "--base-network",
    type=click.Choice(BASE_NETWORKS),
    default=DEFAULTS.base_network,
    show_default=True,
    help="Whose anchors the boxes are held against.",
)
@click.option(
    "--image-shape",
    type=click.IntRange(MINIMUM_IMAGE_SHAPE),
    default=DEFAULTS.image_shape,
    show_default=True,
    help="Side of the network's input.",
)
@click.option(
    "--classes",
    "class_names",
    callback=class_list,
    metavar="A,B,C",
    help="Class names, class id 0 first.",
)
@attribute_names_option
@share_options
@limit_options
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
    class_names: tuple[str, ...] | None,
    attribute_names: tuple[str, ...],
    validation: ValidationShare | None,
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
    settings = Settings(num_classes, class_names or (), base_network, image_shape, limits)
    for file in (json_file, html_file):
        prepare_file(file)
    with logged():
        found = validate(channels, settings, attribute_names, validation)
    click.echo(report_text(found.report))
    click.echo(printable(f"num_classes is {len(found.class_names)} ({found.counted_by})."))
    for file, text in ((json_file, as_json), (html_file, render)):
        if file is not None:
            write_file(file, text(found.report))
    if found.refused:
        raise ClientError(*found.refused)
    click.echo("These channels can be trained on.")
