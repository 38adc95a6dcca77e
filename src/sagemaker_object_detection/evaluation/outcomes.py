"""What becomes of images when only detections that reach a score count, and which to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.evaluation.matching import match
from sagemaker_object_detection.evaluation.results import Results
from sagemaker_object_detection.evaluation.summary import Summary

_PICTURES = 12


@dataclass(frozen=True)
class Outcomes:
    """What becomes of I images when only detections that reach their class's threshold count.

    Attributes:
        shown: bool (D,), the detections that count. right: bool (D,), those that find a box.
        found, false, missed: int64 (I,): right detections, wrong ones, boxes not found.
        score: float64 (I,), mean score of the right detections, 0 without one.
    """

    shown: NDArray[Any]
    right: NDArray[Any]
    found: NDArray[Any]
    false: NDArray[Any]
    missed: NDArray[Any]
    score: NDArray[Any]

    @property
    def f1(self) -> NDArray[Any]:
        """float64 (I,), 0..1; NaN for images with neither boxes nor detections."""
        all_of_them = 2 * self.found + self.false + self.missed
        result = np.full(len(self.found), np.nan)
        np.divide(2 * self.found, all_of_them, out=result, where=all_of_them > 0)
        return result


def outcomes(results: Results, summary: Summary) -> Outcomes:
    """Hold what reaches the thresholds of best F1 against the truth.

    Rules are those of average precision: boxes marked difficult, and detections of them, count
    neither way.
    """
    matches = match(results, len(summary.labels), summary.overlap_threshold)
    class_ids = results.detections[:, 0].astype(np.int64)
    shown = results.detections[:, 1] >= np.array(summary.thresholds, np.float64)[class_ids]
    shown &= matches.counted
    right = shown & matches.right
    images, truth_images = results.detection_images, results.box_images

    def an_image(mask: NDArray[Any], weights: NDArray[Any] | None = None) -> NDArray[Any]:
        return np.bincount(images[mask], weights, minlength=len(results))

    found = an_image(right)
    boxes = np.bincount(truth_images[~results.difficult], minlength=len(results))
    scores = an_image(right, results.detections[right, 1].astype(np.float64))
    return Outcomes(
        shown, right, found, an_image(shown & ~right), boxes - found, scores / np.maximum(found, 1)
    )


def choose(outcome: Outcomes) -> dict[str, list[int]]:
    """Positions of the images to show, at most twelve of each kind.

    best: highest F1, of equal ones the highest scores; at most a third of the images, so that
    small data sets show others too. worst: most false detections, missed: most boxes not found, of
    equal ones the lowest F1; an image may be both of these, but not one of the best.
    """
    f1 = np.nan_to_num(outcome.f1)
    some = np.flatnonzero(outcome.found)
    best = some[np.lexsort((-outcome.score[some], -f1[some]))]
    best = best[: min(_PICTURES, -(-len(f1) // 3))]

    def most_of(errors: NDArray[Any]) -> list[int]:
        those = np.setdiff1d(np.flatnonzero(errors), best)
        order = np.lexsort((f1[those], -errors[those]))
        chosen: list[int] = those[order][:_PICTURES].tolist()
        return chosen

    return {
        "best": best.tolist(),
        "worst": most_of(outcome.false),
        "missed": most_of(outcome.missed),
    }
