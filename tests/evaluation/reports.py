"""Results and reports that no training made, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.data.dataset import Labels
from sagemaker_object_detection.data.report import make_report
from sagemaker_object_detection.evaluation.report_html import Report
from sagemaker_object_detection.evaluation.results import Results, ResultsBuilder
from sagemaker_object_detection.evaluation.summary import summarise
from sagemaker_object_detection.model.specs import get_spec
from tests.data.tallies import checked, verdict

SIZE = (320, 240)
VERSIONS = {"mxnet": "1.9.1", "gluoncv": "0.10.5.post0", "numpy": "1.23.5"}
DEFINITION = "all-point interpolated AP, mean over the classes that occur"


def labels_of(
    boxes: Sequence[Sequence[float]],
    class_ids: Sequence[int],
    difficult: Sequence[bool] | None = None,
) -> Labels:
    """Labels of one image; nothing is difficult unless it is said to be."""
    return Labels(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(class_ids, np.int32),
        np.array([False] * len(boxes) if difficult is None else difficult, bool),
    )


def detected(
    labels: Labels, classes: int, random: np.random.Generator, skill: float = 0.85, false: float = 2
) -> NDArray[Any]:
    """Detections (d, 6) as a detector of this skill, 0..1, would make: boxes a little off, some not
    found, some taken for another class, and `false` ones an image.
    """
    kept = random.random(len(labels.boxes)) < skill
    boxes = labels.boxes[kept]
    sides = boxes[:, 2:] - boxes[:, :2]
    boxes = boxes + random.normal(0, 0.06, (len(boxes), 4)) * np.tile(sides, 2)
    ids = labels.class_ids[kept].copy()
    mixed = random.random(len(ids)) < 0.15 * (1 - skill) + 0.03
    ids[mixed] = random.integers(0, classes, int(mixed.sum()))
    scores = random.beta(6, 2, len(ids))
    count = int(random.poisson(false))
    corners = random.uniform(0, 0.8, (count, 2))
    wrong = np.hstack([corners, corners + random.uniform(0.05, 0.2, (count, 2))])
    return np.concatenate(
        [
            np.column_stack([ids, scores, np.clip(boxes, 0, 1)]),
            np.column_stack(
                [random.integers(0, classes, count), random.beta(1.5, 6, count), wrong]
            ),
        ]
    ).astype(np.float32)


def made_results(
    images: int, classes: int, boxes: int = 4, seed: int = 0, skill: float = 0.85, false: float = 2
) -> Results:
    """Results of so many images with up to 2 * boxes boxes each."""
    random = np.random.default_rng(seed)
    builder = ResultsBuilder()
    for record in range(images):
        count = int(random.integers(0, 2 * boxes + 1)) if boxes else 0
        corners = random.uniform(0, 0.7, (count, 2))
        places = np.hstack([corners, corners + random.uniform(0.08, 0.3, (count, 2))])
        labels = labels_of(places.tolist(), random.integers(0, classes, count).tolist())
        rows = detected(labels, classes, random, skill, false)
        builder.add(record, np.array(SIZE), rows, labels)
    return builder.build()


def without_detections(results: Results) -> Results:
    """The same truth, and nothing found."""
    builder = ResultsBuilder()
    for image in range(len(results)):
        record, size = int(results.records[image]), results.sizes[image]
        builder.add(record, size, np.zeros((0, 6), np.float32), results.labels(image))
    return builder.build()


def made_picture(record: int) -> bytes:
    """A JPEG of SIZE with something on it."""
    random = np.random.default_rng(record)
    small = random.integers(40, 220, (6, 8, 3)).astype(np.uint8)
    pixels = cv2.resize(small, SIZE, interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


def made_epochs(count: int, classes: int = 3, first: int = 0) -> list[dict[str, float]]:
    """Rows of metrics.csv of a job that goes well."""
    random = np.random.default_rng(1)
    rows = []
    for epoch in range(first, first + count):
        mean = 0.85 * (1 - np.exp(-epoch / 6)) * (1 + 0.03 * random.standard_normal())
        rows.append(
            {
                "epoch": epoch,
                "cross_entropy": 1.4 + 3 * float(np.exp(-epoch / 4)),
                "smooth_l1": 0.9 + 2.2 * float(np.exp(-epoch / 5)),
                "mAP": float(mean),
                **{f"AP_class_{i}": float(mean) for i in range(classes)},
                "learning_rate": 0.001,
                "images_per_second": 2.8,
                "loader_seconds": 1.5,
                "training_seconds": 72.0,
                "step_seconds": 69.0,
                "validation_seconds": 13.0,
            }
        )
    return rows


def made_data_report(classes: int = 3) -> dict[str, Any]:
    """The data report of two small channels."""
    ids = list(range(classes))
    channels = [
        checked(name, [verdict([(0.2, 0.2, 0.6, 0.6)] * classes, ids, digest=i)], classes)
        for i, name in enumerate(("train", "validation"))
    ]
    return make_report(channels, class_names(classes), get_spec("resnet-50", 300))


def class_names(count: int) -> list[str]:
    """So many names."""
    return [f"kind {i}" for i in range(count)]


def made_report(results: Results, names: Sequence[str], **changes: object) -> Report:
    """A report of these results; what is in `changes` instead of what is made up."""
    epochs = made_epochs(30, len(names))
    values: dict[str, Any] = {
        "epochs": epochs,
        "best_epoch": 27,
        "results": results,
        "summary": summarise(results, names, 0.5),
        "name": lambda record: f"/opt/ml/input/data/validation/{record:05d}.jpg",
        "picture": made_picture,
        "data_report": made_data_report(len(names)),
        "configuration": {"base_network": "resnet-50", "image_shape": "300", "epochs": "30"},
        "versions": VERSIONS,
        "definition": DEFINITION,
    }
    return Report(**(values | changes))
