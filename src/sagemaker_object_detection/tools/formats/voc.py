"""Read data in the layout of Pascal VOC: Annotations, JPEGImages and ImageSets/Main.

Coordinates there count pixels from 1; 1 is taken from all four of them, as GluonCV does. So a box
from 1 to the last pixel of a 100 pixel side becomes 0..99.
"""

import xml.etree.ElementTree as ElementTree
from array import array
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from xml.parsers.expat import ErrorString

import numpy as np

from sagemaker_object_detection.images import ImageError
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.formats.record import (
    LabelledImage,
    is_safe_name,
    size_of_file,
)
from sagemaker_object_detection.tools.formats.text_files import read_lines

_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocSplit:
    """The images that ``ImageSets/Main/<split>.txt`` names, in its order.

    An image that cannot be decoded is kept if its annotation declares a size: training drops and
    counts it. Raises ClientError for a list that is missing, empty or no text.
    """

    class_order: Sequence[str] = ()
    class_names: Mapping[int, Set[str]] = {}
    left_out: Sequence[str] = ()

    def __init__(self, source: Path, split: str) -> None:
        self._source = source
        self._list = source / "ImageSets" / "Main" / f"{split}.txt"
        lines = _lines(self._list)
        self._identifiers = [line for line in lines if line]
        self._numbers = array("q", [number for number, line in enumerate(lines, 1) if line])
        if not self._identifiers:
            raise ClientError(
                f"{self._list} names no images. Write one identifier a line, without suffix."
            )

    def __len__(self) -> int:
        return len(self._identifiers)

    def read(self, index: int) -> LabelledImage:
        """One image and its objects.

        Raises ClientError for missing or unreadable files, an object that is not complete, and a
        declared size that is not the image's.
        """
        place = f"{self._list}, line {self._numbers[index]}"
        return _read_one(self._source, place, self._identifiers[index])


def _lines(path: Path) -> list[str]:
    """The lines of a split's list, without white space around them."""
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in path.parent.glob("*.txt"))) or "none"
        raise ClientError(
            f"{path} does not exist. Choose a split that is there (found: {there}), and give the "
            "folder that has Annotations, JPEGImages and ImageSets in it."
        )
    return read_lines(path)


def _read_one(source: Path, place: str, identifier: str) -> LabelledImage:
    if not is_safe_name(identifier):
        raise ClientError(f"{place}: '{identifier}' leads out of the data set. Mend that line.")
    annotation = source / "Annotations" / f"{identifier}.xml"
    if not annotation.is_file():
        raise ClientError(f"{place}: {annotation} does not exist. Add it, or remove the line.")
    root = _parse(annotation)
    stem = source / "JPEGImages" / identifier
    candidates = [stem.with_name(stem.name + suffix) for suffix in _SUFFIXES]
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        raise ClientError(
            f"{place}: {candidates[0]} does not exist, nor one with another suffix "
            f"({', '.join(_SUFFIXES[1:3])}). Add the image, or remove the line."
        )
    objects = root.findall("object")
    boxes = [_box(node, f"{annotation}, object {number}") for number, node in enumerate(objects)]
    return LabelledImage(
        place=str(path),
        name=identifier + path.suffix,
        size=_size(root, annotation, path),
        boxes_px=np.array(boxes, np.float64).reshape(-1, 4),
        classes=tuple(
            _class_name(node, f"{annotation}, object {number}")
            for number, node in enumerate(objects)
        ),
        difficult=tuple((node.findtext("difficult") or "0").strip() == "1" for node in objects),
        read_image=path.read_bytes,
    )


def _parse(annotation: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(annotation).getroot()
    except ElementTree.ParseError as error:
        line, column = error.position
        raise ClientError(
            f"{annotation}, line {line}, column {column + 1}: not valid XML "
            f"({ErrorString(error.code)}). Mend the file at that place."
        ) from None
    except (LookupError, ValueError) as error:
        raise ClientError(
            f"{annotation}: the XML is in an encoding that cannot be read ({error}). Save the file "
            "as UTF-8."
        ) from None


def _class_name(node: ElementTree.Element, place: str) -> str:
    name = (node.findtext("name") or "").strip()
    if not name:
        raise ClientError(f"{place}: no class <name>. Add it, or remove the object.")
    return name


def _box(node: ElementTree.Element, place: str) -> list[float]:
    """The four corners, counted from 0."""
    corners = []
    for tag in _CORNERS:
        text = node.findtext(f"bndbox/{tag}")
        try:
            value = float(text) if text is not None else np.nan
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            found = "missing" if text is None else repr(text.strip())
            raise ClientError(
                f"{place}: <{tag}> is {found}, it must be a number of pixels. Mend it, or remove "
                "the object."
            )
        corners.append(value - 1)
    return corners


def _size(root: ElementTree.Element, annotation: Path, path: Path) -> tuple[int, int]:
    """Width and height of the stored picture, compared with what the annotation declares."""
    texts = [(root.findtext(f"size/{tag}") or "0").strip() for tag in ("width", "height")]
    try:
        declared = (int(float(texts[0])), int(float(texts[1])))
    except (ValueError, OverflowError):
        declared = (0, 0)
    try:
        stored = size_of_file(path)
    except ImageError as error:
        if min(declared) > 0:
            return declared
        raise ClientError(
            f"{error}, and {annotation} declares no size. Mend one of the two, or remove the image "
            "from the split."
        ) from None
    if min(declared) > 0 and declared != stored:
        raise ClientError(
            f"{annotation}: <size> is {declared[0]} x {declared[1]}, but {path} has "
            f"{stored[0]} x {stored[1]} pixels: what do the boxes refer to? Mend the annotation, "
            "or remove the image from the split."
        )
    return stored
