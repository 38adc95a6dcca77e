"""Images with one COCO file: ``{"images": [...], "annotations": [...], "categories": [...]}``.

The format is that of https://cocodataset.org/#format-data, object detection. In memory a box takes
21 bytes and an image some 20 beside its name; while the file is read, 40 and 50.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np

from sagemaker_object_detection.data.coco_content import CocoContent
from sagemaker_object_detection.data.dataset import RawRecord
from sagemaker_object_detection.data.listing import Listing, is_image
from sagemaker_object_detection.platform import files
from sagemaker_object_detection.platform.errors import ClientError

_SHOWN_NAMES = 20


class CocoSource:
    """The records that a COCO file lists, in its order.

    Attributes:
        category_names: of the class ids 0..n-1, which stand for the categories in the ascending
            order of their ids.
        crowd_boxes: boxes left out since they are of crowds (`iscrowd`) and not of one object.
        unlisted: images of the folder that the file does not list.
        unannotated: empty; an image without annotation is one without objects.

    Raises:
        ClientError: the file is not JSON or lacks a list; or, with up to ten offenders, entries
            are incomplete or contradict each other, or images are not in the folder.
    """

    unannotated: Sequence[str] = ()

    def __init__(self, images: Path, annotation_file: Path) -> None:
        self._file = annotation_file
        listing = Listing.of(images)
        self._folder, self._names = listing.folder, listing.names
        content = CocoContent(annotation_file, listing)
        content.refuse()
        self._files = content.files.array()
        self._sizes = content.sizes.array().reshape(-1, 2)
        self.category_names = content.category_names()
        self.crowd_boxes = content.crowd_boxes
        records, class_ids = content.places()
        content.refuse()
        records[class_ids < 0] = len(self._files)  # crowds go behind the last image
        counts = np.bincount(records, minlength=len(self._files))[: len(self._files)]
        self._offsets = np.zeros(len(self._files) + 1, np.int32)
        np.cumsum(counts, out=self._offsets[1:])
        del counts
        self._order = np.argsort(records, kind="stable").astype(np.int32)  # of the boxes, by image
        self._class_ids = class_ids.astype(np.min_scalar_type(-1 - len(self.category_names)))
        self._boxes = content.boxes.array().reshape(-1, 4)
        listed = sum(is_image(self._names[file]) for file in self._files)
        self.unlisted = sum(map(is_image, self._names)) - listed

    @property
    def class_names(self) -> Mapping[int, Set[str]]:
        """The one name of each class id."""
        return {class_id: {name} for class_id, name in enumerate(self.category_names)}

    def check_num_classes(self, num_classes: int) -> None:
        """Raises ClientError when there are more or fewer categories."""
        count = len(self.category_names)
        if count == num_classes:
            return
        names = ", ".join(self.category_names[:_SHOWN_NAMES])
        more = f" and {count - _SHOWN_NAMES} more" if count > _SHOWN_NAMES else ""
        raise ClientError(
            f"{self._file}: {count} categories ({names}{more}), but num_classes is {num_classes}. "
            f"Set num_classes to {count}, or correct the categories."
        )

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """The image's file."""
        return f"{self._folder}/{self._names[int(self._files[index])]}"

    def read(self, index: int) -> RawRecord:
        """Image and boxes, corners in pixels of the size that the file declares."""
        rows = self._order[self._offsets[index] : self._offsets[index + 1]]
        boxes = self._boxes[rows].astype(np.float64)
        boxes[:, 2:] += boxes[:, :2]
        width, height = self._sizes[index]
        return RawRecord(
            self.read_image(index),
            boxes,
            self._class_ids[rows].astype(np.int64),
            np.zeros(len(boxes), dtype=bool),
            (int(width), int(height)),
        )

    def read_image(self, index: int) -> bytes:
        """The encoded picture alone."""
        return files.content(self.name(index))
