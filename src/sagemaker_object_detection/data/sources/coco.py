"""Images with one COCO file: ``{"images": [...], "annotations": [...], "categories": [...]}``.

The format is that of https://cocodataset.org/#format-data, object detection. Exports of real tools
write ids and numbers as text or as floats: those are numbers here too.
"""

from __future__ import annotations

from array import array
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from sagemaker_object_detection.data.annotations import load, shown
from sagemaker_object_detection.data.dataset import RawRecord, Source
from sagemaker_object_detection.data.listing import Listing, is_image, unlisted_remark
from sagemaker_object_detection.data.refusal import Offenders
from sagemaker_object_detection.platform import files
from sagemaker_object_detection.platform.errors import ClientError

_BOX_KEYS = ("image_id", "category_id", "bbox")
_CROWDS = (1, "1", True)
_SLACK_PX = 1.0

_Id = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Side = Annotated[int, Meta(gt=0, le=10**6)]
_Pixels = Annotated[float, Meta(ge=-1e7, le=1e7)]


class _Image(Struct, gc=False):
    id: _Id
    width: _Side
    height: _Side
    file_name: Annotated[str, Meta(min_length=1)]


class _Annotation(Struct, gc=False):
    image_id: _Id | None = None
    category_id: _Id | None = None
    bbox: tuple[_Pixels, _Pixels, _Pixels, _Pixels] | None = None
    iscrowd: Annotated[int, Meta(ge=0, le=1)] | bool | None = None


class _Category(Struct, gc=False):
    id: _Id
    name: Annotated[str, Meta(pattern=r"\S")]


class _Images(Struct):
    images: list[_Image]
    categories: Annotated[list[_Category], Meta(min_length=1)]


class _Boxes(Struct):
    annotations: list[_Annotation]


_Lists = TypeVar("_Lists", _Images, _Boxes)


_ENTRIES: Mapping[str, type[Struct]] = {
    "images": _Image,
    "annotations": _Annotation,
    "categories": _Category,
}
_FIXES = {
    "id": "Give it a whole number",
    "width": "Write the size of the image in pixels",
    "height": "Write the size of the image in pixels",
    "file_name": "Write the image's file name",
    "image_id": "Write the id of its image",
    "category_id": "Write the id of its category",
    "bbox": "Write [left, top, width, height] in pixels",
    "iscrowd": "Write 1 for a crowd, or else 0",
    "name": "Give the category a name",
}


