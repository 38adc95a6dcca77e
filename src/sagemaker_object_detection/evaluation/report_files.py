"""The scores of a training job for programs, and what anyone needs to score it again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sagemaker_object_detection.evaluation.coco import detections, ground_truth
from sagemaker_object_detection.evaluation.results import Results
from sagemaker_object_detection.evaluation.summary import Summary
from sagemaker_object_detection.model.artifact import write_text_whole

METRICS_FILE = "metrics.json"
DETECTIONS_FILE = "detections.json"
GROUND_TRUTH_FILE = "ground_truth.json"
_IMAGES_AT_ONCE = 256


def write_results(
    folder: Path,
    results: Results,
    names: Sequence[str],
    summary: Summary,
    about: Mapping[str, Any],
) -> None:
    """Write METRICS_FILE, DETECTIONS_FILE and GROUND_TRUTH_FILE into a folder that is there.

    Args:
        results: of the validation channel.
        names: what each image of the results is called, in their order.
        summary: the scores of these results.
        about: what else METRICS_FILE shall say: epoch, epochs, definition, versions, test.

    Raises OSError where they cannot be written, ValueError for a figure in `about` that JSON does
    not know (NaN, infinity).
    """
    metrics = metrics_of(results, summary, about)
    truth = ground_truth(results, names, summary.labels)
    write_text_whole(folder / METRICS_FILE, _json(metrics, indent=1))
    write_text_whole(folder / GROUND_TRUTH_FILE, _json(truth))
    write_text_whole(folder / DETECTIONS_FILE, _detections_json(results))


def metrics_of(results: Results, summary: Summary, about: Mapping[str, Any]) -> dict[str, Any]:
    """The content of METRICS_FILE; arguments as of `write_results`."""
    curves = dict(zip(summary.labels, summary.curves, strict=True))
    best = dict(zip(summary.labels, summary.best, strict=True))
    return {
        "mAP": summary.mean,
        "mAP_interval": dict(zip(("low", "high"), summary.interval, strict=True)),
        "overlap_threshold": summary.overlap_threshold,
        "AP": {label: finite(curve.average_precision) for label, curve in curves.items()},
        "coco": dict(summary.coco),
        "best_threshold": {label: one and asdict(one) for label, one in best.items()},
        "images": len(results),
        "boxes": len(results.boxes),
        "difficult_boxes": int(results.difficult.sum()),
        **about,
    }


def _detections_json(results: Results) -> str:
    """The content of DETECTIONS_FILE. Some images at a time, as objects take many times the memory
    of their text.
    """
    texts = []
    for start in range(0, len(results), _IMAGES_AT_ONCE):
        stop = min(start + _IMAGES_AT_ONCE, len(results))
        offsets = results.detection_offsets[start : stop + 1]
        part = replace(
            results,
            records=results.records[start:stop],
            sizes=results.sizes[start:stop],
            detections=results.detections[offsets[0] : offsets[-1]],
            detection_offsets=offsets - offsets[0],
        )
        texts.append(_json(detections(part)).strip()[1:-1])
    return "[" + ",\n".join(filter(None, texts)) + "]\n"


def finite(value: float) -> float | None:
    """NaN, which JSON does not know, as None."""
    return None if math.isnan(value) else value


def _json(value: object, indent: int | None = None) -> str:
    """JSON in ASCII: file names need not be text in any encoding."""
    separators = (",", ":") if indent is None else None
    return json.dumps(value, indent=indent, separators=separators, allow_nan=False) + "\n"
