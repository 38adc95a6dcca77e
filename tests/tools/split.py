"""Splits that lie in memory, for tests."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from sagemaker_object_detection.tools.formats.record import ClassKey, LabelledImage

from sagemaker_object_detection.platform.errors import ClientError


def image(
    name: str | None = "a.jpg",
    *classes: ClassKey,
    boxes: npt.ArrayLike | None = None,
    size: tuple[int, int] = (10, 10),
    difficult: bool = False,
    data: bytes = b"\xff\xd8",
) -> LabelledImage:
    """An image with a box of 4 by 4 pixels for each class, unless told otherwise."""
    count = len(classes)
    corners = np.tile([0.0, 0, 4, 4], (count, 1)) if boxes is None else np.asarray(boxes, float)
    return LabelledImage(
        str(name), name, size, corners, classes, (difficult,) * count, lambda: data
    )


@dataclass
class MemorySplit:
    """Images, or errors in their stead."""

    images: Sequence[LabelledImage | ClientError]
    class_order: Sequence[str] = ()
    class_names: Mapping[int, Set[str]] = field(default_factory=dict)
    left_out: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> LabelledImage:
        found = self.images[index]
        if isinstance(found, ClientError):
            raise found
        return found
