"""A data set to be written: channels of images that are read as often as they are asked for.

The first pass over the images finds the classes and what is wrong; what it keeps of an image is
8 bytes. The second writes.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

import numpy as np

from sagemaker_object_detection.boxes import is_degenerate
from sagemaker_object_detection.data.refusal import Offenders
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.formats.class_table import ClassTable
from sagemaker_object_detection.tools.formats.record import (
    ClassKey,
    LabelledImage,
    Split,
    suffix_of,
)

Step = Callable[[], object]
"""Called after each image."""


class Images:
    """The images of a channel: those of one or several splits, in this order.

    An image of a format without names is called by its place in the channel and what its bytes
    are: 000012.jpg.
    """

    def __init__(self, splits: Sequence[Split]) -> None:
        self.splits = tuple(splits)

    def __len__(self) -> int:
        return sum(len(split) for split in self.splits)

    def __iter__(self) -> Iterator[LabelledImage]:
        return (self.read(split, index, number) for number, split, index in self.places())

    def places(self) -> Iterator[tuple[int, Split, int]]:
        """(number in the channel, split, number in the split) of every image."""
        number = 0
        for split in self.splits:
            for index in range(len(split)):
                yield number, split, index
                number += 1

    @staticmethod
    def read(split: Split, index: int, number: int) -> LabelledImage:
        """One image, named. Raises ClientError as the split does."""
        image = split.read(index)
        if image.name is None:
            image = replace(image, name=f"{number:06d}{suffix_of(image.read_image())}")
        return image


@dataclass
class Survey:
    """What the first pass finds in a channel.

    ``boxes``: number of boxes of each class; ``flat``: boxes without area; ``difficult``: boxes
    that are marked so; ``empty``: images without boxes; ``names``: 64 bits of a hash of each
    image's name.
    """

    images: int = 0
    boxes: Counter[ClassKey] = field(default_factory=Counter)
    flat: int = 0
    difficult: int = 0
    empty: int = 0
    names: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, image: LabelledImage) -> None:
        """Count one image."""
        self.images += 1
        self.boxes.update(image.classes)
        self.flat += int(is_degenerate(image.boxes_px).sum())
        self.difficult += sum(image.difficult)
        self.empty += not image.classes
        self.names.append(_hash(image))


@dataclass(frozen=True)
class DataSet:
    """Channels of labelled images under one list of classes; a class id is a place in the list."""

    table: ClassTable
    channels: Mapping[str, Images]
    surveys: Mapping[str, Survey]

    @classmethod
    def build(
        cls,
        channels: Mapping[str, Images],
        class_names: Sequence[str] | None,
        step: Step = lambda: None,
    ) -> DataSet:
        """Read all images once and number their classes (see `ClassTable.build`).

        Raises one ClientError for the images that cannot be understood; for classes that cannot be
        numbered; and for images of one channel with the same name.
        """
        offenders = Offenders()
        surveys = {name: _survey(images, offenders, step) for name, images in channels.items()}
        offenders.refuse("The data cannot be converted")
        for name, images in channels.items():
            _find_repeated(name, images, surveys[name], offenders)
        offenders.refuse("Take each image once")
        counts: Counter[ClassKey] = Counter()
        for survey in surveys.values():
            counts.update(survey.boxes)
        splits = [split for images in channels.values() for split in images.splits]
        table = ClassTable.build(counts, splits, class_names)
        return cls(table, channels, surveys)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names, class id 0 first."""
        return self.table.names

    @property
    def has_difficult(self) -> bool:
        """Whether any object is marked as difficult."""
        return any(survey.difficult for survey in self.surveys.values())

    def class_ids(self, image: LabelledImage) -> list[int]:
        """Class ids of an image's objects."""
        return [self.table.ids[key] for key in image.classes]

    def boxes_per_class(self, channel: str) -> Counter[str]:
        """Number of boxes of each class in one channel."""
        counts: Counter[str] = Counter()
        for key, count in self.surveys[channel].boxes.items():
            counts[self.class_names[self.table.ids[key]]] += count
        return counts


def _survey(images: Images, offenders: Offenders, step: Step) -> Survey:
    survey = Survey()
    for number, split, index in images.places():
        try:
            survey.add(images.read(split, index, number))
        except ClientError as error:
            for fault in error.faults:
                offenders.add(fault)
        step()
    return survey


def _hash(image: LabelledImage) -> int:
    name = (image.name or "").encode("utf-8", "surrogateescape")
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "little")


def _find_repeated(channel: str, images: Images, survey: Survey, offenders: Offenders) -> None:
    """Tell of images that share a name; reads the channel again if hashes repeat."""
    values, occurrences = np.unique(np.array(survey.names, np.uint64), return_counts=True)
    repeated = set(values[occurrences > 1].tolist())
    if not repeated:
        return
    names = Counter(image.name for image in images if _hash(image) in repeated)
    for name, count in names.items():
        if count > 1:
            offenders.add(f"Channel '{channel}': the image '{name}' occurs {count} times.")
