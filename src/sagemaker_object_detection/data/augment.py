"""Augmentation of SSD's training (Liu et al. 2016, arXiv:1512.02325, section 2.2).

Expansion and crop only choose a region of the image; the region is then cut, resized and filled in
one step, so that no pixel is touched twice. Colour is one affine map of RGB. Boxes are xyxy.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.boxes import iou

FILL = (124, 116, 104)  # ImageNet's mean colour
_OFF: Mapping[str, Mapping[str, Any]] = {
    "colour": {"colour_probability": 0.0},
    "expand": {"expand_probability": 0.0},
    "crop": {"crop_overlaps": (None,)},
    "flip": {"flip_probability": 0.0},
}
_GREY = np.array([0.299, 0.587, 0.114])
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_FROM_YIQ = np.linalg.inv(_TO_YIQ)
_INTERPOLATIONS = (cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_CUBIC, cv2.INTER_NEAREST)


@dataclass(frozen=True)
class Augmentation:
    """The draws and their ranges.

    Attributes:
        brightness: added to every channel, +- of 255.
        contrast, saturation: factor, 1 +- this.
        hue: rotation of the colour circle, +- degrees.
        colour_probability: of each of these four.
        expand, expand_probability: the image is put into a canvas of up to this side.
        crop_overlaps: a crop needs this IoU with at least one box; None leaves the image whole.
        crop_scale, crop_aspect: sides of the crop relative to the image, width : height.
        crop_trials: candidates per crop.
        flip_probability: left to right.
    """

    brightness: float = 32.0
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 18.0
    colour_probability: float = 0.5
    expand: float = 4.0
    expand_probability: float = 0.5
    crop_overlaps: tuple[float | None, ...] = (None, 0.1, 0.3, 0.5, 0.7, 0.9)
    crop_scale: tuple[float, float] = (0.3, 1.0)
    crop_aspect: tuple[float, float] = (0.5, 2.0)
    crop_trials: int = 50
    flip_probability: float = 0.5

    @classmethod
    def of(cls, parts: Collection[str]) -> Augmentation | None:
        """With these parts (colour, expand, crop, flip) and no other; None without any.

        Raises KeyError for another word.
        """
        if unknown := set(parts) - set(_OFF):
            raise KeyError(*sorted(unknown))
        changes = [fields for part, fields in _OFF.items() if part not in parts]
        return cls(**{k: v for fields in changes for k, v in fields.items()}) if parts else None

    def __call__(
        self, image: NDArray[Any], boxes: NDArray[Any], side: int, random: np.random.Generator
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """One augmented view.

        Args:
            image: uint8 (h, w, 3), RGB.
            boxes: (n, 4).
            side: side of the square view in pixels.
            random: all draws come from it.

        Returns:
            view uint8 (side, side, 3); boxes (m, 4) clipped to it; kept: bool (n,), which boxes
            they are (those whose centre lies in the view).
        """
        region = whole_pixels(self._draw_region(boxes, random), image.shape)
        interpolation = _INTERPOLATIONS[random.integers(len(_INTERPOLATIONS))]
        view = render_region(image, region, side, interpolation)
        boxes, kept = boxes_in_region(boxes, region)
        if random.random() < self.flip_probability:
            view = cv2.flip(view, 1)
            boxes = boxes[:, [2, 1, 0, 3]] * (-1, 1, -1, 1) + (1, 0, 1, 0)
        colour = self._draw_colour(random)
        if colour is not None:
            view = cv2.transform(view, colour)
        return view, boxes, kept

    def _draw_region(self, boxes: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
        """The part of the plane to show, xyxy with the image at 0..1; may reach beyond it."""
        canvas = np.array([0.0, 0.0, 1.0, 1.0])
        if random.random() < self.expand_probability:
            ratio = random.uniform(1.0, self.expand)
            corner = -random.uniform(0.0, ratio - 1.0, size=2)
            canvas = np.concatenate([corner, corner + ratio])
        overlap = self.crop_overlaps[random.integers(len(self.crop_overlaps))]
        if overlap is None or not len(boxes):
            return canvas
        crops = self._draw_crops(random) * (canvas[2] - canvas[0]) + canvas[[0, 1, 0, 1]]
        good = np.flatnonzero(iou(crops, boxes).max(axis=1) >= overlap)
        for i in good:
            if boxes_in_region(boxes, crops[i])[1].any():
                crop: NDArray[Any] = crops[i]
                return crop
        return canvas

    def _draw_crops(self, random: np.random.Generator) -> NDArray[Any]:
        """Candidates (crop_trials, 4) inside the unit square, aspect within its range."""
        width, height = random.uniform(*self.crop_scale, size=(2, self.crop_trials))
        low, high = self.crop_aspect
        height = np.clip(height, width / high, width / low).clip(max=1.0)
        x, y = random.random((2, self.crop_trials)) * (1 - width, 1 - height)
        return np.stack([x, y, x + width, y + height], axis=1)

    def _draw_colour(self, random: np.random.Generator) -> NDArray[Any] | None:
        """Affine map (3, 4) of RGB 0..255, or None for no change."""
        chosen = random.random(4) < self.colour_probability
        amounts = random.uniform(-1.0, 1.0, size=4)
        if not chosen.any():
            return None
        brightness, contrast, saturation, hue = amounts * chosen
        matrix = np.eye(3) * (1 + contrast * self.contrast)
        factor = 1 + saturation * self.saturation
        matrix = (factor * np.eye(3) + (1 - factor) * _GREY) @ matrix
        if hue:
            angle = np.deg2rad(hue * self.hue)
            cos, sin = np.cos(angle), np.sin(angle)
            turn = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
            matrix = _FROM_YIQ @ turn @ _TO_YIQ @ matrix
        return np.column_stack([matrix, np.full(3, brightness * self.brightness)])


def whole_pixels(region: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The region with its edges between pixels, so that boxes and pixels are cut alike.

    Args:
        region: xyxy with the image at 0..1.
        shape: (h, w, ...) of the image.
    """
    sides = np.array([shape[1], shape[0]])
    first = np.rint(region[:2] * sides)
    last = np.maximum(np.rint(region[2:] * sides), first + 1)
    return np.concatenate([first / sides, last / sides])


