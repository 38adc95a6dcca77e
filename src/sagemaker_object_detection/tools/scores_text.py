"""The scores of a data set for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator

from sagemaker_object_detection.evaluation.results import Results
from sagemaker_object_detection.evaluation.summary import Summary
from sagemaker_object_detection.tools.report_text import printable

_COLUMNS = ("boxes", "AP", "score >=", "F1", "precision", "recall")


def scores_text(name: str, results: Results, summary: Summary) -> str:
    """Lines to read: average precision by class with the score of the best F1, mAP, COCO's suite.

    Args:
        name: what the data goes by.
    """
    return printable(
        "\n".join([name, *(f"  {line}".rstrip() for line in _lines(results, summary))])
    )


def _lines(results: Results, summary: Summary) -> Iterator[str]:
    difficult = int(results.difficult.sum())
    yield (
        f"{len(results):,} images, {len(results.boxes) - difficult:,} boxes to find"
        + (f" and {difficult:,} difficult ones that do not count" if difficult else "")
        + f", {len(results.detections):,} detections"
    )
    width = max(len("class"), *(len(label) for label in summary.labels))
    yield f"{'class':{width}}  " + "  ".join(f"{name:>9}" for name in _COLUMNS)
    for label, curve, best in zip(summary.labels, summary.curves, summary.best, strict=True):
        parts = () if best is None else (best.score, best.f1, best.precision, best.recall)
        figures = [_figure(curve.average_precision), *map(_figure, parts)]
        row = [f"{curve.positives:,}", *figures, *["-"] * (len(_COLUMNS) - 1 - len(figures))]
        yield f"{label:{width}}  " + "  ".join(f"{text:>9}" for text in row)
    yield (
        f"mAP {summary.mean:.4f} (IoU above {summary.overlap_threshold:g}, all points, mean over "
        "the classes that occur)"
    )
    coco = [f"{name} {_figure(value)}" for name, value in summary.coco.items()]
    yield "COCO: " + ", ".join(coco[:6])
    yield "      " + ", ".join(coco[6:])


def _figure(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"
