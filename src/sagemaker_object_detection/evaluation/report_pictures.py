"""Pictures to show in the training report: where the detector does best, and where it fails."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import east_asian_width

import cv2
import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.boxes import iou
from sagemaker_object_detection.evaluation.matching import match
from sagemaker_object_detection.evaluation.results import Results
from sagemaker_object_detection.evaluation.summary import Summary
from sagemaker_object_detection.images import Image, decode

SIDE = 480
_MOST_BYTES = 75_000
_QUALITIES = ((480, 82), (480, 65), (400, 50), (320, 40), (240, 30), (160, 20))
_MOST_CAPTIONS = 6
_LETTER_WIDTH = 13
_LEAST_WIDTH = 200


@dataclass(frozen=True)
class Box:
    """A rectangle on a picture SIDE long. kind: truth, missed, right or false."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Caption:
    """Text at a box; anchor as SVG's text-anchor, `start` or `end`."""

    kind: str
    x: float
    y: float
    anchor: str
    text: str


@dataclass(frozen=True)
class Picture:
    """A picture with its boxes: width and height are of the drawing, the longer is SIDE."""

    name: str
    jpeg: str
    width: float
    height: float
    boxes: tuple[Box, ...]
    captions: tuple[Caption, ...]
    found: int
    false: int
    missed: int
    f1: float


def draw(
    results: Results,
    summary: Summary,
    outcome: Outcomes,
    image: int,
    name: Callable[[int], str],
    picture: Callable[[int], bytes],
) -> Picture:
    """One image of the results with what is in it and what was found.

    Raises ImageError for a picture that cannot be decoded, and what `name` and `picture` raise.
    """
    record = int(results.records[image])
    title = name(record)
    pixels = decode(picture(record), title)
    height, width = (side * SIDE / max(pixels.shape[:2]) for side in pixels.shape[:2])
    boxes = _boxes(results, summary, outcome, image, np.array([width, height] * 2))
    return Picture(
        name=title,
        jpeg=base64.b64encode(small_jpeg(pixels)).decode(),
        width=round(width, 1),
        height=round(height, 1),
        boxes=tuple(boxes),
        captions=tuple(_captions(boxes, width)),
        found=int(outcome.found[image]),
        false=int(outcome.false[image]),
        missed=int(outcome.missed[image]),
        f1=float(outcome.f1[image]),
    )


def small_jpeg(pixels: Image) -> bytes:
    """An RGB picture (h, w, 3) as a JPEG of at most SIDE a side.

    One that stays too large, as noise does, is made coarser.
    """
    data = b""
    for side, quality in _QUALITIES:
        scale = min(1.0, side / max(pixels.shape[:2]))
        size = tuple(max(1, round(length * scale)) for length in pixels.shape[1::-1])
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
        bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
        if len(data) <= _MOST_BYTES:
            break
    return data


def _boxes(
    results: Results, summary: Summary, outcome: Outcomes, image: int, sides: NDArray[Any]
) -> list[Box]:
    """Rectangles to draw: errors over the rest and small ones over large, to be pointed at."""
    labels = results.labels(image)
    span = slice(results.detection_offsets[image], results.detection_offsets[image + 1])
    shown, right = outcome.shown[span], outcome.right[span]
    rows = results.found(image)[shown]
    right = right[shown]
    missed = ~_found(labels.boxes, labels.class_ids, rows[right]) & ~labels.difficult
    truth = [
        _box("missed" if gone else "truth", place * sides, _truth_title(summary, id_, hard))
        for place, id_, hard, gone in zip(*labels, missed, strict=True)
    ]
    found = [
        _box("right" if hit else "false", row[2:] * sides, _title(summary, int(row[0]), row[1]))
        for row, hit in zip(rows, right, strict=True)
    ]
    order = ("truth", "right", "false", "missed")
    return sorted(truth + found, key=lambda box: (order.index(box.kind), -box.width * box.height))


