"""Read data in the layout of YOLO: ``images/`` and, beside them, ``labels/`` with a text each.

A line of a label is ``class_id centre_x centre_y width height``, in 0..1 of the image. An image
without a label file, or with an empty one, has no objects.
"""

import math
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.formats.class_table import MAX_CLASSES
from sagemaker_object_detection.tools.formats.record import (
    LabelledImage,
    check_size,
    is_safe_name,
    size_of_file,
)
from sagemaker_object_detection.tools.formats.text_files import read_lines
from sagemaker_object_detection.tools.formats.yolo_config import find_config
from sagemaker_object_detection.tools.formats.yolo_layout import (
    images_of,
    label_of,
    listed_classes,
)

_LARGEST = 2.0
_FORM = "A line is 'class_id centre_x centre_y width height', the last four in 0..1"


class YoloSplit:
    """The images of a split, which `images_of` finds.

    Raises ClientError as `find_config` and `images_of` do, and when no image has a label.
    """

    class_order: Sequence[str] = ()
    left_out: Sequence[str] = ()

    def __init__(self, source: Path, split: str) -> None:
        config = find_config(source)
        self._source = source
        self._classes = config.names if config and config.names else listed_classes(source)
        found = images_of(source, split, config)
        self._files = list(found)
        self._check(split)

    @property
    def class_names(self) -> Mapping[int, Set[str]]:
        """From data.yaml, classes.txt or obj.names; empty where there is none of them."""
        return {class_id: {name} for class_id, name in enumerate(self._classes)}

    def __len__(self) -> int:
        return len(self._files)

    def read(self, index: int) -> LabelledImage:
        """One image and its objects. Raises ClientError for a line that is no box."""
        path, name = self._file(index)
        if not is_safe_name(name):
            raise ClientError(f"{path}: the file's name is not UTF-8 text. Rename it.")
        rows = self._rows(label_of(path, self._source))
        size = check_size(None, lambda: size_of_file(path), str(path))
        boxes = np.array([row[1:] for row in rows], np.float64).reshape(-1, 4)
        half = boxes[:, 2:] / 2
        corners = np.hstack([boxes[:, :2] - half, boxes[:, :2] + half])
        return LabelledImage(
            place=str(path),
            name=name,
            size=size,
            boxes_px=corners * np.tile(size, 2),
            classes=tuple(int(row[0]) for row in rows),
            difficult=(False,) * len(rows),
            read_image=path.read_bytes,
        )

    def _file(self, index: int) -> tuple[Path, str]:
        """An image's file, and its name inside the split."""
        return self._files[index]

    def _rows(self, label: Path) -> list[list[float]]:
        if not label.is_file():
            return []
        return [
            self._row(line.split(), f"{label}, line {number}")
            for number, line in enumerate(read_lines(label), 1)
            if line
        ]

    def _row(self, words: list[str], place: str) -> list[float]:
        if len(words) != 5:
            raise ClientError(f"{place}: {_what_it_is(len(words))}. {_FORM}.")
        try:
            row = [float(word) for word in words]
        except ValueError as error:
            raise ClientError(f"{place}: {error}. {_FORM}.") from None
        if not row[0].is_integer() or not 0 <= row[0] < MAX_CLASSES:
            raise ClientError(
                f"{place}: the class id is {words[0]}, it must be in 0..{MAX_CLASSES - 1}. Number "
                "the classes from 0."
            )
        if self._classes and row[0] >= len(self._classes):
            raise ClientError(
                f"{place}: the class id is {words[0]}, but {len(self._classes)} classes are named. "
                "Correct the line, or add the class to the names."
            )
        if not all(math.isfinite(value) and abs(value) <= _LARGEST for value in row[1:]):
            raise ClientError(
                f"{place}: the box is {' '.join(words[1:])}. {_FORM}: divide pixels by the image's "
                "width and height."
            )
        return row

    def _check(self, split: str) -> None:
        """Labels must be where they are looked for, or every image would have no objects."""
        labels = (label_of(self._file(n)[0], self._source) for n in range(len(self)))
        first = next(labels, None)
        if first is None:
            raise ClientError(f"{self._source}: split '{split}' has no images.")
        if not first.is_file() and not any(label.is_file() for label in labels):
            raise ClientError(
                f"{self._source}: none of the {len(self)} images of split '{split}' has a label "
                f"file; {first} is one that was looked for. Put the labels there."
            )


def _what_it_is(count: int) -> str:
    if count < 5:
        return f"{count} numbers are too few"
    if count == 6:
        return "6 numbers: a detection with its score, or a label with a further column"
    return f"{count} numbers: a polygon or a turned box, which is no upright box"
