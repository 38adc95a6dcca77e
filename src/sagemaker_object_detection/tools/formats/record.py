"""The one value between readers and writers of data sets: an image file and its objects."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from sagemaker_object_detection.boxes import check_boxes, is_degenerate
from sagemaker_object_detection.platform.errors import ClientError

Boxes = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """An image file with its objects, nothing of it dropped or mended.

    ``path``: the file; ``name``: its path inside the data set, relative, with ``/``; ``size``:
    (width, height) of the stored pixels; ``boxes_px``: (n, 4) xyxy, the pixel in the top left
    corner is 0..1; ``class_names`` and ``difficult``: n each. Raises ValueError when they disagree.
    """

    path: Path
    name: str
    size: tuple[int, int]
    boxes_px: Boxes
    class_names: tuple[str, ...]
    difficult: tuple[bool, ...]

    def __post_init__(self) -> None:
        count = len(check_boxes(self.boxes_px))
        if not count == len(self.class_names) == len(self.difficult):
            raise ValueError(
                f"{self.name}: {count} boxes, {len(self.class_names)} class names and "
                f"{len(self.difficult)} difficult flags"
            )
        if min(self.size) < 1:
            raise ValueError(f"{self.name}: expected a size of at least 1 x 1, got {self.size}")
        if not is_safe_name(self.name):
            raise ValueError(f"{self.name!r} is not a path inside the data set")


def is_safe_name(name: str) -> bool:
    """Whether a relative path stays inside the folder it is joined to."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """Channels of labelled images under one list of classes; a class id is a place in the list."""

    class_names: tuple[str, ...]
    channels: Mapping[str, Sequence[LabelledImage]]

    @classmethod
    def build(
        cls, channels: Mapping[str, Sequence[LabelledImage]], class_names: Sequence[str] | None
    ) -> "DataSet":
        """Number the classes in the order given, or by sorted name when None is.

        Raises ClientError for a class of the data that is not in `class_names`, for one named
        twice, and for two images of one channel with the same name.
        """
        counts = count_classes(image for images in channels.values() for image in images)
        faults = [
            f"Channel '{channel}': the image '{name}' occurs {count} times. Take each image once."
            for channel, images in channels.items()
            for name, count in Counter(image.name for image in images).items()
            if count > 1
        ]
        if class_names is not None:
            faults += [
                f"The class '{name}' is listed {count} times. Name each class once."
                for name, count in Counter(class_names).items()
                if count > 1
            ]
            faults += [
                f"The class '{name}' has {counts[name]} boxes but is not among the classes "
                f"{', '.join(class_names)}. Add it to the list."
                for name in sorted(counts.keys() - set(class_names))
            ]
        if faults:
            raise ClientError(*faults)
        return cls(tuple(sorted(counts) if class_names is None else class_names), channels)

    def classes_text(self) -> str:
        """The class names as training reads them from a file: one a line, class id 0 first."""
        return "".join(f"{name}\n" for name in self.class_names)

    @property
    def has_difficult(self) -> bool:
        """Whether any object is marked as difficult."""
        return any(any(image.difficult) for images in self.channels.values() for image in images)

    def class_ids(self, image: LabelledImage) -> list[int]:
        """Class ids of an image's objects."""
        return [self.class_names.index(name) for name in image.class_names]


def count_classes(images: Iterable[LabelledImage]) -> Counter[str]:
    """Number of boxes of each class."""
    return Counter(name for image in images for name in image.class_names)


def count_degenerate(images: Iterable[LabelledImage]) -> int:
    """Number of boxes without area."""
    return sum(int(is_degenerate(image.boxes_px).sum()) for image in images)