class CocoSource(Source):
    """The records that a COCO file lists, in its order.

    Attributes:
        listed_names: the categories in the ascending order of their ids.
        crowd_boxes: boxes that are skipped since they are of crowds (`iscrowd`).
        unlisted: images of the folder that the file does not list.
        unannotated: empty; an image without annotation is one without objects.

    Raises:
        ClientError: the file is not JSON or lacks a list; or, with up to ten offenders, entries
            are incomplete or contradict each other, or images are not in the folder; boxes are
            corners.
    """

    unannotated: Sequence[str] = ()
    _numbers: NDArray[Any]

    def __init__(self, images: Path, annotation_file: Path) -> None:
        self._file = annotation_file
        self._folder = images
        offenders = Offenders()
        text = files.content(str(annotation_file)).removeprefix(BOM_UTF8)
        images_by_id, categories_by_id = self._take_images(text, offenders)
        # Only now: of a large file both lists at once would take twice the memory.
        boxes = self._read(text, _Boxes, offenders).annotations
        del text
        self._take(boxes, images_by_id, categories_by_id, offenders)
        self._refuse(offenders)
        self._sort()

    @property
    def remarks(self) -> Sequence[str]:
        """What of the file and of the folder is not used."""
        crowd = f"{self._file}: {self.crowd_boxes} boxes of crowds (iscrowd) are left out."
        return (crowd,) * bool(self.crowd_boxes) + unlisted_remark(self.unlisted, self._file)

    def renumber(self, names: Sequence[str]) -> None:
        """Number the categories by their places in `names`."""
        new = np.array([names.index(name) for name in self.listed_names], np.int64)
        self._numbers = new[self._numbers]
        self.listed_names = tuple(names)

    def __len__(self) -> int:
        return len(self._names)

    def image_name(self, index: int) -> str:
        """Relative to the folder of the images."""
        return self._names[index]

    def name(self, index: int) -> str:
        """The image's file."""
        return f"{self._folder}/{self._names[index]}"

    def read(self, index: int) -> RawRecord:
        """Image and boxes, corners in pixels of the size that the file declares."""
        rows = self._order[self._offsets[index] : self._offsets[index + 1]]
        boxes = self._boxes[rows].astype(np.float64)
        boxes[:, 2:] += boxes[:, :2]
        return RawRecord(
            self.read_image(index),
            boxes,
            self._numbers[self._class_ids[rows]],
            np.zeros(len(boxes), dtype=bool),
            (int(self._sizes[index, 0]), int(self._sizes[index, 1])),
        )

    def read_image(self, index: int) -> bytes:
        """The encoded image alone."""
        return files.content(self.name(index))

    def _refuse(self, offenders: Offenders) -> None:
        offenders.refuse(f"{self._file} and {self._folder} do not match")

    def _take_images(self, text: bytes, offenders: Offenders) -> tuple[NDArray[Any], NDArray[Any]]:
        """Keep images and categories; the ids of records, and of classes."""
        listing = Listing.of(self._folder)
        content = self._read(text, _Images, offenders)
        places = self._places(content.images, listing, offenders)
        self.listed_names = self._categories(content.categories, offenders)
        self._refuse(offenders)
        self._names = [listing.names[place] for place in places]
        self._sizes = np.array([(i.width, i.height) for i in content.images], np.int32)
        self._numbers = np.arange(len(self.listed_names))
        self.unlisted = sum(map(is_image, listing.names)) - sum(map(is_image, self._names))
        return (
            np.array([image.id for image in content.images], np.int64),
            np.array(sorted(category.id for category in content.categories), np.int64),
        )

    def _read(self, text: bytes, lists: type[_Lists], offenders: Offenders) -> _Lists:
        """These lists of the file. Raises ClientError for entries that are wrong in any list."""
        try:
            return msgspec.json.decode(text, type=lists, strict=False)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # find out what is wrong
        found = _checked(self._file, offenders)
        self._refuse(offenders)
        return lists(**{key: found[key] for key in lists.__struct_fields__})

    def _places(
        self, images: Sequence[_Image], listing: Listing, offenders: Offenders
    ) -> list[int]:
        """The file of every image, by its place in the listing."""
        places: list[int] = []
        first: dict[int, int] = {}
        ids: dict[int, int] = {}
        for number, image in enumerate(images):
            where = f"{self._file}, images[{number}] (id {image.id})"
            name = shown(image.file_name)
            found = listing.resolve(image.file_name)
            other = ids.setdefault(image.id, number)
            if other != number:
                offenders.add(
                    f"{where}: images[{other}] has that id too. Give every image its own id."
                )
            if not found:
                offenders.add(
                    f"{where}: there is no file {name} in {listing.folder}. Add the image or "
                    "remove the entry with its annotations."
                )
            elif len(found) > 1:
                names = ", ".join(listing.names[one] for one in found[:5])
                offenders.add(
                    f"{where}: file_name {name} can be several images: {names}. Write the path "
                    "inside of the channel."
                )
            elif (other := first.setdefault(found[0], number)) != number:
                offenders.add(
                    f"{where}: file_name {name} is the file of images[{other}] too. Keep one, with "
                    "the annotations of both."
                )
            else:
                places.append(found[0])
        return places

    def _categories(self, categories: Sequence[_Category], offenders: Offenders) -> tuple[str, ...]:
        names = Counter(category.name.strip() for category in categories)
        ids = Counter(category.id for category in categories)
        for what, values in (("id", ids), ("name", names)):
            for value, count in values.items():
                if count > 1:
                    offenders.add(
                        f"{self._file}: {count} categories have the {what} {shown(value)}. Give "
                        f"every category its own {what}."
                    )
        return tuple(c.name.strip() for c in sorted(categories, key=lambda category: category.id))

    def _take(
        self,
        annotations: Sequence[_Annotation],
        image_ids: NDArray[Any],
        category_ids: NDArray[Any],
        offenders: Offenders,
    ) -> None:
        """Keep the boxes, with the image and the class of each."""
        kept = [a for a in annotations if not a.iscrowd]
        self.crowd_boxes = len(annotations) - len(kept)
        self._image_of = _find(image_ids, [a.image_id for a in kept])
        self._class_ids = _find(category_ids, [a.category_id for a in kept])
        boxes = [a.bbox for a in kept]
        if -1 in self._image_of or -1 in self._class_ids or None in boxes:
            known = set(image_ids.tolist()), set(category_ids.tolist())
            ids = [entry.get("id") for entry in _load(self._file)["annotations"]]
            for row, a in enumerate(annotations):
                if not a.iscrowd and (fault := _fault(a, *known)):
                    named = "" if ids[row] is None else f" (id {shown(ids[row])})"
                    offenders.add(f"{self._file}, annotations[{row}]{named}: {fault}.")
            return
        flat = array("f", chain.from_iterable(cast(list[tuple[float, ...]], boxes)))
        self._boxes = np.frombuffer(flat, np.float32).reshape(-1, 4)

    def _sort(self) -> None:
        """Put the boxes in the order of the images that they are of."""
        self._refuse_corners(self._image_of)
        self._order = np.argsort(self._image_of, kind="stable").astype(np.int32)
        counts = np.bincount(self._image_of, minlength=len(self._names))
        self._offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        del self._image_of

    def _refuse_corners(self, image_of: NDArray[Any]) -> None:
        """Raises ClientError where bbox must be [xmin, ymin, xmax, ymax].

        That is so where most boxes overhang their images, and none would if they were corners.
        """
        if not len(image_of):
            return
        sizes = self._sizes[image_of] + _SLACK_PX
        boxes = self._boxes
        overhang = (boxes[:, :2] + boxes[:, 2:] > sizes).any(axis=1)
        corners = (boxes[:, 2:] > boxes[:, :2]).all(axis=1) & (boxes[:, 2:] <= sizes).all(axis=1)
        if 2 * overhang.sum() > len(boxes) and corners.all():
            raise ClientError(
                f"{self._file}: {overhang.sum()} of {len(boxes)} boxes reach out of their images "
                "as [left, top, width, height], and none would as [xmin, ymin, xmax, ymax]. bbox "
                "seems to hold corners, as the TensorFlow algorithms write it: COCO wants width "
                "and height, xmax - xmin and ymax - ymin."
            )


