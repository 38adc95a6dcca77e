"""Results in COCO's form, and COCO's own suite of scores.

COCO's figures are not ours: precision is read at 101 points of recall, of a class only the best 100
detections of an image count, a detection may take a box that it overlaps second best, and a second
detection of a box marked difficult is wrong. https://cocodataset.org/#detection-eval
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sagemaker_object_detection.evaluation.results import Results

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
