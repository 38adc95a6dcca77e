"""Results in COCO's form, and COCO's own suite of scores.

COCO's figures are not ours: precision is read at 101 points of recall, of a class only the best 100
detections of an image count, a detection may take a box that it overlaps second best, and a second
detection of a box marked difficult is wrong. https://cocodataset.org/#detection-eval
"""

from __future__ import annotations

import contextlib
import io
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sagemaker_object_detection.data.annotations import load
from sagemaker_object_detection.data.dataset import Labels
from sagemaker_object_detection.evaluation.results import Results, ResultsBuilder
from sagemaker_object_detection.platform.errors import ClientError

SUITE = (
    *("AP", "AP50", "AP75", "APs", "APm", "APl"),
    *("AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
)
"""AP and AR over IoU 0.50 to 0.95, at one IoU, of small, middle and large boxes (below 32^2 pixels
of the picture, below 96^2, above), and with so many detections of an image."""


def ground_truth(
    results: Results, names: Sequence[str], class_names: Sequence[str]
) -> dict[str, Any]:
    """The boxes as a COCO file has them, in pixels of each picture.

    A box marked difficult has `ignore` 1, as in COCO files made of VOC's; pycocotools itself looks
    at `iscrowd` alone.

    Args:
        names: file_name of each image, in the order of the results.
        class_names: one for each class id, which is the category's id.
    """
    images = [
        {"id": int(record), "file_name": name, "width": int(size[0]), "height": int(size[1])}
        for record, name, size in zip(results.records, names, results.sizes, strict=True)
    ]
    where = results.box_images
    boxes_px = _boxes_px(results.boxes, results.sizes[where])
    annotations = [
        {
            "id": number,  # from 1: pycocotools takes 0 for no annotation
            "image_id": int(results.records[image]),
            "category_id": int(class_id),
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": 0,
            "ignore": int(difficult),
        }
        for number, (image, class_id, box, difficult) in enumerate(
            zip(where, results.class_ids, boxes_px.tolist(), results.difficult, strict=True), 1
        )
    ]
    categories = [{"id": class_id, "name": name} for class_id, name in enumerate(class_names)]
    return {"images": images, "annotations": annotations, "categories": categories}


def detections(results: Results) -> list[dict[str, Any]]:
    """The detections in COCO's form of results, in pixels of each picture, best first in each."""
    where = results.detection_images
    boxes_px = _boxes_px(results.detections[:, 2:6], results.sizes[where])
    return [
        {"image_id": image_id, "category_id": class_id, "bbox": box, "score": score}
        for image_id, class_id, box, score in zip(
            results.records[where].tolist(),
            results.detections[:, 0].astype(np.int64).tolist(),
            boxes_px.tolist(),
            results.detections[:, 1].tolist(),
            strict=True,
        )
    ]


def coco_suite(results: Results, num_classes: int) -> dict[str, float | None]:
    """COCO's twelve figures by name, see SUITE; None where there is no box of that kind."""
    names = [str(record) for record in results.records]
    truth = ground_truth(results, names, [str(class_id) for class_id in range(num_classes)])
    return suite_of(truth, detections(results))


def suite_of(
    truth: Mapping[str, Any], results: Iterable[Mapping[str, Any]]
) -> dict[str, float | None]:
    """As coco_suite, of contents in COCO's form: those of ground_truth and of detections.

    An annotation's `iscrowd` and `area` count as pycocotools takes them.
    """
    found = [
        {**one, "id": number, "area": one["bbox"][2] * one["bbox"][3], "iscrowd": 0}
        for number, one in enumerate(results, 1)
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # it tells its progress
        evaluation = _Evaluation(_coco(truth), _coco({**truth, "annotations": found}), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    figures = zip(SUITE, evaluation.stats.tolist(), strict=True)
    return {name: None if value < 0 else value for name, value in figures}


class _Evaluation(COCOeval):  # type: ignore[misc]
    """Leaves out what is marked `ignore` too, not only crowds."""

    def _prepare(self) -> None:
        marked = [one for one in self.cocoGt.dataset["annotations"] if one["ignore"]]
        super()._prepare()  # forgets the mark
        for annotation in marked:
            annotation["ignore"] = 1


def _coco(content: Mapping[str, Any]) -> COCO:
    made = COCO()
    made.dataset = content
    made.createIndex()
    return made


def _boxes_px(boxes: NDArray[Any], sizes: NDArray[Any]) -> NDArray[Any]:
    """Left, top, width and height in pixels of boxes (n, 4) in pictures of these sizes (n, 2)."""
    corners = boxes.astype(np.float64) * np.tile(sizes, 2)
    return np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]])


# Within what the columns of Results can hold.
_Id = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
_Side = Annotated[int, Meta(gt=0, le=10**6)]
_Pixels = Annotated[float, Meta(ge=-1e7, le=1e7)]
_Area = Annotated[float, Meta(ge=0, le=1e14)]
_Score = Annotated[float, Meta(ge=-1e30, le=1e30)]
Content = TypeVar("Content")


class _Image(Struct, gc=False):
    id: _Id
    width: _Side
    height: _Side


class _Category(Struct, gc=False):
    id: _Id
    name: str