def _find(ids: NDArray[Any], wanted: Sequence[int | None]) -> NDArray[Any]:
    """Where each wanted id stands among `ids`; -1 for one that is not there."""
    if not len(ids) or None in wanted:
        return np.full(len(wanted), -1, np.int32)
    order = np.argsort(ids)
    values = np.array(wanted, np.int64)
    places = order[np.searchsorted(ids, values, sorter=order).clip(max=len(ids) - 1)]
    return np.where(ids[places] == values, places, -1).astype(np.int32)


def _fault(annotation: _Annotation, images: Set[int], categories: Set[int]) -> str | None:
    for key in _BOX_KEYS:
        if getattr(annotation, key) is None:
            return f"{key} is missing. {_FIXES[key]}"
    for what, ids in (("image", images), ("category", categories)):
        value = getattr(annotation, f"{what}_id")
        if value not in ids:
            return (
                f"no {what} has the id {value} that its {what}_id says. Add the {what} to the list "
                "or remove the annotation"
            )
    return None


def _load(path: Path) -> Any:  # noqa: ANN401
    """The file as it is, for messages; names line and column of what is not JSON."""
    return load(files.content(str(path)).removeprefix(BOM_UTF8), str(path))


def _checked(path: Path, offenders: Offenders) -> dict[str, list[Any]]:
    """The lists of a file, without the entries that are wrong, which are offenders."""
    content = _load(path)
    missing = [key for key in _ENTRIES if not isinstance(content, dict) or key not in content]
    if missing:
        names = " and ".join(f'"{key}"' for key in missing)
        corners = ""
        if missing == ["categories"]:
            corners = (
                " If it is the annotations.json of a TensorFlow algorithm, its bbox is [xmin, "
                "ymin, xmax, ymax]: turn that into [left, top, width, height] too."
            )
        raise ClientError(
            f'{path}: it has no list {names}. A COCO file is {{"images": [...], "annotations": '
            f'[...], "categories": [...]}}; write the file again.{corners}'
        )
    lists: dict[str, list[Any]] = {}
    for key, entry in _ENTRIES.items():
        entries = content[key] if isinstance(content, dict) else None
        if not isinstance(entries, list) or (key == "categories" and not entries):
            offenders.add(
                f"{path}, {key}: {shown(entries)} is not a list with all {key} in it. Write it."
            )
            entries = []
        checked = (
            _entry(f"{path}, {key}[{number}]", value, entry, offenders)
            for number, value in enumerate(entries)
        )
        lists[key] = [value for value in checked if value is not None]
    return lists


def _entry(where: str, value: object, entry: type[Struct], offenders: Offenders) -> Struct | None:
    """One entry by itself; None, and an offender, where it is wrong."""
    if not isinstance(value, dict):
        offenders.add(f"{where} is {shown(value)}, not an object. Remove it.")
        return None
    if entry is _Annotation and value.get("iscrowd") in _CROWDS:  # skipped, whatever it has
        return _Annotation(iscrowd=1)
    try:
        known = {key: _text(value[key]) for key in entry.__struct_fields__ if key in value}
        found: Struct = msgspec.convert(known, entry, strict=False)
        key = next((key for key in _BOX_KEYS if getattr(found, key, "") is None), None)
    except msgspec.ValidationError as error:
        text = str(error)
        key = next((key for key in _FIXES if f"$.{key}" in text or f"`{key}`" in text), "id")
    if key is None:
        return found
    named = f" (id {shown(value['id'])})" if value.get("id") is not None else ""
    given = shown(value[key]) if key in value else "missing"
    offenders.add(f"{where}{named}: {key} is {given}. {_FIXES[key]}.")
    return None


def _text(value: object) -> object:
    """A text without half characters, which JSON can write and msgspec does not take."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value
