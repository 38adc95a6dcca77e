"""Draw detections on an image."""

import colorsys
import unicodedata
from collections.abc import Sequence

import cv2
import numpy as np

from sagemaker_object_detection.images import Image
from sagemaker_object_detection.tools.detectors import Prediction

Color = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_DUPLEX
_GOLDEN = 0.618034


def color_of(class_id: int) -> Color:
    """An RGB color for a class; neighboring ids get hues far apart."""
    hue = (0.02 + class_id * _GOLDEN) % 1
    value = (0.95, 0.75, 0.85)[class_id // 7 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, value)
    return round(255 * red), round(255 * green), round(255 * blue)


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
        _draw_caption(canvas, f"{_printable(one)} {one.score:.2f}", left, top, color, thickness)
    return canvas


def _printable(one: Prediction) -> str:
    """The class name in ASCII, which is all that the font has; else the class id."""
    name = unicodedata.normalize("NFKD", one.class_name).encode("ascii", "ignore").decode()
    return name.strip() or f"class {one.class_id}"


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
    luminance = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    ink = (0, 0, 0) if luminance > 140 else (255, 255, 255)
    place = (x + pad, y + pad // 2 + text_height + baseline // 2)
    cv2.putText(canvas, text, place, _FONT, scale, ink, weight, cv2.LINE_AA)
