"""`object-detection predict`: annotated pictures, and the JSON of what is in them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.paths import Paths
from sagemaker_object_detection.tools.annotating import Tally, annotate
from sagemaker_object_detection.tools.class_list import class_list
from sagemaker_object_detection.tools.endpoint_client import EndpointClient
from sagemaker_object_detection.tools.endpoint_detector import EndpointDetector
from sagemaker_object_detection.tools.folders import make_writable
from sagemaker_object_detection.tools.model_detector import loaded_detector
from sagemaker_object_detection.tools.pictures import Pictures
from sagemaker_object_detection.tools.pixel_budget import PixelBudget
from sagemaker_object_detection.tools.predictions import Choice, Detector, PictureFailed
from sagemaker_object_detection.tools.report_text import printable
from sagemaker_object_detection.tools.share import Share
from sagemaker_object_detection.tools.shown_log import logged

log = logging.getLogger(__name__)

_SHOWN_CLASSES = 20
_PATH = click.Path(path_type=Path)


@click.command("predict", short_help="Detect objects in pictures, draw and write them.")
@click.argument("paths", metavar="IMAGE|FOLDER...", nargs=-1, required=True, type=_PATH)
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the annotated pictures and their JSON go: a new or an empty folder.",
)
@click.option(
    "--model",
    type=_PATH,
    help="The folder or the model.tar.gz of a training job. By default the folder an endpoint "
    "serves: /opt/ml/model, or model in SAGEMAKER_BASE_DIR.",
)
@click.option("--url", help="Ask the endpoint at this address instead, as http://host:8080.")
@click.option(
    "--threshold",
    type=Share(),
    default=0.2,
    show_default=True,
    help="Scores must be above it.",
)
@click.option(
    "--classes",
    "class_names",
    callback=class_list,
    metavar="A,B,C",
    help="Names of the classes that count; a JSON list where a name has a comma. By default all.",
)
@click.option(
    "--top-k", type=click.IntRange(1), help="At most so many detections of a picture, the best."
)
@click.option("--overwrite", is_flag=True, help="Write over files of the same names in --out.")
def command(
    paths: tuple[Path, ...],
    out: Path,
    model: Path | None,
    url: str | None,
    threshold: float,
    class_names: tuple[str, ...] | None,
    top_k: int | None,
    overwrite: bool,
) -> None:
    """Detect objects in pictures: each IMAGE, and those in each FOLDER and the folders below.

    For a picture a.jpg, --out gets a.jpg with boxes, names and scores drawn on it, and a.jpg.json:

    \b
    {"file": "photos/a.jpg", "predictions": [{"class_id": 3, "class_name": "car",
     "score": 0.97, "bbox": [x_min, y_min, x_max, y_max]}]}

    bbox is in pixels of the picture, the best prediction comes first. A picture that cannot be
    used is reported, and the others are done; the exit code is then 2.

    \b
    object-detection predict photos --out seen --model model.tar.gz
    object-detection predict a.jpg b.png --out seen --url http://localhost:8080
    """
    if url is not None and model is not None:
        raise click.UsageError("--model and --url exclude each other. Give one of them.")
    choice = Choice(threshold, class_names or (), top_k)
    with logged():
        pictures = Pictures(paths, out)
        _check_out(out, overwrite)
        pixels = PixelBudget()
        with _detector(model, url, choice, pixels) as detector:
            make_writable(out)
            tally = annotate(pictures, detector, choice, pixels, out, overwrite)
        if url is not None:
            _warn_of_names(choice, tally)
    click.echo(printable(_summary(tally, out)))
    _raise_for(tally, len(pictures))


@contextmanager
def _detector(
    model: Path | None, url: str | None, choice: Choice, pixels: PixelBudget
) -> Iterator[Detector]:
    if url is not None:
        with closing(EndpointClient(url)) as client:
            client.wait_ready()
            yield EndpointDetector(client, choice.threshold)
        return
    folder = model or Paths.from_environment(os.environ).model_dir
    if not folder.exists():
        raise ClientError(
            f"There is no model at {folder}. Give the folder or the model.tar.gz of a training "
            "job as --model, or the address of an endpoint as --url."
        )
    with loaded_detector(folder, choice.class_names, pixels) as detector:
        yield detector


def _check_out(out: Path, overwrite: bool) -> None:
    if not overwrite and out.is_dir() and any(out.iterdir()):
        raise ClientError(
            f"{out} is not empty. Give a new folder as --out, or --overwrite to write over files "
            "of the same names and leave the others."
        )


def _warn_of_names(choice: Choice, tally: Tally) -> None:
    """An endpoint does not say which classes it knows: a misspelt one is only never seen."""
    unseen = [name for name in choice.class_names if name not in tally.answered]
    if unseen:
        log.warning(
            "No detection at all was of the class %s; there were: %s. See that the name is right.",
            ", ".join(map(repr, unseen)),
            ", ".join(sorted(tally.answered)[:_SHOWN_CLASSES]) or "none",
        )


def _summary(tally: Tally, out: Path) -> str:
    counts = [f"{name} {count}" for name, count in tally.found.most_common(_SHOWN_CLASSES)]
    if len(tally.found) > _SHOWN_CLASSES:
        counts.append(f"{len(tally.found) - _SHOWN_CLASSES} more classes")
    found = f"{tally.found.total()} detections" + (f" ({', '.join(counts)})" if counts else "")
    pictures = "1 picture" if tally.done == 1 else f"{tally.done} pictures"
    return f"Annotated {pictures} in {out}: {found}."


def _raise_for(tally: Tally, total: int) -> None:
    """The end of a run that could not do all pictures; each was told when it came."""
    if tally.failed:
        raise PictureFailed(
            f"{tally.failed + tally.unusable} of {total} pictures could not be done, "
            f"{tally.failed} of them because the endpoint failed; they are named above. See the "
            "log of the endpoint, and try them again."
        )
    if tally.unusable:
        raise ClientError(
            f"{tally.unusable} of {total} pictures could not be used; they are named above. Mend "
            "them or leave them out."
        )
