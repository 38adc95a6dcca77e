"""Drawn scenes with exact labels: the data of the demo, and of tests that need images.

Balls, cubes and stars of any color lie over one another on textured backgrounds. An image is a
function of (seed, number) alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from sagemaker_object_detection.boxes import from_px
from sagemaker_object_detection.data.class_names import CLASSES_FILE
from sagemaker_object_detection.data.labels import pack_label
from sagemaker_object_detection.data.recordio import RecordIOWriter, pack

Canvas = npt.NDArray[np.float32]


def _lively(generator: np.random.Generator) -> npt.NDArray[np.float32]:
    """A lively colour of any hue."""
    hue = generator.uniform(0, 360)
    saturation, value = generator.uniform(0.45, 1), generator.uniform(0.6, 1)
    pixel = np.array([[[hue, saturation, value]]], np.float32)
    rgb = cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)
    return np.asarray(rgb[0, 0] * 255, np.float32)


def background(generator: np.random.Generator, width: int, height: int) -> Canvas:
    """One of the textures below, in muted colours."""
    texture = _TEXTURES[generator.integers(len(_TEXTURES))]
    weight = texture(generator, width, height)[..., None]
    first, second = _muted(generator), _muted(generator)
    canvas = first * (1 - weight) + second * weight
    grain = _clouds(generator, width, height, 60)[..., None] - 0.5
    return np.clip(canvas + 30 * grain, 0, 255).astype(np.float32)


def _muted(generator: np.random.Generator) -> npt.NDArray[np.float32]:
    grey = generator.uniform(40, 220)
    return np.asarray(0.35 * _lively(generator) + 0.65 * grey, np.float32)


def _clouds(generator: np.random.Generator, width: int, height: int, cells: int) -> Canvas:
    """Smooth noise in 0..1 with about `cells` bumps along the width."""
    rows = max(cells * height // width, 2)
    small = generator.random((rows, cells)).astype(np.float32)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(large, 0, 1).astype(np.float32)


def _noise(generator: np.random.Generator, width: int, height: int) -> Canvas:
    """Clouds of several sizes over each other."""
    total = np.zeros((height, width), np.float32)
    for octave in range(4):
        total += _clouds(generator, width, height, 3 * 2**octave) / 2**octave
    return total / np.float32(1.875)


def _gradient(generator: np.random.Generator, width: int, height: int) -> Canvas:
    return np.clip(_ramp(generator, width, height) + 0.5, 0, 1)


def _stripes(generator: np.random.Generator, width: int, height: int) -> Canvas:
    """Soft or hard stripes in any direction, slightly bent."""
    waves = generator.uniform(4, 14)
    bend = _clouds(generator, width, height, 4) * generator.uniform(0, 1.5)
    wave = np.sin(2 * np.pi * waves * _ramp(generator, width, height) + bend)
    return np.asarray(0.5 + 0.5 * np.tanh(wave * generator.uniform(1, 5)), np.float32)


def _checks(generator: np.random.Generator, width: int, height: int) -> Canvas:
    """Tiles of two colours, turned."""
    tiles = generator.uniform(3, 8)
    angle = generator.uniform(0, 2 * np.pi)
    first = np.sin(np.pi * tiles * _ramp_at(angle, width, height))
    second = np.sin(np.pi * tiles * _ramp_at(angle + np.pi / 2, width, height))
    return np.asarray(0.5 + 0.5 * np.tanh(8 * first * second), np.float32)


def _ramp(generator: np.random.Generator, width: int, height: int) -> Canvas:
    return _ramp_at(generator.uniform(0, 2 * np.pi), width, height)


def _ramp_at(angle: float, width: int, height: int) -> Canvas:
    """A plane rising in one direction, about -0.5..0.5 over the picture."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    long = max(width, height)
    plane = (x - width / 2) * np.cos(angle) + (y - height / 2) * np.sin(angle)
    return np.asarray(plane / long, np.float32)


_TEXTURES: tuple[Callable[[np.random.Generator, int, int], Canvas], ...] = (
    _noise,
    _gradient,
    _stripes,
    _checks,
)


CLASS_NAMES = ("ball", "cube", "star")

_SIZES = ((320, 320), (400, 300), (300, 400))
_FEWEST, _MOST = 2, 6
_SMALLEST, _LARGEST = 0.15, 0.5
_MOST_HIDDEN = 0.6
_TRIES = 30
_OVERSAMPLING = 2
_JPEG_QUALITY = 90

