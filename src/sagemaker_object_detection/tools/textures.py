"""Colours and textured backgrounds for drawn pictures, (h, w, 3) float32 RGB in 0..255."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

Canvas = npt.NDArray[np.float32]


def colour(generator: np.random.Generator) -> npt.NDArray[np.float32]:
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
    return np.asarray(0.35 * colour(generator) + 0.65 * grey, np.float32)


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
