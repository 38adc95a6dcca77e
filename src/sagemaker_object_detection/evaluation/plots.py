"""Curves as the paths of SVG pictures.

A plot is SIDE wide and high, y downwards, and is stretched to its place on the page; its labels are
text beside it, so that they stay readable at any width. Long curves are thinned to what a screen
can show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.evaluation.summary import BestThreshold, Curve

SIDE = 1000
_BINS = 120
_CURVE_BINS = 60


@dataclass(frozen=True)
class Tick:
    """A label on an axis, `at` 0..100 % of it from the left or from the top."""

    at: float
    label: str


@dataclass(frozen=True)
class Line:
    """A curve with its name. dot: x and y of a point to mark, in 0..SIDE."""

    name: str
    path: str
    dot: tuple[float, float] | None = None


@dataclass(frozen=True)
class HistoryChart:
    """Curves over the epochs; `best_at` is where the best epoch stands, in 0..SIDE."""

    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    best_at: float


@dataclass(frozen=True)
class CurveChart:
    """Precision over recall of a class.

    line: the curve itself. area: what lies below it once precision is made monotone, whose size is
    the average precision. dot: the point of the best F1. All are empty without a detection.
    """

    line: str
    area: str
    dot: tuple[float, float] | None


def history_chart(
    epochs: Sequence[int], series: Mapping[str, Sequence[float]], best_epoch: int
) -> HistoryChart:
    """Curves over the epochs, from 0 up.

    Args:
        epochs: numbers in rising order.
        series: name -> a value for each epoch; NaN where there is none.
        best_epoch: the one to mark.
    """
    first, last = min(epochs), max(epochs)

    def across(epoch: float) -> float:
        return (epoch - first) / (last - first) * SIDE if last > first else SIDE / 2

    highest = max((v for values in series.values() for v in values if math.isfinite(v)), default=0)
    heights = ticks(0, highest)
    top = heights[-1]
    x = np.array([across(epoch) for epoch in epochs])
    lines = []
    for name, values in series.items():
        y = (1 - np.array(values, np.float64) / top) * SIDE
        shown = np.isfinite(y)
        marked = [
            (float(a), float(b)) for a, b, e in zip(x, y, epochs, strict=True) if e == best_epoch
        ]
        dot = next((point for point in marked if math.isfinite(point[1])), None)
        lines.append(Line(name, line_path(x[shown], y[shown]), dot))
    steps = ticks(first, last, whole=True) if last > first else [first]
    return HistoryChart(
        tuple(lines),
        tuple(Tick(across(step) / SIDE * 100, f"{step:g}") for step in steps if step <= last),
        tuple(Tick((1 - height / top) * 100, f"{height:g}") for height in heights),
        across(best_epoch),
    )


def curve_chart(curve: Curve, best: BestThreshold | None) -> CurveChart:
    """Draw precision (upwards) over recall (to the right), both in 0..1."""
    if not curve.positives or not len(curve.recall):
        return CurveChart("", "", None)
    x, y = curve.recall * SIDE, (1 - curve.precision) * SIDE
    dot = None if best is None else (best.recall * SIDE, (1 - best.precision) * SIDE)
    return CurveChart(line_path(x, y, _CURVE_BINS), _area_path(curve), dot)


def line_path(x: NDArray[Any], y: NDArray[Any], bins: int = _BINS) -> str:
    """A path through the points (n,), x rising in 0..SIDE; n may be 0.

    Of the points between two of `bins` places only the first, last, highest and lowest are kept.
    """
    if not len(x):
        return ""
    kept = _thinned(x, y, bins)
    return "M" + "L".join(f"{a:.0f} {b:.0f}" for a, b in zip(x[kept], y[kept], strict=True))


def _thinned(x: NDArray[Any], y: NDArray[Any], bins: int) -> NDArray[Any]:
    """Positions of the points to keep, in order."""
    if len(x) <= 4 * bins:
        return np.arange(len(x))
    places = np.floor(x / SIDE * bins).astype(np.int64)
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    ends = np.append(starts[1:], len(x))
    kept = {0, len(x) - 1}
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        part = y[start:end]
        kept |= {start, start + int(part.argmin()), start + int(part.argmax()), end - 1}
    return np.array(sorted(kept))


def _area_path(curve: Curve) -> str:
    """The steps of the best precision that is left at each recall, down to the axis."""
    best = np.maximum.accumulate(curve.precision[::-1])[::-1]
    x, y = np.rint(curve.recall * SIDE), np.rint((1 - best) * SIDE)
    starts = np.flatnonzero(np.diff(y, prepend=-1))  # a step of equal heights is drawn once
    ends = np.append(starts[1:], len(x)) - 1
    steps = [f"V{y[end]:.0f}H{x[end]:.0f}" for end in ends if x[end] > 0]
    return f"M0 {SIDE}{''.join(steps)}V{SIDE}z" if steps else ""


def ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Round numbers in steps of 1, 2 or 5 times a power of ten: 3 to 7 from `low` up, `high` or the
    next one above it the last.

    Args:
        whole: steps are 1 or more.
    """
    span = high - low
    if span <= 0:
        return [low, low + 1]
    step = 10.0 ** math.floor(math.log10(span / 5))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 6)
    if whole:
        step = max(1.0, step)
    start = math.floor(low / step)
    count = math.ceil(round(high / step - start, 9))
    return [float(f"{(start + k) * step:.10g}") for k in range(count + 1)]
