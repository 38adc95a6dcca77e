"""One small picture in two encodings."""

from __future__ import annotations

import cv2
import numpy as np

_PICTURE = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)


def _encode(extension: str) -> bytes:
    ok, data = cv2.imencode(extension, _PICTURE)
    assert ok
    return data.tobytes()


JPEG = _encode(".jpg")
PNG = _encode(".png")
