"""The predictor: bytes of a picture in, detections out, whatever engine runs the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from sagemaker_object_detection import images

Planes = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.float32]


class Engine(Protocol):
    """What turns square pictures into detection rows."""

    @property
    def image_shape(self) -> int:
        """Side of the square pictures in pixels."""

    def detect(self, planes: npt.NDArray[Any]) -> Rows:
        """Pictures (B, 3, S, S), RGB 0-255, uint8 or float32 -> rows (B, N, 6).

        A row is [class_id, score, xmin, ymin, xmax, ymax], corners in 0..1; class_id is -1 in a
        row that is suppressed. The order of the rows means nothing.
        """


@dataclass(frozen=True)
class Detections:
    """What was found in one picture, best first.

    class_ids: integers (n,). scores: (n,) in 0..1. boxes: (n, 4) xyxy in 0..1.
    width, height: size of the picture in pixels.
    """

    class_ids: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32]
    width: int
    height: int

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, threshold: float | Sequence[float]) -> Detections:
        """The detections whose score is greater than `threshold`, one number or one a class."""
        limits = np.asarray(threshold)
        kept = self.scores > (limits[self.class_ids] if limits.ndim else limits)
        return Detections(
            self.class_ids[kept], self.scores[kept], self.boxes[kept], self.width, self.height
        )


DEFAULT_THRESHOLD = 0.2
"""Of models that state none: those of the service, and those that were not validated."""


class Predictor:
    """Decodes a picture, has an engine look at it and sorts what the engine says.

    thresholds: one a class, above which its detections are shown where nobody says otherwise.

    prepare and finish are the halves before and after the engine, for callers with batches of
    their own. Safe for threads if the engine is.
    """

    def __init__(
        self, engine: Engine, class_names: Sequence[str], thresholds: Sequence[float] = ()
    ) -> None:
        self.engine = engine
        self.class_names = tuple(class_names)
        self.thresholds = tuple(thresholds) or (DEFAULT_THRESHOLD,) * len(self.class_names)

    def predict(self, data: bytes, name: str = "the image") -> Detections:
        """Detections in an encoded picture; `name` is what an error calls it.

        Raises images.ImageError when the bytes are no picture.
        """
        planes, size = self.prepare(data, name)
        return self.finish(self.engine.detect(planes[None])[0], size)

    def prepare(self, data: bytes, name: str = "the image") -> tuple[Planes, tuple[int, int]]:
        """Bytes -> planes (3, S, S) uint8 RGB, and (width, height) of the image as displayed."""
        image = images.decode(data, name)
        height, width = image.shape[:2]
        square = images.resize_square(image, self.engine.image_shape)
        return to_planes(square), (width, height)

    def finish(self, rows: Rows, size: tuple[int, int]) -> Detections:
        """Rows (N, 6) of one picture -> detections without the suppressed ones, best first.

        Raises ValueError on a class_id that has no name: graph and model.json do not belong
        together.
        """
        kept = rows[rows[:, 0] >= 0]
        kept = kept[np.argsort(-kept[:, 1], kind="stable")]
        class_ids = kept[:, 0].astype(np.int64)
        if len(class_ids) and class_ids.max() >= len(self.class_names):
            raise ValueError(
                f"the network found class_id {class_ids.max()}, but there are only "
                f"{len(self.class_names)} class names: its symbol and its model.json do not "
                "belong together"
            )
        return Detections(class_ids, kept[:, 1], kept[:, 2:6], *size)


def to_planes(image: images.Image) -> Planes:
    """(h, w, 3) -> contiguous (3, h, w)."""
    height, width = image.shape[:2]
    planes = np.empty((3, height, width), np.uint8)
    cv2.split(image, tuple(planes))  # several times faster than a transposed copy
    return planes