Mask = npt.NDArray[np.float32]
Draw = Callable[[np.random.Generator, int], tuple[Canvas, Mask]]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A picture (h, w, 3) uint8 RGB, its boxes_px (n, 4) float32 and class_ids (n,) int64."""

    image: npt.NDArray[np.uint8]
    boxes_px: npt.NDArray[np.float32]
    class_ids: npt.NDArray[np.int64]

    def jpeg(self) -> bytes:
        """The picture as a JPEG file."""
        options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        done, data = cv2.imencode(".jpg", self.image[..., ::-1], options)
        if not done:
            raise RuntimeError("OpenCV could not write a JPEG")
        return data.tobytes()


def scene(seed: int, number: int) -> Scene:
    """Draw one scene of 2 to 6 objects, each 1/7 to 1/2 of the picture's shorter side.

    A box is tight around the pixels of an object that can be seen. An object that would hide more
    than 60 % of another, or lose that much at the picture's edge, is put elsewhere or not drawn, so
    that all that is drawn is labelled.
    """
    generator = np.random.default_rng((seed, number))
    width, height = _SIZES[generator.integers(len(_SIZES))]
    large = (width * _OVERSAMPLING, height * _OVERSAMPLING)
    canvas = _resize(background(generator, width, height), large, cv2.INTER_LINEAR)
    owner = np.full(canvas.shape[:2], -1, np.int8)
    areas: list[float] = []
    class_ids: list[int] = []
    for _ in range(generator.integers(_FEWEST, _MOST + 1)):
        class_id = int(generator.integers(len(CLASS_NAMES)))
        share = np.exp(generator.uniform(np.log(_SMALLEST), np.log(_LARGEST)))
        side = round(share * min(width, height) * _OVERSAMPLING)
        colours, mask = _DRAW[class_id](generator, side)
        place = _find_place(generator, owner, mask, areas)
        if place is None:
            continue
        _paste(generator, canvas, owner, colours, mask, place, len(areas))
        areas.append(float((mask > 0.5).sum()))
        class_ids.append(class_id)
    image = _resize(canvas, (width, height), cv2.INTER_AREA)
    image += generator.uniform(0, 5) * generator.standard_normal(image.shape, np.float32)
    boxes = np.array([_visible_box(owner == k) for k in range(len(areas))], np.float32)
    return Scene(
        np.clip(np.rint(image), 0, 255).astype(np.uint8),
        boxes.reshape(-1, 4) / _OVERSAMPLING,
        np.array(class_ids, np.int64),
    )


def write_channels(data_dir: Path, images: Mapping[str, int], seed: int) -> None:
    """Pack scenes into ``<channel>/<channel>.rec`` for each channel and its number of images.

    Channels share no picture. The class names go to ``classes.txt`` beside the records.
    """
    first = 0
    for channel, count in images.items():
        folder = data_dir / channel
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CLASSES_FILE).write_text("".join(f"{name}\n" for name in CLASS_NAMES))
        numbers = range(first, first + count)
        with RecordIOWriter(folder / f"{channel}.rec") as writer, ThreadPoolExecutor() as pool:
            for payload in pool.map(lambda number: _payload(seed, number), numbers):
                writer.write(payload)
        first += count


def _payload(seed: int, number: int) -> bytes:
    drawn = scene(seed, number)
    height, width = drawn.image.shape[:2]
    label = pack_label(from_px(drawn.boxes_px, width, height), drawn.class_ids)
    return pack(label, number, drawn.jpeg())


def _find_place(
    generator: np.random.Generator,
    owner: npt.NDArray[np.int8],
    mask: Mask,
    areas: list[float],
) -> tuple[int, int] | None:
    """Left and top for the mask where enough remains visible of it and of all below it."""
    height, width = owner.shape
    solid = mask > 0.5
    for _ in range(_TRIES):
        # up to a third of the object may lie outside the picture
        left = int(generator.integers(-mask.shape[1] // 3, width - mask.shape[1] * 2 // 3))
        top = int(generator.integers(-mask.shape[0] // 3, height - mask.shape[0] * 2 // 3))
        inside, part = _overlap(owner.shape, mask.shape, left, top)
        if solid[part].sum() < (1 - _MOST_HIDDEN) * solid.sum():
            continue
        below = owner.copy()
        below[inside][solid[part]] = len(areas)
        visible = np.bincount(below[below >= 0], minlength=len(areas))
        if all(visible[k] >= (1 - _MOST_HIDDEN) * area for k, area in enumerate(areas)):
            return left, top
    return None


def _overlap(
    canvas: tuple[int, ...], mask: tuple[int, ...], left: int, top: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of the canvas and of the mask that fall on each other."""
    x0, x1 = max(left, 0), min(left + mask[1], canvas[1])
    y0, y1 = max(top, 0), min(top + mask[0], canvas[0])
    return (
        (slice(y0, y1), slice(x0, x1)),
        (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)),
    )


