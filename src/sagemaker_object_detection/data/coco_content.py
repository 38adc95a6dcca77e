"""What a COCO file lists, checked entry by entry and against the images that are there."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.data.annotations import shown
from sagemaker_object_detection.data.coco_ids import NO_ID, find, whole
from sagemaker_object_detection.data.coco_stream import Entry, entries
from sagemaker_object_detection.data.column import Column
from sagemaker_object_detection.data.listing import Listing
from sagemaker_object_detection.data.refusal import Offenders

_WANTED = {
    "images": frozenset({"id", "file_name", "width", "height"}),
    "annotations": frozenset({"id", "image_id", "category_id", "bbox", "iscrowd"}),
    "categories": frozenset({"id", "name"}),
}
_LARGEST_PX = 1e7
_LARGEST_SIDE = 10**6
_CROWD = NO_ID


class CocoContent:
    """The lists of a COCO file, in flat arrays.

    Args:
        path: the file.
        listing: the files of the images' channel.

    Attributes:
        files: of every image its place in the listing; sizes: its width and height.
        boxes: xywh in pixels of every annotation, crowds included.
        crowd_boxes: how many of them are of crowds.
    """

    def __init__(self, path: Path, listing: Listing) -> None:
        self._path = path
        self._listing = listing
        self._offenders = Offenders()
        self._ids = Column("q")
        self.files = Column("i")
        self.sizes = Column("i")
        self._image_of = array("i", [-1]) * len(listing)
        self._categories: dict[int, str] = {}
        self._names: set[str] = set()
        self._image_ids = Column("q")
        self._category_ids = Column("q")
        self.boxes = Column("f")
        self.crowd_boxes = 0
        readers = {
            "images": self._add_image,
            "annotations": self._add_box,
            "categories": self._add_category,
        }
        listed = 0
        for entry in entries(path, _WANTED):
            listed += entry.key == "categories"
            if entry.value is None:
                self._fault(entry, "is not an object. Remove it")
            else:
                readers[entry.key](entry, entry.value)
        if not listed:
            self._offenders.add(f"{path}: the list categories is empty. Add every class to it.")
        self._check_ids()

    def refuse(self) -> None:
        """Raise ClientError for what was found to be wrong so far."""
        self._offenders.refuse(f"{self._path} and {self._listing.folder} do not go together")

    def category_names(self) -> tuple[str, ...]:
        """Names in the order of the categories' ids."""
        return tuple(name for _, name in sorted(self._categories.items()))

    def places(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Number of the image and class id of every annotation; class id -1 for crowds.

        To be called once, and after `refuse`: the ids are forgotten, to make room, and only where
        nothing is wrong does every annotation have its place.
        """
        records = find(self._ids.array(), self._image_ids.array())
        self._image_ids = Column("q")
        crowd = self._category_ids.array() == _CROWD
        categories = np.array(sorted(self._categories), np.int64)
        class_ids = find(categories, self._category_ids.array())
        self._category_ids = Column("q")
        rows = np.flatnonzero(((records < 0) | (class_ids < 0)) & ~crowd)
        if len(rows):
            self._refuse_annotations(rows, records)
        class_ids[crowd] = -1
        return records, class_ids

    def _fault(self, entry: Entry, what: str) -> None:
        given = entry.value.get("id") if entry.value else None
        named = "" if given is None else f" (id {shown(given)})"
        self._offenders.add(f"{self._path}, {entry.key}[{entry.number}]{named}: {what}.")

    def _add_image(self, entry: Entry, value: Mapping[str, Any]) -> None:
        image_id, width, height = (whole(value.get(key)) for key in ("id", "width", "height"))
        if image_id is None:
            self._fault(entry, f"id is {shown(value.get('id'))}. Give the image a whole number")
            return
        for side, number in (("width", width), ("height", height)):
            if number is None or not 0 < number <= _LARGEST_SIDE:
                self._fault(
                    entry,
                    f"{side} is {shown(value.get(side))}, not a number of pixels. Write the size "
                    "of the image as it is stored",
                )
                return
        file = self._file(entry, value.get("file_name"))
        if file is None or width is None or height is None:
            return
        if self._image_of[file] >= 0:
            other = self._image_of[file]
            self._fault(
                entry,
                f"file_name {shown(value['file_name'])} is the file of images[{other}] too. Keep "
                "one, with the annotations of both",
            )
            return
        self._image_of[file] = entry.number
        self._ids.append(image_id)
        self.files.append(file)
        self.sizes.append(width)
        self.sizes.append(height)

    def _file(self, entry: Entry, file_name: object) -> int | None:
        """Where the image is in the listing; None after a fault."""
        if not isinstance(file_name, str) or not file_name:
            self._fault(entry, f"file_name is {shown(file_name)}. Write the image's file name")
            return None
        found = self._listing.resolve(file_name)
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(self._listing.names[one] for one in found)
            self._fault(
                entry,
                f"file_name {shown(file_name)} can be several images: {names}. Write the path "
                "inside of the channel",
            )
        else:
            self._fault(
                entry,
                f"there is no file {shown(file_name)} in {self._listing.folder}. Add the image or "
                "remove the entry with its annotations",
            )
        return None

    def _add_category(self, entry: Entry, value: Mapping[str, Any]) -> None:
        category, name = whole(value.get("id")), value.get("name")
        if category is None:
            self._fault(entry, f"id is {shown(value.get('id'))}. Give it a whole number")
        elif not isinstance(name, str) or not name.strip():
            self._fault(entry, f"name is {shown(name)}. Give the category a name")
        elif category in self._categories:
            self._fault(
                entry,
                f"the category {shown(self._categories[category])} has that id too. Give every "
                "category its own id",
            )
        elif name in self._names:
            self._fault(
                entry,
                f"another category is called {shown(name)} too. Give every category its own name",
            )
        else:
            self._categories[category] = name
            self._names.add(name)

    def _add_box(self, entry: Entry, value: Mapping[str, Any]) -> None:
        iscrowd = value.get("iscrowd")
        if iscrowd in (1, "1"):
            self.crowd_boxes += 1
            self._append(0, _CROWD, (0, 0, 0, 0))
            return
        image_id, category = whole(value.get("image_id")), whole(value.get("category_id"))
        bbox = value.get("bbox")
        if iscrowd not in (None, 0, "0"):
            self._fault(
                entry, f"iscrowd is {shown(iscrowd)}. Write 1 where it is of a crowd, or else 0"
            )
        elif image_id is None:
            self._fault(
                entry, f"image_id is {shown(value.get('image_id'))}. Write the id of its image"
            )
        elif category is None:
            self._fault(
                entry,
                f"category_id is {shown(value.get('category_id'))}. Write the id of its category",
            )
        elif bbox is None or not _is_box(bbox):
            self._fault(
                entry,
                f"bbox is {shown(bbox)}, not four numbers. Write [left, top, width, height] in "
                "pixels",
            )
        else:
            self._append(image_id, category, bbox)

    def _append(self, image_id: int, category: int, bbox: Sequence[float]) -> None:
        self._image_ids.append(image_id)
        self._category_ids.append(category)
        for number in bbox:
            self.boxes.append(number)

    def _check_ids(self) -> None:
        """Ids that two images have."""
        ids, files = self._ids.array(), self.files.array()
        order = np.argsort(ids, kind="stable")
        again = np.zeros(len(ids), bool)
        again[1:] = ids[order[1:]] == ids[order[:-1]]
        for place in np.flatnonzero(again):
            one, other = (self._image_of[files[row]] for row in order[[place - 1, place]])
            self._offenders.add(
                f"{self._path}, images[{other}]: id {ids[order[place]]} is the id of images[{one}] "
                "too. Give every image its own id."
            )

    def _refuse_annotations(self, rows: NDArray[np.int64], records: NDArray[np.int32]) -> None:
        """Say of annotations which image or category they miss; the file is read once more."""
        wanted = iter(rows)
        row = next(wanted)
        for entry in entries(self._path, {"annotations": _WANTED["annotations"]}):
            if entry.number != row or entry.value is None:
                continue
            if records[row] < 0:
                self._fault(
                    entry,
                    f"no image has the id {whole(entry.value.get('image_id'))} that its image_id "
                    "says. Add the image to the list or remove the annotation",
                )
            else:
                self._fault(
                    entry,
                    f"no category has the id {whole(entry.value.get('category_id'))} that its "
                    "category_id says. Add the category to the list or remove the annotation",
                )
            row = next(wanted, -1)


def _is_box(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(type(number) in (int, float) for number in value)
        and all(math.isfinite(number) and abs(number) <= _LARGEST_PX for number in value)
    )
