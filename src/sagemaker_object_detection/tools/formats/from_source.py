"""Splits of the formats that training reads itself: its sources are the readers here too."""

from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sagemaker_object_detection.boxes import to_px
from sagemaker_object_detection.data.class_names import CLASSES_FILE, read_classes
from sagemaker_object_detection.data.dataset import Source
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.formats.class_table import MAX_CLASSES
from sagemaker_object_detection.tools.formats.record import (
    LabelledImage,
    check_size,
    is_safe_name,
    size_of_bytes,
)

_SHOWN = 3


class SourceSplit:
    """The records of a source.

    Args:
        source: the records.
        image_name: of a record, its image's path inside the split; None where it has none.
        class_file: where the classes are named; None leaves it to the source.
        category_names: names of all classes of a format that numbers them anew in every file, so
            that only the names can be compared.
        left_out: sentences on what of the split is not among the records, beside images without
            an annotation.
    """

    def __init__(
        self,
        source: Source,
        image_name: Callable[[int], str | None],
        class_file: Path | None = None,
        category_names: Sequence[str] = (),
        left_out: Sequence[str] = (),
    ) -> None:
        self._source = source
        self._image_name = image_name
        self._class_file = class_file
        self._listed = () if class_file is None else read_classes(class_file)
        self.class_order = tuple(category_names)
        self.left_out = (*left_out, *_without_annotation(source.unannotated))

    @property
    def class_names(self) -> Mapping[int, Set[str]]:
        """By class id, from the list of classes or else from the records read so far."""
        if self.class_order:
            return {}
        if self._listed:
            return {class_id: {name} for class_id, name in enumerate(self._listed)}
        return self._source.class_names

    def __len__(self) -> int:
        return len(self._source)

    def read(self, index: int) -> LabelledImage:
        """One image and its objects.

        Raises ClientError as the source does, for a class id that no class can have, and as
        `check_size`.
        """
        place = self._source.name(index)
        try:
            raw = self._source.read(index)
        except FileNotFoundError as error:
            raise ClientError(
                f"{error.filename} does not exist, or is a link to nothing. Add the file."
            ) from None
        self._check(raw.class_ids, place)
        size = check_size(raw.declared_size, partial(size_of_bytes, raw.image, "the image"), place)
        return LabelledImage(
            place=place,
            name=self._name(index),
            size=size,
            boxes_px=raw.boxes if raw.declared_size is not None else to_px(raw.boxes, *size),
            classes=tuple(
                self.class_order[class_id] if self.class_order else class_id
                for class_id in raw.class_ids.tolist()
            ),
            difficult=tuple(raw.difficult.tolist()),
            read_image=lambda: raw.image,
        )

    def _check(self, class_ids: npt.NDArray[np.int64], place: str) -> None:
        limit = len(self._listed) or MAX_CLASSES
        wrong = (class_ids < 0) | (class_ids >= limit)
        if wrong.any():
            cure = f"Add the class to {self._class_file}, or correct" if self._listed else "Correct"
            raise ClientError(
                f"{place}: class_id {int(class_ids[wrong][0])} is not in 0..{limit - 1}. {cure} "
                "the label."
            )

    def _name(self, index: int) -> str | None:
        name = self._image_name(index)
        if name is not None and not is_safe_name(name):
            raise ClientError(f"{name!r}: the file's name is not UTF-8 text. Rename the file.")
        return name


def _without_annotation(images: Sequence[str]) -> list[str]:
    if not images:
        return []
    shown = ", ".join(images[:_SHOWN])
    return [f"{len(images)} images were left out, nothing annotates them, such as {shown}."]


def named_by_path(source: Source, folder: Path) -> Callable[[int], str]:
    """Image names of a source that calls its records by the paths of their images."""
    return lambda index: Path(source.name(index)).relative_to(folder).as_posix()


def class_file(source: Path, split: str) -> Path | None:
    """The ``classes.txt`` of a split, or of the data set; None where there is none."""
    candidates = (source / split / CLASSES_FILE, source / CLASSES_FILE)
    return next((path for path in candidates if path.is_file()), None)


def no_split(source: Path, split: str, wanted: str, found: Sequence[str]) -> ClientError:
    """That a split is not there, what it would be, and which are there."""
    there = ", ".join(found) or "none"
    return ClientError(
        f"{source} has no split '{split}': {wanted}. Choose one that is there (found: {there}), or "
        "give the folder that holds the splits."
    )
