"""Rows of the tables and bars in the training report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sagemaker_object_detection.colors import color_of, css
from sagemaker_object_detection.evaluation.summary import Summary

COCO_MEANINGS = {
    "AP": "mean of ten IoU thresholds, 0.50 to 0.95",
    "AP50": "IoU 0.50",
    "AP75": "IoU 0.75: boxes have to fit closely",
    "APs": "small boxes, below 32² pixels",
    "APm": "medium boxes",
    "APl": "large boxes, above 96² pixels",
    "AR1": "boxes found with one detection an image",
    "AR10": "with ten detections an image",
    "AR100": "with a hundred detections an image",
    "ARs": "small boxes, hundred detections",
    "ARm": "medium boxes, hundred detections",
    "ARl": "large boxes, hundred detections",
}
MATRIX_CLASSES = 20
_MISTAKES = 10


@dataclass(frozen=True)
class ClassScore:
    """Average precision of a class; None without boxes."""

    label: str
    color: str
    average_precision: float | None
    boxes: int


@dataclass(frozen=True)
class Cell:
    """A place in the matrix.

    count: boxes or detections, out of `total`. tint: 0..1, root of the share, so that few are seen
    too. kind: hit, miss or none, for the blank corner.
    """

    count: int
    total: int
    tint: float
    kind: str
    title: str


@dataclass(frozen=True)
class Matrix:
    """labels: of rows and columns but the last. rows: of cells. left_out: classes not shown."""

    labels: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    left_out: int


@dataclass(frozen=True)
class Mistake:
    """What happened how often, and what share that is of `of`."""

    text: str
    count: int
    total: int
    of: str


@dataclass(frozen=True)
class Span:
    """A part of the time spent."""

    name: str
    seconds: float
    colour: str


def class_scores(summary: Summary) -> list[ClassScore]:
    """The classes by their score, best first, those without boxes last."""
    rows = [
        ClassScore(
            label,
            css(color_of(class_id)),
            curve.average_precision if curve.positives else None,
            curve.positives,
        )
        for class_id, (label, curve) in enumerate(zip(summary.labels, summary.curves, strict=True))
    ]
    return sorted(
        rows,
        key=lambda row: -1 if row.average_precision is None else row.average_precision,
        reverse=True,
    )


def matrix(summary: Summary) -> Matrix:
    """The confusion matrix; of many classes those most often taken for one another.

    A cell is tinted after its share of the row's boxes; in the last row, of what was found where
    there is nothing, after its share of the column's detections.
    """
    counts, labels = summary.confusion, summary.labels
    classes = len(labels)
    mixed = counts[:classes, :classes] * (1 - np.eye(classes, dtype=np.int64))
    order = np.lexsort((-counts.sum(axis=1)[:classes], -(mixed.sum(axis=0) + mixed.sum(axis=1))))
    chosen = sorted(order[:MATRIX_CLASSES].tolist())
    boxes, found = counts.sum(axis=1), counts.sum(axis=0)

    def cell(row: int, column: int) -> Cell:
        if row == column == classes:
            return Cell(0, 0, 0.0, "none", "")
        number = int(counts[row, column])
        whole = int(found[column] if row == classes else boxes[row])
        kind = "hit" if row == column else "miss"
        tint = math.sqrt(number / max(1, whole))
        return Cell(number, whole, tint, kind, _cell_title(summary, row, column))

    places = [*chosen, classes]
    return Matrix(
        tuple(labels[i] for i in chosen),
        tuple(tuple(cell(row, column) for column in places) for row in places),
        classes - len(chosen),
    )


def _cell_title(summary: Summary, row: int, column: int) -> str:
    classes, labels = len(summary.labels), summary.labels
    if column == classes:
        return f"{labels[row]} not found"
    if row == classes:
        return f"{labels[column]} found where there is nothing"
    if row == column:
        return f"{labels[row]} found"
    return f"{labels[row]} taken for {labels[column]}"


def mistakes(summary: Summary) -> list[Mistake]:
    """What goes wrong most often, most frequent first."""
    counts, labels = summary.confusion, summary.labels
    classes = len(labels)
    wrong = counts * (1 - np.eye(classes + 1, dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MISTAKES]
    rows = []
    for row, column in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if not wrong[row, column]:
            break
        whole, of = (
            (counts[:, column], f"detections of {labels[column]}")
            if row == classes
            else (counts[row], f"boxes of {labels[row]}")
        )
        text = _cell_title(summary, row, column)
        rows.append(Mistake(text, int(wrong[row, column]), int(whole.sum()), of))
    return rows


def time_spent(epochs: Sequence[Mapping[str, Any]]) -> list[Span]:
    """Where the time of all epochs went; a part that was not measured is left out."""

    def total(name: str) -> float:
        return math.fsum(float(row.get(name, 0.0)) for row in epochs)

    training, loader, step = map(total, ("training_seconds", "loader_seconds", "step_seconds"))
    rest = round(training - loader - step, 3)  # rounded, as sums of floats leave a trace
    spans = [
        Span("steps", step, "c0"),
        Span("waiting for data", loader, "c1"),
        Span("rest of training", rest, "rest") if step else Span("training", rest, "c0"),
        Span("validation", total("validation_seconds"), "c2"),
    ]
    return [span for span in spans if span.seconds > 0]


def images_per_second(epochs: Sequence[Mapping[str, Any]]) -> float:
    """Images trained on over the time that it took, of all epochs."""
    seconds = [float(row["training_seconds"]) for row in epochs]
    images = [float(row["images_per_second"]) * s for row, s in zip(epochs, seconds, strict=True)]
    return math.fsum(images) / math.fsum(seconds) if sum(seconds) else 0.0