def _found(boxes: NDArray[Any], class_ids: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """Which boxes of an image the right detections (d, 6) of it found, bool (n,)."""
    found = np.zeros(len(boxes), dtype=bool)
    if len(rows):
        overlap = iou(rows[:, 2:].astype(np.float64), boxes.astype(np.float64))
        overlap[rows[:, 0, None] != class_ids[None]] = -1
        found[overlap.argmax(axis=1)] = True
    return found


def _title(summary: Summary, class_id: int, score: float) -> str:
    return f"{summary.labels[class_id]} {score:.2f}"


def _truth_title(summary: Summary, class_id: int, difficult: bool) -> str:
    return summary.labels[class_id] + (", difficult" if difficult else "")


def _box(kind: str, corners: NDArray[Any], title: str) -> Box:
    left, top, right, bottom = (round(float(value), 1) for value in corners)
    return Box(kind, left, top, round(right - left, 1), round(bottom - top, 1), title)


def _captions(boxes: Sequence[Box], width: float) -> list[Caption]:
    """Names beside boxes where there is room for them: those of errors before those of the rest."""
    wrong = [box for box in boxes if box.kind in ("false", "missed")]
    right = [box for box in boxes if box.kind == "right"]
    named = [*right, *wrong] if len(right) + len(wrong) <= _MOST_CAPTIONS else wrong
    if len(named) > _MOST_CAPTIONS or width < _LEAST_WIDTH:
        return []
    captions = []
    for box in named:
        at_right = box.x + box.width / 2 > width / 2  # the text runs towards the other half
        x = box.x + box.width if at_right else box.x
        y = box.y - 5 if box.y >= 22 else box.y + 18
        text = shortened(box.title, int(width / 2 / _LETTER_WIDTH))
        anchor = "end" if at_right else "start"
        captions.append(Caption(box.kind, round(x, 1), round(y, 1), anchor, text))
    return captions


def duration(seconds: float) -> str:
    """3725 as 1 h 02 min, 75 as 1 min 15 s, 0.123 as 0.12 s."""
    if seconds < 10:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def short_count(value: int) -> str:
    """12345 as 12k, for narrow cells."""
    for unit, size in (("M", 10**6), ("k", 10**3)):
        if value >= 10 * size:
            return f"{value // size}{unit}"
    return str(value)


def shortened(text: str, letters: int) -> str:
    """A text that takes the room of at most so many letters; East Asian ones count twice."""
    taken = 0
    for length, letter in enumerate(text):
        taken += 2 if east_asian_width(letter) in "WF" else 1
        if taken > letters:
            return text[: max(0, length - 1)] + "\N{HORIZONTAL ELLIPSIS}"
    return text


_PICTURES = 12


@dataclass(frozen=True)
class Outcomes:
    """What becomes of I images when only detections that reach their class's threshold count.

    Attributes:
        shown: bool (D,), the detections that count. right: bool (D,), those that find a box.
        found, false, missed: int64 (I,): right detections, wrong ones, boxes not found.
        score: float64 (I,), mean score of the right detections, 0 without one.
    """

    shown: NDArray[Any]
    right: NDArray[Any]
    found: NDArray[Any]
    false: NDArray[Any]
    missed: NDArray[Any]
    score: NDArray[Any]

    @property
    def f1(self) -> NDArray[Any]:
        """float64 (I,), 0..1; NaN for images with neither boxes nor detections."""
        all_of_them = 2 * self.found + self.false + self.missed
        result = np.full(len(self.found), np.nan)
        np.divide(2 * self.found, all_of_them, out=result, where=all_of_them > 0)
        return result


def outcomes(results: Results, summary: Summary) -> Outcomes:
    """Hold what reaches the thresholds of best F1 against the truth.

    Rules are those of average precision: boxes marked difficult, and detections of them, count
    neither way.
    """
    matches = match(results, len(summary.labels), summary.overlap_threshold)
    class_ids = results.detections[:, 0].astype(np.int64)
    shown = results.detections[:, 1] >= np.array(summary.thresholds, np.float64)[class_ids]
    shown &= matches.counted
    right = shown & matches.right
    images, truth_images = results.detection_images, results.box_images

    def an_image(mask: NDArray[Any], weights: NDArray[Any] | None = None) -> NDArray[Any]:
        return np.bincount(images[mask], weights, minlength=len(results))

    found = an_image(right)
    boxes = np.bincount(truth_images[~results.difficult], minlength=len(results))
    scores = an_image(right, results.detections[right, 1].astype(np.float64))
    return Outcomes(
        shown, right, found, an_image(shown & ~right), boxes - found, scores / np.maximum(found, 1)
    )


def choose(outcome: Outcomes) -> dict[str, list[int]]:
    """Positions of the images to show, at most twelve of each kind.

    best: highest F1, of equal ones the highest scores; at most a third of the images, so that
    small data sets show others too. worst: most false detections, missed: most boxes not found, of
    equal ones the lowest F1; an image may be both of these, but not one of the best.
    """
    f1 = np.nan_to_num(outcome.f1)
    some = np.flatnonzero(outcome.found)
    best = some[np.lexsort((-outcome.score[some], -f1[some]))]
    best = best[: min(_PICTURES, -(-len(f1) // 3))]

    def most_of(errors: NDArray[Any]) -> list[int]:
        those = np.setdiff1d(np.flatnonzero(errors), best)
        order = np.lexsort((f1[those], -errors[those]))
        chosen: list[int] = those[order][:_PICTURES].tolist()
        return chosen

    return {
        "best": best.tolist(),
        "worst": most_of(outcome.false),
        "missed": most_of(outcome.missed),
    }