def _paste(
    generator: np.random.Generator,
    canvas: Canvas,
    owner: npt.NDArray[np.int8],
    colours: Canvas,
    mask: Mask,
    place: tuple[int, int],
    number: int,
) -> None:
    """Put an object with its soft shadow on the canvas."""
    blur = max(mask.shape[0] / 14, 2)
    margin = int(3 * blur)
    shadow = cv2.GaussianBlur(np.pad(mask, margin), (0, 0), blur) * generator.uniform(0.2, 0.5)
    offset = generator.integers(-margin, margin + 1, 2) // 2
    left, top = (int(p - margin + o) for p, o in zip(place, offset, strict=True))
    inside, part = _overlap(canvas.shape, shadow.shape, left, top)
    canvas[inside] *= 1 - shadow[part][..., None]
    inside, part = _overlap(canvas.shape, mask.shape, *place)
    alpha = mask[part][..., None]
    canvas[inside] = canvas[inside] * (1 - alpha) + colours[part] * alpha
    owner[inside][mask[part] > 0.5] = number


def _visible_box(seen: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    columns, rows = np.flatnonzero(seen.any(axis=0)), np.flatnonzero(seen.any(axis=1))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def _ball(generator: np.random.Generator, side: int) -> tuple[Canvas, Mask]:
    """A sphere lit from one side, plain or with a stripe."""
    y, x = (np.mgrid[:side, :side].astype(np.float32) + 0.5) * (2 / side) - 1
    squared = x * x + y * y
    z = np.sqrt(np.clip(1 - squared, 0, None))
    light = _light(generator)
    lit = np.clip(x * light[0] + y * light[1] + z * light[2], 0, 1)
    colour = np.broadcast_to(_lively(generator), (side, side, 3)).copy()
    if generator.random() < 0.5:
        axis = _light(generator)
        band = np.abs(x * axis[0] + y * axis[1] + z * axis[2]) < generator.uniform(0.15, 0.4)
        colour[band] = _lively(generator)
    shaded = colour * (0.35 + 0.7 * lit[..., None]) + 200 * lit[..., None] ** 24
    return np.clip(shaded, 0, 255), _as_mask(squared <= 1)


def _cube(generator: np.random.Generator, side: int) -> tuple[Canvas, Mask]:
    """A cube seen from a corner: three faces of one colour under different light."""
    turn = generator.uniform(-0.3, 0.3)
    angles = turn + np.pi / 3 * np.arange(6) + np.pi / 6
    radius = side / 2 - 1
    middle = np.array([side / 2, side / 2])
    corners = middle + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    base = _lively(generator)
    canvas = np.zeros((side, side, 3), np.float32)
    silhouette = np.zeros((side, side), np.uint8)
    first = int(generator.integers(2))
    for face, brightness in zip(range(3), generator.permutation([1.1, 0.8, 0.5]), strict=True):
        k = first + 2 * face
        points = [corners[k % 6], corners[(k + 1) % 6], corners[(k + 2) % 6], middle]
        polygon = np.rint(points).astype(np.int32)
        cv2.fillConvexPoly(canvas, polygon, np.clip(base * brightness, 0, 255).tolist())
        cv2.fillConvexPoly(silhouette, polygon, (1,))
        edge = np.clip(base * brightness * 0.7, 0, 255).tolist()
        cv2.polylines(canvas, [polygon], True, edge, max(side // 60, 1))
    return canvas, _as_mask(silhouette > 0)


def _star(generator: np.random.Generator, side: int) -> tuple[Canvas, Mask]:
    """A five-pointed star, bevelled: each point has a light and a dark half."""
    angles = generator.uniform(0, 2 * np.pi) + np.pi / 5 * np.arange(10)
    radii = (side / 2 - 1) * np.where(np.arange(10) % 2, generator.uniform(0.4, 0.5), 1)
    middle = np.array([side / 2, side / 2])
    points = middle + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    base = _lively(generator)
    light = generator.uniform(0, 2 * np.pi)
    canvas = np.zeros((side, side, 3), np.float32)
    silhouette = np.zeros((side, side), np.uint8)
    for k in range(10):
        triangle = np.rint([middle, points[k], points[(k + 1) % 10]]).astype(np.int32)
        # the two halves of a point slope to either side of its ridge
        slope = angles[k] + (np.pi / 5) * (2 if k % 2 == 0 else -1)
        brightness = 0.8 + 0.3 * np.cos(slope - light)
        cv2.fillConvexPoly(canvas, triangle, np.clip(base * brightness, 0, 255).tolist())
        cv2.fillConvexPoly(silhouette, triangle, (1,))
    return canvas, _as_mask(silhouette > 0)


def _light(generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """A direction towards the viewer's half of space."""
    vector = np.append(generator.uniform(-0.6, 0.6, 2), 0.8)
    return np.asarray(vector / np.linalg.norm(vector), np.float64)


def _resize(canvas: Canvas, size: tuple[int, int], method: int) -> Canvas:
    return np.asarray(cv2.resize(canvas, size, interpolation=method), np.float32)


def _as_mask(mask: npt.NDArray[np.bool_]) -> Mask:
    return mask.astype(np.float32)


_DRAW: tuple[Draw, ...] = (_ball, _cube, _star)
