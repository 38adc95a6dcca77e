"""Anchors of an SSD as numpy arrays."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.model.specs import Spec


def make_anchors(spec: Spec) -> NDArray[Any]:
    """Anchors in the order of the heads' outputs.

    For map k with size s_k the anchors of a cell are (s_k, ratio 1), (sqrt(s_k s_k+1), ratio 1) and
    (s_k, r) for the other ratios r, where width = s sqrt(r) and height = s / sqrt(r); cells run row
    by row (SSD paper, section 2.2; the same order as GluonCV's SSDAnchorGenerator).

    Returns:
        float32 (1, N, 4), xyxy in 0..1 of the image, not clipped at its borders.
    """
    maps = []
    for k, side in enumerate(spec.map_sides):
        size, following = spec.sizes[k], spec.sizes[k + 1]
        shapes = [(size, 1.0), (sqrt(size * following), 1.0)]
        shapes += [(size, ratio) for ratio in spec.ratios[k][1:]]
        half = np.array([(s * sqrt(r) / 2, s / sqrt(r) / 2) for s, r in shapes])
        centre = (np.arange(side) + 0.5) / side
        cy, cx = np.meshgrid(centre, centre, indexing="ij")
        centres = np.stack([cx, cy], axis=-1)[:, :, None, :]
        maps.append(np.concatenate([centres - half, centres + half], axis=-1).reshape(-1, 4))
    return np.concatenate(maps)[None].astype(np.float32)
