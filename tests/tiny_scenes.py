"""Labelled pictures that the detector of tests.tiny_model gets partly right."""

from __future__ import annotations

import numpy as np

from tests import tiny_model
from tests.data.samples import Sample

SIZES = ((160, 120), (200, 100), (96, 128))


def scenes(count: int, seed: int = 0) -> list[Sample]:
    """Pictures of three sizes whose cells are more or less red or blue.

    Most coloured cells have a box, somewhat off, mostly of their class; the detector finds
    what is bright, so that scores lie anywhere in 0..1.
    """
    draw = np.random.default_rng(seed)
    return [_scene(draw, SIZES[number % len(SIZES)]) for number in range(count)]


def _scene(draw: np.random.Generator, size: tuple[int, int]) -> Sample:
    width, height = size
    image = draw.integers(0, 20, (height, width, 3)).astype(np.uint8)
    boxes, class_ids = [], []
    for cell in draw.choice(tiny_model.GRID**2, draw.integers(2, 7), replace=False):
        row, column = divmod(int(cell), tiny_model.GRID)
        class_id = int(draw.integers(2))
        box = np.array([column, row, column + 1, row + 1]) / tiny_model.GRID
        left, top, right, bottom = np.rint(box * [width, height, width, height]).astype(int)
        image[top:bottom, left:right, 2 * class_id] = draw.integers(30, 256)
        if draw.random() < 0.8:
            moved = box + draw.uniform(-0.05, 0.05, 4)
            boxes.append(tuple(np.clip(moved, 0, 1).tolist()))
            class_ids.append(class_id if draw.random() < 0.9 else 1 - class_id)
    return Sample(tiny_model.encoded(image, ".jpg"), boxes, class_ids, ".jpg", size)