def boxes_in_region(boxes: NDArray[Any], region: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Boxes whose centre lies in the region, in its coordinates and clipped to it.

    Returns:
        boxes (m, 4) in 0..1 of the region; kept: bool (n,).
    """
    if not len(boxes):
        return boxes, np.zeros(0, dtype=bool)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    kept = ((centres > region[:2]) & (centres < region[2:])).all(axis=1)
    corner, size = region[:2], region[2:] - region[:2]
    moved = (boxes[kept] - np.tile(corner, 2)) / np.tile(size, 2)
    return np.clip(moved, 0.0, 1.0), kept


def render_region(
    image: NDArray[Any], region: NDArray[Any], side: int, interpolation: int = cv2.INTER_LINEAR
) -> NDArray[Any]:
    """The region as a square picture of `side` pixels; what lies outside the image is filled.

    Args:
        image: uint8 (h, w, 3).
        region: xyxy with the image at 0..1.
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = region * (width, height, width, height)
    source = np.clip(np.rint([x0, y0, x1, y1]), 0, [width, height, width, height]).astype(int)
    scale = side / np.array([x1 - x0, y1 - y0])
    target_from = np.rint((source[:2] - (x0, y0)) * scale).astype(int).clip(0, side)
    target_to = np.rint((source[2:] - (x0, y0)) * scale).astype(int).clip(0, side)
    target_width, target_height = target_to - target_from
    if target_width < 1 or target_height < 1:
        return np.full((side, side, 3), FILL, dtype=np.uint8)
    cut = image[source[1] : source[3], source[0] : source[2]]
    cut = cv2.resize(cut, (int(target_width), int(target_height)), interpolation=interpolation)
    if target_width == side and target_height == side:
        return cut
    (left, top), (right, bottom) = target_from, side - target_to
    return cv2.copyMakeBorder(cut, top, bottom, left, right, cv2.BORDER_CONSTANT, value=FILL)
