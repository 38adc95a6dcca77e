"""report.html: a training job and its scores as one page to look at.

The page stands alone: styles, curves and pictures are in it, it has no script, and it asks nothing
of the network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sagemaker_object_detection import __version__
from sagemaker_object_detection.data.pages import render_page
from sagemaker_object_detection.data.report_html import HTML_FILE as DATA_REPORT_FILE
from sagemaker_object_detection.evaluation import plots, report_tables
from sagemaker_object_detection.evaluation.report_files import (
    DETECTIONS_FILE,
    GROUND_TRUTH_FILE,
    METRICS_FILE,
)
from sagemaker_object_detection.evaluation.report_pictures import (
    Picture,
    choose,
    draw,
    duration,
    outcomes,
    short_count,
    shortened,
)
from sagemaker_object_detection.evaluation.results import Results
from sagemaker_object_detection.evaluation.summary import DEFAULT_THRESHOLD, Summary
from sagemaker_object_detection.model.artifact import write_text_whole

REPORT_FILE = "report.html"

_TEMPLATE = "report.html.j2"
_SHOWN_CLASSES = 100
_SHOWN_CURVES = 24
_SHOWN_THRESHOLDS = 20
_LOSSES = {"cross_entropy": "classes (cross-entropy)", "smooth_l1": "boxes (smooth L1)"}
_KINDS = {
    "truth": "box that was found",
    "right": "right detection",
    "false": "false detection",
    "missed": "missed box",
}
_GALLERIES = (
    ("best", "Best", "The highest F1."),
    ("worst", "Worst", "The most false detections: boxes of the wrong class, or where nothing is."),
    ("missed", "Missed", "The most boxes that no detection found."),
)


@dataclass(frozen=True)
class Report:
    """What the page shows.

    Attributes:
        epochs: rows of metrics.csv, one or more.
        best_epoch: the one whose weights are kept.
        results: of the kept weights on the validation channel, `summary` their scores.
        name: what a record of the results is called.
        picture: the encoded picture of a record; None where it cannot be had again.
        data_report: the content of data_report.json.
        configuration: name -> value of what the job was asked for.
        versions: library -> version.
        definition: of mAP, in words.
        test: the score of the test channel as in model.json, empty without one.
        twins: name -> figures of a model for CPU endpoints, each a number, truth or text.
    """

    epochs: Sequence[Mapping[str, Any]]
    best_epoch: int
    results: Results
    summary: Summary
    name: Callable[[int], str]
    picture: Callable[[int], bytes] | None
    data_report: Mapping[str, Any]
    configuration: Mapping[str, str]
    versions: Mapping[str, str]
    definition: str
    test: Mapping[str, Any] = field(default_factory=dict)
    twins: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def write_report(folder: Path, report: Report) -> None:
    """Write REPORT_FILE into a folder that is there.

    Raises OSError where it cannot be written, and what `render` raises.
    """
    write_text_whole(folder / REPORT_FILE, render(report))


def render(report: Report) -> str:
    """The page.

    Raises ImageError for a picture that cannot be decoded, and what `name` and `picture` raise.
    """
    summary = report.summary
    epochs = [int(row["epoch"]) for row in report.epochs]
    values = {
        "report": report,
        "summary": summary,
        "results": report.results,
        "classes": report_tables.class_scores(summary),
        "shown_classes": _SHOWN_CLASSES,
        "coco_meanings": report_tables.COCO_MEANINGS,
        "losses": plots.history_chart(epochs, _columns(report.epochs, _LOSSES), report.best_epoch),
        "scores": plots.history_chart(
            epochs, _columns(report.epochs, {"mAP": "mAP"}), report.best_epoch
        ),
        "side": plots.SIDE,
        "curves": [
            (label, curve, plots.curve_chart(curve, best))
            for label, curve, best in zip(summary.labels, summary.curves, summary.best, strict=True)
        ],
        "shown_curves": _SHOWN_CURVES,
        "thresholds": list(zip(summary.labels, summary.best, strict=True)),
        "shown_thresholds": _SHOWN_THRESHOLDS,
        "matrix": report_tables.matrix(summary),
        "mistakes": report_tables.mistakes(summary),
        "default_threshold": DEFAULT_THRESHOLD,
        "pictures": _pictures(report),
        "galleries": _GALLERIES,
        "kinds": _KINDS,
        "spans": report_tables.time_spent(report.epochs),
        "images_per_second": report_tables.images_per_second(report.epochs),
        "duration": duration,
        "short": short_count,
        "shortened": shortened,
        "files": (METRICS_FILE, DETECTIONS_FILE, GROUND_TRUTH_FILE),
        "data_report_file": DATA_REPORT_FILE,
        "version": __version__,
    }
    return render_page(Path(__file__).parent, _TEMPLATE, values)


def _columns(
    epochs: Sequence[Mapping[str, Any]], names: Mapping[str, str]
) -> dict[str, list[float]]:
    """Columns of metrics.csv under the names that a reader sees."""
    return {shown: [float(row[name]) for row in epochs] for name, shown in names.items()}


def _pictures(report: Report) -> dict[str, list[Picture]] | None:
    """Pictures of each kind; None where they cannot be had again."""
    picture = report.picture
    if picture is None:
        return None
    outcome = outcomes(report.results, report.summary)
    return {
        kind: [
            draw(report.results, report.summary, outcome, image, report.name, picture)
            for image in images
        ]
        for kind, images in choose(outcome).items()
    }
