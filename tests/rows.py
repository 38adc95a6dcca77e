"""Comparing detection rows of two engines, whose order means nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def require_same_detections(found: NDArray[Any], expected: NDArray[Any], tolerance: float) -> None:
    """Each row (class_id, score, box) of one has its like in the other, picture by picture.

    Args:
        found, expected: (B, N, 6), class_id -1 in rows that do not count; N may differ.
    """
    assert len(found) == len(expected)
    for image, (a, b) in enumerate(zip(found, expected, strict=True)):
        ours, theirs = a[a[:, 0] >= 0], b[b[:, 0] >= 0]
        assert len(theirs), f"nothing is expected in picture {image}: nothing is compared"
        assert len(ours) == len(theirs), f"picture {image}"
        distance = np.abs(ours[:, None] - theirs[None]).max(axis=2)
        assert distance.min(axis=0).max() <= tolerance, f"picture {image}"
        assert distance.min(axis=1).max() <= tolerance, f"picture {image}"
