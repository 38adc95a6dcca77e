"""`object-detection predict`: annotated images, predictions.json, and a page that shows them."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from urllib.parse import quote

import click
import cv2
import msgspec
import numpy as np

from sagemaker_object_detection import __version__
from sagemaker_object_detection.colors import Color, color_of, css, text_color_on
from sagemaker_object_detection.data.listing import Listing
from sagemaker_object_detection.data.pages import render_page
from sagemaker_object_detection.data.recordio import RecordIOError
from sagemaker_object_detection.data.sources.record_files import RecordIOSource
from sagemaker_object_detection.images import Image, ImageError, decode
from sagemaker_object_detection.model.artifact import write_text_whole, write_whole
from sagemaker_object_detection.platform import files
from sagemaker_object_detection.platform.errors import ClientError, PlatformError
from sagemaker_object_detection.platform.paths import Paths
from sagemaker_object_detection.platform.progress import Progress
from sagemaker_object_detection.tools import detectors
from sagemaker_object_detection.tools.detectors import Prediction
from sagemaker_object_detection.tools.options import Share, class_list
from sagemaker_object_detection.tools.output import logged, make_writable, printable

log = logging.getLogger(__name__)

PREDICTIONS_FILE = "predictions.json"
GALLERY_FILE = "index.html"

_FONT = cv2.FONT_HERSHEY_DUPLEX
_GRACE = 2.0
_EXISTING = click.Path(exists=True, path_type=Path)

Item = tuple[str, Path, Callable[[], bytes]]
"""Name for messages and results, path of the copy relative to --out, and content."""
Choose = Callable[[Sequence[Prediction]], list[Prediction]]


class Result(msgspec.Struct):
    """An entry of PREDICTIONS_FILE. annotated: path of the copy, relative to --out."""

    file: str
    annotated: str
    predictions: list[Prediction]


@click.command("predict", short_help="Detect objects in images, draw and write them.")
@click.argument("paths", metavar="IMAGE|FOLDER...", nargs=-1, required=True, type=_EXISTING)
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the results, new or empty.",
)
@click.option(
    "--model",
    type=_EXISTING,
    help="The folder or the model.tar.gz of a training job. By default the folder that an endpoint "
    "serves: /opt/ml/model, or model in SAGEMAKER_BASE_DIR.",
)
@click.option("--url", help="Ask the endpoint at this address instead, as http://host:8080.")
@click.option(
    "--threshold",
    type=Share(),
    help="Scores must be greater. By default that of the best F1 of each class, as training found "
    "it, or as the endpoint has it.",
)
@click.option(
    "--classes",
    callback=class_list,
    metavar="A,B,C",
    help="Names of the classes that count; a JSON list where a name has a comma. By default all.",
)
@click.option("--top-k", type=click.IntRange(1), help="At most this many of an image, the best.")
@click.option("--overwrite", is_flag=True, help="Overwrite files of the same names in --out.")
def command(
    paths: tuple[Path, ...],
    out: Path,
    model: Path | None,
    url: str | None,
    threshold: float | None,
    classes: tuple[str, ...] | None,
    top_k: int | None,
    overwrite: bool,
) -> None:
    """Detect objects in images: each IMAGE, and all below each FOLDER.

    A FOLDER may be a channel of training in any format, RecordIO too. --out gets the images with
    boxes, names and scores drawn on them, a page that shows them, index.html, and predictions.json:

    \b
    [{"file": "photos/a.jpg", "annotated": "a.jpg", "predictions": [{"class_id": 3,
      "class_name": "car", "score": 0.97, "bbox": [x_min, y_min, x_max, y_max]}]}]

    bbox is in pixels. An image that cannot be used is named and skipped; the exit code is then 2.

    \b
    object-detection predict photos --out seen --model model.tar.gz
    object-detection predict a.jpg b.png --out seen --url http://localhost:8080
    """
    if url is not None and model is not None:
        raise click.UsageError("--model and --url exclude each other. Give one of them.")

    def choose(predictions: Sequence[Prediction]) -> list[Prediction]:
        kept = [one for one in predictions if classes is None or one.class_name in classes]
        return sorted(kept, key=lambda one: -one.score)[:top_k]

    with logged():
        images = find_images(paths, out)
        if not overwrite and out.is_dir() and any(out.iterdir()):
            raise ClientError(f"{out} is not empty. Give a new folder as --out, or --overwrite.")
        folder = model or Paths.from_environment(os.environ).model_dir
        if url is None and not folder.exists():
            raise ClientError(f"There is no model at {folder}. Give --model, or --url.")
        with (
            detectors.endpoint_detector(url, threshold)
            if url is not None
            else detectors.model_detector(folder, classes or (), threshold)
        ) as (detect, parallel):
            make_writable(out)
            results, faults = annotate(images, detect, choose, out, parallel)
    found = Counter(dict.fromkeys(classes or (), 0))
    found.update(one.class_name for result in results for one in result.predictions)
    counts = ", ".join(f"{name} {count}" for name, count in found.most_common()) or "no detections"
    click.echo(printable(f"Annotated {len(results)} images ({counts}): {out / GALLERY_FILE}"))
    if faults:
        failed = any(isinstance(one, PlatformError) for one in faults)
        raise (PlatformError if failed else ClientError)(
            f"{len(faults)} of {len(images)} images failed. The messages above name them."
        )


def find_images(paths: Sequence[Path], out: Path) -> list[Item]:
    """The images of files, folders and .rec files, without those in `out`.

    One folder alone is mirrored in `out`; of several paths each has its name there. A name that is
    taken gets a number. Raises ClientError for a path without images.
    """
    images: dict[Path, Item] = {}
    for path in paths:
        count = len(images)
        folder = Path(path.resolve().name) if path.is_dir() and len(paths) > 1 else Path()
        for name, inside, read in _images(path):
            if Path(name).absolute().is_relative_to(out.absolute()):
                continue
            written = inside.suffix.lower() in files.IMAGE_SUFFIXES
            place = folder / (inside if written else f"{inside}.png")
            while place in images:
                place = place.with_stem(f"{place.stem}-2")
            images[place] = (name, place, read)
        if len(images) == count:
            endings = ", ".join(sorted(files.IMAGE_SUFFIXES))
            raise ClientError(f"{path} holds no images ({endings}) that are not in {out}.")
    return list(images.values())


def _images(path: Path) -> Iterator[Item]:
    """As find_images, with paths inside of `path`."""
    if path.is_file() and path.suffix.lower() != files.RECORDIO_SUFFIX:
        yield str(path), Path(path.name), partial(files.content, str(path))
        return
    names = Listing.of(path, files.IMAGE_SUFFIXES).names if path.is_dir() else ()
    for name in names:
        yield str(path / name), Path(name), partial(files.content, str(path / name))
    if not names:
        source = RecordIOSource(files.of_form(path, "recordio") if path.is_dir() else [path])
        for index in range(len(source)):
            inside = Path(source.image_name(index) or f"{index:06}.jpg")
            if inside.is_absolute() or ".." in inside.parts:  # they come with the data
                inside = Path(inside.name)
            yield source.name(index), inside, partial(source.read_image, index)


def annotate(
    images: Sequence[Item], detect: detectors.Detect, choose: Choose, out: Path, parallel: int
) -> tuple[list[Result], list[Exception]]:
    """Write annotated copies, and PREDICTIONS_FILE and GALLERY_FILE of what is done at the end.

    Returns the results, and the faults of single images, which are logged.

    Raises JobError when nothing more can be done, OSError when `out` cannot be written to.
    """
    done: dict[Path, Result] = {}
    faults: list[Exception] = []
    slots = threading.Semaphore(parallel)

    def work(item: Item) -> None:
        name, place, read = item
        with slots:
            try:
                data = read()
                predictions = choose(detect(data, name))
                drawn = draw_detections(decode(data, name), predictions)[..., ::-1]
                encoded, copy = cv2.imencode(place.suffix.lower(), drawn)
                if not encoded:
                    raise ImageError(f"{name} is too large for a {place.suffix}; use .png")
            except (*detectors.OF_ONE_IMAGE, RecordIOError, OSError) as error:
                log.error("%s", error)
                faults.append(error)
            else:
                (out / place).parent.mkdir(parents=True, exist_ok=True)
                write_whole(out / place, copy.tobytes())
                done[place] = Result(name, place.as_posix(), predictions)

    progress = Progress("Images annotated", len(images))
    try:
        # Its threads do not keep the process alive when an endpoint does not answer.
        with progress, ThreadPool(parallel) as pool:
            for _ in pool.imap_unordered(work, images):
                progress.advance(1)
    finally:
        end = time.monotonic() + _GRACE
        for _ in range(parallel):  # a process must not end while threads are in native code
            slots.acquire(timeout=max(0.0, end - time.monotonic()))
        results = [done[place] for _, place, _ in images if place in done]
        lines = ",\n".join(json.dumps(msgspec.to_builtins(one)) for one in results)
        write_text_whole(out / PREDICTIONS_FILE, f"[\n{lines}\n]\n")
        values = {
            "results": results,
            "found": [one for result in results for one in result.predictions],
            "color": lambda one: css(color_of(one.class_id)),
            "link": lambda one: quote(os.fsencode(one.annotated)),
            "version": __version__,
        }
        page = render_page(Path(__file__).parent, "gallery.html.j2", values)
        write_text_whole(out / GALLERY_FILE, page)
    return results, faults


def draw_detections(image: Image, predictions: Sequence[Prediction]) -> Image:
    """A copy of an RGB image (h, w, 3) with boxes, class names and scores.

    Lines and text grow with the image. Captions lie over boxes, and better predictions over worse.
    """
    canvas = np.ascontiguousarray(image).copy()
    height, width = canvas.shape[:2]
    thickness = max(2, round((height + width) / 450))
    limits = np.array([width, height, width, height]) - 1
    shown = [
        (one, color_of(one.class_id), np.rint(np.clip(one.bbox, 0, limits)).astype(int).tolist())
        for one in sorted(predictions, key=lambda one: one.score)
    ]
    for _, color, (left, top, right, bottom) in shown:
        for line, stroke in ((thickness + 2, (255, 255, 255)), (thickness, color)):
            cv2.rectangle(canvas, (left, top), (right, bottom), stroke, line)
    for one, color, (left, top, _, _) in shown:
        name = unicodedata.normalize("NFKD", one.class_name).encode("ascii", "ignore").decode()
        caption = f"{name.strip() or f'class {one.class_id}'} {one.score:.2f}"  # the font is ASCII
        _draw_caption(canvas, caption, left, top, color, thickness)
    return canvas


def _draw_caption(
    canvas: Image, text: str, left: int, top: int, color: Color, thickness: int
) -> None:
    """Text on a filled bar above the box, or inside it at the upper edge of the image."""
    height, width = canvas.shape[:2]
    scale = max(0.4, (height + width) / 1700)
    weight = max(1, round(scale))
    (text_width, text_height), baseline = cv2.getTextSize(text, _FONT, scale, weight)
    pad = max(2, thickness)
    bar_width, bar_height = text_width + 2 * pad, text_height + baseline + pad
    x = max(0, min(left - thickness // 2, width - bar_width))
    y = top - bar_height if top >= bar_height else top
    cv2.rectangle(canvas, (x, y), (x + bar_width, y + bar_height), color, cv2.FILLED)
    place = (x + pad, y + pad // 2 + text_height + baseline // 2)
    cv2.putText(canvas, text, place, _FONT, scale, text_color_on(color), weight, cv2.LINE_AA)
