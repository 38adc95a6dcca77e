"""How far a mean average precision would move with other images: the bootstrap over images.

Efron and Tibshirani 1993, "An Introduction to the Bootstrap", sections 13.3 (percentiles) and 8
(paired differences). Data sets of as many images are drawn from those that there are.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.evaluation.matching import match
from sagemaker_object_detection.evaluation.results import Results

SAMPLES = 1000
_PERCENTILES = (2.5, 97.5)
_NUMBERS_AT_ONCE = 2**23


def interval(means: NDArray[Any]) -> tuple[float, float]:
    """Between what 95 % of the samples lie."""
    low, high = np.percentile(means, _PERCENTILES)
    return float(low), float(high)


def sample_means(
    results: Results,
    num_classes: int,
    overlap_threshold: float,
    samples: int = SAMPLES,
    seed: int = 0,
) -> NDArray[Any]:
    """Mean average precisions, float64 (samples,), of data sets drawn from the images.

    The same seed draws the same images, so that two models on the same images can be compared pair
    by pair. Of an image that is drawn twice all detections count twice.

    Args:
        num_classes, overlap_threshold: as of `average_precision.score`.
    """
    images = len(results)
    matches = match(results, num_classes, overlap_threshold)
    kept, owners = results.detections[matches.counted], results.detection_images[matches.counted]
    right = matches.right[matches.counted]
    order = np.lexsort((-kept[:, 1], kept[:, 0]))
    classes, owners, right = kept[order, 0], owners[order], right[order]
    to_find = ~results.difficult
    positives = np.zeros((images, num_classes))
    np.add.at(positives, (results.box_images[to_find], results.class_ids[to_find]), 1)
    random = np.random.Generator(np.random.Philox(seed))
    step = max(1, _NUMBERS_AT_ONCE // max(1, images, len(classes)))
    means = []
    for start in range(0, samples, step):
        drawn = random.integers(images, size=(min(step, samples - start), images))
        counts = np.stack([np.bincount(row, minlength=images) for row in drawn])
        there = counts @ positives
        areas = np.full(there.shape, np.nan)
        for class_id in range(num_classes):
            own = slice(*np.searchsorted(classes, [class_id, class_id + 1]))
            found = _area(counts[:, owners[own]], right[own])
            with np.errstate(divide="ignore", invalid="ignore"):
                areas[:, class_id] = np.where(there[:, class_id] > 0, found, np.nan)
                areas[:, class_id] /= there[:, class_id]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # samples without any box
            means.append(np.nan_to_num(np.nanmean(areas, axis=1)))
    return np.concatenate(means)


def _area(weights: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """Area under each sample's curve, times its boxes to find.

    Args:
        weights: (k, d), how often each sample has the detection, from the best score down.
        right: bool (d,).
    """
    true = np.cumsum(weights * right, axis=1)
    precision = true / np.maximum(np.cumsum(weights, axis=1), 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    area: NDArray[Any] = (weights * right * best).sum(axis=1)
    return area


def in_words(first: str, second: str, difference: float, low: float, high: float) -> str:
    """A sentence on by how much the second is better."""
    better, other = (second, first) if difference >= 0 else (first, second)
    if difference < 0:
        difference, low, high = -difference, -high, -low
    text = f"{better} is better by {difference:.4f}, 95 % interval {low:.4f} to {high:.4f}"
    if low > 0:
        return f"{text}."
    return f"{text}: these images do not tell {better} and {other} apart."
