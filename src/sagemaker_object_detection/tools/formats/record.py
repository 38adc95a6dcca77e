"""The values between readers and writers of data sets: an image and its objects, and a split."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sagemaker_object_detection.boxes import check_boxes
from sagemaker_object_detection.images import ImageError, decode, displayed_size
from sagemaker_object_detection.platform.errors import ClientError

Boxes = npt.NDArray[np.float64]
ClassKey = str | int
"""A class as a format tells it: by name, or by number where it counts classes from 0."""

_SUFFIXES = (
    (b"\xff\xd8", ".jpg"),
    (b"\x89PNG", ".png"),
    (b"RIFF", ".webp"),
    (b"BM", ".bmp"),
)


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """An encoded image with its objects, nothing of it dropped or mended.

    ``place``: what messages call it; ``name``: its path inside the data set, relative, with ``/``,
    None where the format names no images; ``size``: (width, height) that the boxes refer to, the
    stored one unless the annotation says otherwise; ``boxes_px``: (n, 4) xyxy, the pixel in the top
    left corner is 0..1; ``classes`` and ``difficult``: n each; ``read_image``: gives the encoded
    bytes. Raises ValueError when they disagree.
    """

    place: str
    name: str | None
    size: tuple[int, int]
    boxes_px: Boxes
    classes: tuple[ClassKey, ...]
    difficult: tuple[bool, ...]
    read_image: Callable[[], bytes]

    def __post_init__(self) -> None:
        count = len(check_boxes(self.boxes_px))
        if not count == len(self.classes) == len(self.difficult):
            raise ValueError(
                f"{self.place}: {count} boxes, {len(self.classes)} classes and "
                f"{len(self.difficult)} difficult flags"
            )
        if min(self.size) < 1:
            raise ValueError(f"{self.place}: expected a size of at least 1 x 1, got {self.size}")
        if self.name is not None and not is_safe_name(self.name):
            raise ValueError(f"{self.place}: {self.name!r} is not a path inside the data set")


class Split(Protocol):
    """The images of one split. They are read when asked for, as often as asked for."""

    @property
    def class_order(self) -> Sequence[str]:
        """Names of the classes in the order that the split numbers them; () where it has none."""

    @property
    def class_names(self) -> Mapping[int, Set[str]]:
        """Names of classes told by number, complete once all images were read."""

    @property
    def left_out(self) -> Sequence[str]:
        """Sentences on what of the split is not among the images."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> LabelledImage:
        """One image. Raises ClientError for what cannot be understood."""
        ...


def is_safe_name(name: str) -> bool:
    """Whether this is text, and as a relative path stays inside the folder it is joined to."""
    path = PurePosixPath(name)
    safe = bool(path.parts) and not path.is_absolute() and ".." not in path.parts
    return safe and is_text(name)


def is_text(name: str) -> bool:
    """False for file names that are not UTF-8, and for halves of characters out of JSON."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in name


def suffix_of(data: bytes) -> str:
    """The suffix that fits an encoded image, by its first bytes, of those that training looks for.

    Of any other form, such as TIFF, it is .jpg: training goes by the bytes.
    """
    return next((suffix for magic, suffix in _SUFFIXES if data.startswith(magic)), ".jpg")


def size_of_file(path: Path) -> tuple[int, int]:
    """Displayed width and height of an image file: by its header or, where that fails, decoded.

    Raises ImageError when there is none and it cannot be decoded.
    """
    return size_of_bytes(path.read_bytes(), str(path))


def size_of_bytes(data: bytes, name: str) -> tuple[int, int]:
    """As `size_of_file`, of a picture in memory that errors call `name`."""
    if (declared := displayed_size(data)) is not None:
        return declared
    height, width = decode(data, name).shape[:2]
    return width, height


def check_size(
    declared: tuple[int, int] | None, stored: Callable[[], tuple[int, int]], where: str
) -> tuple[int, int]:
    """The size that boxes refer to: the declared one, or the stored one where none is declared.

    A declared size is believed if the picture tells none. Raises ClientError when neither is known,
    and when the declared size is the stored one turned by 90 degrees: training would drop the
    image, and formats without a size would make its boxes wrong for good.
    """
    try:
        size = stored()
    except ImageError as error:
        if declared is not None:
            return declared
        raise ClientError(
            f"{where}: {error}, and no size is declared. Mend the image, or remove it from the "
            "split."
        ) from None
    if declared is None:
        return size
    if declared == size[::-1] != size:
        raise ClientError(
            f"{where}: the annotation says {declared[0]} x {declared[1]}, the stored picture is "
            f"{size[0]} x {size[1]}: it was turned by its orientation tag when it was labelled. "
            "Store the picture turned, without the tag, or remove it from the split."
        )
    return declared
