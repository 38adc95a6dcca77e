"""Pictures run through a detector: annotated copies, and the JSON of what was found."""

from __future__ import annotations

import errno
import json
import logging
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import cv2
from msgspec.structs import asdict

from sagemaker_object_detection.images import ImageError, decode
from sagemaker_object_detection.model.artifact import write_text_whole, write_whole
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.files import content
from sagemaker_object_detection.platform.progress import Progress
from sagemaker_object_detection.tools.drawing import draw_detections
from sagemaker_object_detection.tools.folders import make_folder
from sagemaker_object_detection.tools.pictures import JSON_ENDING, Picture, Pictures
from sagemaker_object_detection.tools.pixel_budget import PixelBudget
from sagemaker_object_detection.tools.predictions import (
    Choice,
    Detector,
    PictureFailed,
    PictureUnusable,
    Prediction,
)

log = logging.getLogger(__name__)

MOST_BYTES = 2**29
"""More than any picture of images.MAX_PIXELS has."""


@dataclass
class Tally:
    """How a run went.

    Attributes:
        done: pictures that were annotated.
        found: class name -> how often it was predicted, as far as that was wanted.
        answered: class names of all predictions, wanted or not.
        unusable: pictures that could not be used.
        failed: pictures that the endpoint failed on.
    """

    done: int = 0
    found: Counter[str] = field(default_factory=Counter)
    answered: set[str] = field(default_factory=set)
    unusable: int = 0
    failed: int = 0


def annotate(
    pictures: Pictures,
    detector: Detector,
    choice: Choice,
    pixels: PixelBudget,
    out: Path,
    overwrite: bool = False,
) -> Tally:
    """Write an annotated copy of every picture into `out`, and the JSON of what is in it.

    Several pictures are in work at a time, and only they are in memory. A file is there whole or
    not at all, the JSON after its picture. A picture that cannot be done is logged, and the
    others go on; with the first that tells that no other can be done, the run ends.

    Args:
        pixels: what may be decoded at a time.
        out: an existing folder.
        overwrite: whether a file there may be replaced.

    Raises:
        JobError: nothing more can be done, see Detector.detect.
        OSError: `out` cannot be written to.
    """
    tally = Tally()
    work = _Work(detector, choice, pixels, out, overwrite)
    running: set[Future[Sequence[Prediction]]] = set()
    with (
        Progress("Pictures annotated", len(pictures)) as progress,
        ThreadPoolExecutor(detector.parallel, "picture") as pool,
    ):

        def collect(most: int) -> None:
            nonlocal running
            while len(running) > most:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for one in ended:
                    _count(tally, one, choice)
                    progress.advance(1)

        try:
            for picture in pictures:
                collect(2 * detector.parallel - 1)
                running.add(pool.submit(work.do, picture))
            collect(0)
        except BaseException:
            work.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return tally


def _count(tally: Tally, task: Future[Sequence[Prediction]], choice: Choice) -> None:
    try:
        predictions = task.result()
    except (ImageError, PictureUnusable) as error:
        tally.unusable += 1
        log.error("%s", error)
    except PictureFailed as error:
        tally.failed += 1
        log.error("%s", error)
    else:
        tally.done += 1
        tally.answered |= {one.class_name for one in predictions}
        tally.found.update(one.class_name for one in choice.of(predictions))


class _Work:
    """What the threads do. Files are written here, where Ctrl-C does not strike."""

    def __init__(
        self,
        detector: Detector,
        choice: Choice,
        pixels: PixelBudget,
        out: Path,
        overwrite: bool,
    ) -> None:
        self._detector = detector
        self._choice = choice
        self._pixels = pixels
        self._out = out
        self._overwrite = overwrite
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Begin nothing more, and write nothing more than what is being written."""
        self._stopped.set()
        self._detector.interrupt()

    def do(self, picture: Picture) -> Sequence[Prediction]:
        """Everything for one picture; all that was predicted in it."""
        data = _read(picture.file)
        name = str(picture.file)
        predictions = self._detector.detect(data, name)
        wanted = self._choice.of(predictions)
        with self._pixels.for_picture(data):
            drawn = _drawn(data, wanted, picture)
        told = {"file": name, "predictions": [asdict(one) for one in wanted]}
        if not self._stopped.is_set():
            self._write(picture, drawn, json.dumps(told) + "\n")
        return predictions

    def _write(self, picture: Picture, drawn: bytes, told: str) -> None:
        try:
            target = self._target(picture)
            write_whole(target, drawn)
            write_text_whole(_beside(target), told)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise PictureUnusable(
                f"{picture.file}: the name is too long to write others that are longer. Make it "
                "shorter."
            ) from error

    def _target(self, picture: Picture) -> Path:
        """Where the annotated copy goes, its folder made."""
        target = self._out / picture.place
        try:
            make_folder(target.parent)
        except ClientError as error:
            raise PictureUnusable(str(error)) from error
        if not target.parent.resolve().is_relative_to(self._out.resolve()):
            raise PictureUnusable(
                f"{picture.file}: {target.parent} is a link that leads out of {self._out}. Remove "
                "it, or give another folder as --out."
            )
        for path in (target, _beside(target)):
            if path.is_dir() or (path.exists() and not self._overwrite):
                raise PictureUnusable(
                    f"{picture.file}: {path} is there already. Remove it, or give another folder "
                    "as --out."
                )
        return target


def _read(file: Path) -> bytes:
    """The bytes of a picture's file. Raises PictureUnusable where there are none to be had."""
    try:
        size = file.stat().st_size
        if not file.is_file():
            raise PictureUnusable(f"{file} is no file. Leave it out.")
        if size > MOST_BYTES:
            raise PictureUnusable(
                f"{file} has {size} bytes, at most {MOST_BYTES} are read. Make it smaller."
            )
        return content(str(file))
    except OSError as error:
        raise PictureUnusable(
            f"{file} cannot be read: {error.strerror}. See that it is there and may be read."
        ) from error


def _drawn(data: bytes, wanted: Sequence[Prediction], picture: Picture) -> bytes:
    """The annotated picture, encoded as its name says."""
    image = draw_detections(
        decode(data, str(picture.file)),
        [one.bbox for one in wanted],
        [one.class_id for one in wanted],
        [one.score for one in wanted],
        {one.class_id: one.class_name for one in wanted},
    )
    suffix = picture.place.suffix.lower()
    try:
        encoded, annotated = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error:
        encoded = False
    if not encoded:
        height, width = image.shape[:2]
        raise PictureUnusable(
            f"{picture.file}: a picture of {width} x {height} cannot be written as {suffix}. "
            "Make it smaller, or rename it to .png."
        )
    return annotated.tobytes()


def _beside(target: Path) -> Path:
    return target.with_name(target.name + JSON_ENDING)
