"""Draw detections on a picture."""

import colorsys
import unicodedata
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

_FONT = cv2.FONT_HERSHEY_DUPLEX
_GOLDEN = 0.618034


def colour_of(class_id: int) -> Colour:
    """An RGB colour for a class; neighbouring ids get hues far apart."""
    hue = (0.02 + class_id * _GOLDEN) % 1
    value = (0.95, 0.75, 0.85)[class_id // 7 % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_detections(
    image: Image,
    boxes_px: npt.ArrayLike,
    class_ids: Sequence[int],
    scores: Sequence[float],
    class_names: Sequence[str] | Mapping[int, str] = (),
) -> Image:
    """A copy of an RGB picture (h, w, 3) with boxes (n, 4) xyxy in pixels, names and scores.

    Lines and text grow with the picture. Captions lie over boxes, and better
    detections over worse. A class without a name, or whose name the font has no letters for, is
    shown by its id. Raises ValueError when boxes, class ids and scores differ in number.
    """
    boxes = np.asarray(boxes_px, np.float64).reshape(-1, 4)
    if not len(boxes) == len(class_ids) == len(scores):
        raise ValueError(f"{len(boxes)} boxes, {len(class_ids)} class ids, {len(scores)} scores")
    canvas = np.ascontiguousarray(image).copy()
    height, width = canvas.shape[:2]
    thickness = max(1, round((height + width) / 450))
    limits = np.array([width, height, width, height]) - 1
    order = sorted(range(len(boxes)), key=lambda k: scores[k])
    corners = np.rint(np.clip(boxes, 0, limits)).astype(np.int64).tolist()
    colours = [colour_of(int(class_id)) for class_id in class_ids]
    for k in order:
        left, top, right, bottom = corners[k]
        for line, colour in ((thickness + 2, (255, 255, 255)), (thickness, colours[k])):
            cv2.rectangle(canvas, (left, top), (right, bottom), colour, line)
    for k in order:
        caption = f"{_printable(int(class_ids[k]), class_names)} {scores[k]:.2f}"
        _draw_caption(canvas, caption, corners[k][0], corners[k][1], colours[k], thickness)
    return canvas


def _printable(class_id: int, class_names: Sequence[str] | Mapping[int, str]) -> str:
    """The class name in ASCII, which is all the font has."""
    known = class_id in (
        class_names if isinstance(class_names, Mapping) else range(len(class_names))
    )
    name = class_names[class_id] if known else ""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return ascii_name.strip() or f"class {class_id}"


def _draw_caption(
    canvas: Image, text: str, left: int, top: int, colour: Colour, thickness: int
) -> None:
    """Text on a filled bar above the box, or inside it at the picture's upper edge."""
    height, width = canvas.shape[:2]
    scale = max(0.4, (height + width) / 1700)
    weight = max(1, round(scale))
    (text_width, text_height), baseline = cv2.getTextSize(text, _FONT, scale, weight)
    pad = max(2, thickness)
    bar_width, bar_height = text_width + 2 * pad, text_height + baseline + pad
    x = max(0, min(left - thickness // 2, width - bar_width))
    y = top - bar_height if top >= bar_height else top
    cv2.rectangle(canvas, (x, y), (x + bar_width, y + bar_height), colour, cv2.FILLED)
    place = (x + pad, y + pad // 2 + text_height + baseline // 2)
    cv2.putText(canvas, text, place, _FONT, scale, _ink(colour), weight, cv2.LINE_AA)


def _ink(colour: Colour) -> Colour:
    """Black or white, whichever reads better on a colour."""
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return (0, 0, 0) if luminance > 140 else (255, 255, 255)
