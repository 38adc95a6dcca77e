"""Pictures to show in the training report: where the detector does best, and where it fails."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.boxes import iou
from sagemaker_object_detection.evaluation.outcomes import Outcomes
from sagemaker_object_detection.evaluation.report_words import shortened
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
