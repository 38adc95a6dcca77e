"""Seconds that scoring takes: ours, GluonCV's VOCMApMetric and pycocotools, on made-up results.

python benchmarks/evaluation.py [--images 5000] [--detections 100] [--classes 20] [--coco]
Half of the detections lie near a box of their image and mostly have its class; the others lie
anywhere.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import data
import numpy as np

from sagemaker_object_detection.data.dataset import Labels
from sagemaker_object_detection.evaluation.average_precision import score
from sagemaker_object_detection.evaluation.coco import coco_suite
from sagemaker_object_detection.evaluation.results import Results, ResultsBuilder

BOXES = 8
SIZE = (640, 480)


def make_results(images: int, detections: int, classes: int, seed: int = 0) -> Results:
    """Results of so many images, so many detections and about 8 boxes each."""
    draw = np.random.default_rng(seed)
    builder = ResultsBuilder()
    for image in range(images):
        corners = draw.random((draw.integers(1, 2 * BOXES), 2)) * 0.7
        boxes = np.hstack([corners, corners + 0.05 + 0.25 * draw.random(corners.shape)])
        class_ids = draw.integers(0, classes, len(boxes))
        near = draw.integers(0, len(boxes), detections)
        places = boxes[near] + draw.normal(0, 0.02, (detections, 4))
        anywhere = draw.random(detections) < 0.5
        places[anywhere, :2] = draw.random((anywhere.sum(), 2)) * 0.7
        places[anywhere, 2:] = places[anywhere, :2] + 0.2
        ids = np.where(draw.random(detections) < 0.8, class_ids[near], 0)
        rows = np.column_stack([ids, draw.random(detections), np.clip(places, 0, 1)])
        labels = Labels(
            boxes.astype(np.float32), class_ids.astype(np.int32), draw.random(len(boxes)) < 0.05
        )
        builder.add(image, np.array(SIZE, np.int32), rows.astype(np.float32), labels)
    return builder.build()


def gluoncv(results: Results, classes: int) -> float:
    """GluonCV's mAP, with boxes in pixels as it wants them."""
    from gluoncv.utils.metrics.voc_detection import VOCMApMetric

    metric = VOCMApMetric(0.5, [str(number) for number in range(classes)])
    scale = np.tile(np.array(SIZE, np.float64), 2)
    for image in range(len(results)):
        rows, labels = results.found(image), results.labels(image)
        columns = (rows[:, 2:] * scale, rows[:, 0], rows[:, 1], labels.boxes * scale)
        metric.update(
            *(column[None] for column in columns), labels.class_ids[None], labels.difficult[None]
        )
    return float(metric.get()[1][-1])


def main() -> None:
    """Parse the command line, make the results and time each program once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--detections", type=int, default=100)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--coco", action="store_true", help="time COCO's suite too")
    options = parser.parse_args()
    print(data.machine(), vars(options), flush=True)
    results = make_results(options.images, options.detections, options.classes)
    programs: dict[str, Callable[[], float]] = {
        "ours": lambda: score(results, options.classes, 0.5).mean,
        "GluonCV": lambda: gluoncv(results, options.classes),
    }
    if options.coco:
        programs["pycocotools"] = lambda: coco_suite(results, options.classes)["AP50"] or 0.0
    for name, program in programs.items():
        started, cpu = time.perf_counter(), time.process_time()
        value = program()
        seconds, busy = time.perf_counter() - started, time.process_time() - cpu
        print(f"{name:12} {seconds:7.2f} s ({busy:.2f} s of processor)  {value:.4f}", flush=True)


if __name__ == "__main__":
    main()