class _Placed(Struct):
    image_id: int
    category_id: int
    bbox: Annotated[list[_Pixels], Meta(min_length=4, max_length=4)]


class _Annotation(_Placed):
    area: _Area | None = None
    iscrowd: int | bool = 0
    ignore: int | bool = 0


class _Truth(Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: Annotated[list[_Category], Meta(min_length=1)]


class _Detection(_Placed):
    score: _Score


_TRUTH_CURE = (
    "Give a COCO file of the boxes that are there, as ground_truth.json of a training job."
)
_DETECTIONS_CURE = (
    "Give a COCO file of results, as detections.json of a training job: a list of objects "
    '{"image_id": 1, "category_id": 0, "bbox": [left, top, width, height], "score": 0.9}.'
)


@dataclass(frozen=True)
class CocoResults:
    """What two files hold.

    Attributes:
        results: images in the order of the file, with their ids as records. What has `ignore` set,
            or is a crowd, counts as difficult.
        class_names: one for each class id, which is a category's place in the order of the ids.
        suite: COCO's figures of the files as they are, with their crowds and areas, see SUITE.
    """

    results: Results
    class_names: tuple[str, ...]
    suite: Mapping[str, float | None]


def read_results(truth_file: Path, detections_file: Path) -> CocoResults:
    """Read and score two files.

    Raises:
        ClientError: a file is no JSON of that form, has an id twice, or speaks of an image or a
            category that the first file does not have. OSError where it cannot be read.
    """
    truth = _read(truth_file, _Truth, _TRUTH_CURE)
    detections = _read(detections_file, list[_Detection], _DETECTIONS_CURE)
    images = _numbered([one.id for one in truth.images], "image", truth_file)
    categories = sorted(truth.categories, key=lambda one: one.id)
    classes = _numbered([one.id for one in categories], "category", truth_file)
    sizes = np.array([(one.width, one.height) for one in truth.images], np.int32).reshape(-1, 2)

    boxes = _Rows(truth.annotations, images, classes, sizes, truth_file, truth_file)
    difficult = np.array([bool(a.iscrowd or a.ignore) for a in truth.annotations], bool)
    found = _Rows(detections, images, classes, sizes, detections_file, truth_file)
    scores = np.array([one.score for one in detections], np.float32)
    rows = np.column_stack([found.class_ids, scores, found.boxes]).astype(np.float32)
    builder = ResultsBuilder()
    for image, (mine, there) in enumerate(zip(found.of_image, boxes.of_image, strict=True)):
        labels = Labels(boxes.boxes[there], boxes.class_ids[there], difficult[there])
        builder.add(truth.images[image].id, sizes[image], rows[mine], labels)
    names = tuple(one.name for one in categories)
    return CocoResults(builder.build(), names, _suite(truth, detections))


def _suite(truth: _Truth, detections: Sequence[_Detection]) -> Mapping[str, float | None]:
    content = msgspec.to_builtins(truth)
    for number, one in enumerate(content["annotations"], 1):
        one["id"] = number
        if one["area"] is None:
            one["area"] = one["bbox"][2] * one["bbox"][3]
    return suite_of(content, msgspec.to_builtins(detections))


class _Rows:
    """Boxes of a file in columns.

    Attributes:
        boxes: float32 (n, 4), xyxy in 0..1. class_ids: int32 (n,).
        of_image: for each image the rows that are its, in the order of the file.
    """

    def __init__(
        self,
        given: Sequence[_Placed],
        images: dict[int, int],
        classes: dict[int, int],
        sizes: NDArray[Any],
        file: Path,
        truth_file: Path,
    ) -> None:
        for number, one in enumerate(given):
            if one.image_id not in images or one.category_id not in classes:
                what, value = "image_id", one.image_id
                if one.image_id in images:
                    what, value = "category_id", one.category_id
                raise ClientError(
                    f"{file}, object {number}: {truth_file} has no {what} {value}. Give two files "
                    "that belong together."
                )
        where = np.array([images[one.image_id] for one in given], np.int64)
        corners = np.array([one.bbox for one in given], np.float64).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        self.boxes = (corners / np.tile(sizes, 2)[where]).astype(np.float32)
        self.class_ids = np.array([classes[one.category_id] for one in given], np.int32)
        order = np.argsort(where, kind="stable")
        self.of_image = np.split(order, np.searchsorted(where[order], np.arange(1, len(images))))
        self.of_image = self.of_image[: len(images)]


def _numbered(ids: list[int], what: str, file: Path) -> dict[int, int]:
    """Id -> its place."""
    places = {one: place for place, one in enumerate(ids)}
    if len(places) < len(ids):
        twice = next(one for place, one in enumerate(ids) if places[one] != place)
        raise ClientError(f"{file} has the {what} id {twice} twice. {_TRUTH_CURE}")
    return places


def _read(file: Path, form: type[Content], cure: str) -> Content:
    text = file.read_bytes().removeprefix(BOM_UTF8)
    try:
        return msgspec.json.decode(text, type=form, strict=False)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = load(text, str(file))  # names line and column of what is not JSON
    try:
        return msgspec.convert(content, form, strict=False)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise ClientError(f"{file}: {error}. {cure}") from None
