"""What a source gives, and the labelled data set that the gate makes of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from sagemaker_object_detection.data.class_names import AnnotatedNames


@dataclass(frozen=True)
class RawRecord:
    """One record as the input has it, before any check of its image or boxes.

    Attributes:
        image: the encoded picture.
        boxes: float64 (n, 4), xyxy; in 0..1, or in pixels of `declared_size` when that is given.
        class_ids: int64 (n,).
        difficult: bool (n,).
        declared_size: (width, height) the annotation claims; None where it claims none.
        label_name: what to call the label in a message, where it is not in the record itself.
    """

    image: bytes
    boxes: NDArray[Any]
    class_ids: NDArray[Any]
    difficult: NDArray[Any]
    declared_size: tuple[int, int] | None = None
    label_name: str | None = None


class Labels(NamedTuple):
    """Objects of one record that passed the gate.

    boxes: float32 (n, 4), xyxy in 0..1, clipped. class_ids: int32 (n,). difficult: bool (n,).
    """

    boxes: NDArray[Any]
    class_ids: NDArray[Any]
    difficult: NDArray[Any]


class Source(ABC):
    """Indexed records; every method may be called from several threads at once.

    Attributes:
        listed_names: of the classes of a source that numbers them by itself, class id 0 first.
    """

    listed_names: tuple[str, ...] = ()

    @property
    def found_names(self) -> AnnotatedNames:
        """What the records read so far call their classes."""
        return AnnotatedNames()

    @property
    def unannotated(self) -> Sequence[str]:
        """Images left out since nothing annotates them."""
        return ()

    @property
    def remarks(self) -> Sequence[str]:
        """Sentences on how the records were read so far, and what of them was left out."""
        return ()

    def renumber(self, names: Sequence[str]) -> None:
        """Number the classes by their places in `names`, which has all of `listed_names`."""
        raise NotImplementedError

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """What to call the record in a message: its file, and its number within the file."""

    def image_name(self, index: int) -> str | None:
        """The image's path inside its folder; None where it has none."""
        return None

    @abstractmethod
    def read(self, index: int) -> RawRecord:
        """Image and label. Raises ClientError for a label that cannot be understood."""

    @abstractmethod
    def read_image(self, index: int) -> bytes:
        """The encoded picture alone."""


@dataclass(frozen=True)
class Dataset:
    """Records that passed the gate; labels in memory, pictures in the source.

    Attributes:
        source: where the pictures are.
        indices: int32 (k,), the records of the source that passed.
        offsets: int32 (k + 1,), record i owns boxes[offsets[i]:offsets[i + 1]].
        boxes: float32 (total, 4), xyxy in 0..1, clipped.
        class_ids: int32 (total,).
        difficult: bool (total,).
    """

    source: Source
    indices: NDArray[Any]
    offsets: NDArray[Any]
    boxes: NDArray[Any]
    class_ids: NDArray[Any]
    difficult: NDArray[Any]

    def __len__(self) -> int:
        return len(self.indices)

    def name(self, index: int) -> str:
        """The record's name in messages."""
        return self.source.name(int(self.indices[index]))

    def image(self, index: int) -> bytes:
        """The encoded picture."""
        return self.source.read_image(int(self.indices[index]))

    def labels(self, index: int) -> Labels:
        """The objects of one record."""
        span = slice(self.offsets[index], self.offsets[index + 1])
        return Labels(self.boxes[span], self.class_ids[span], self.difficult[span])
