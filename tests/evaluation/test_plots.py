"""Curves as paths: at their places, and short however long the curve is."""

import math
import re

import numpy as np
import pytest

from sagemaker_object_detection.evaluation.plots import (
    SIDE,
    curve_chart,
    history_chart,
    line_path,
    ticks,
)
from sagemaker_object_detection.evaluation.summary import BestThreshold, best_threshold, curves
from tests.evaluation.reports import made_results


def points(path: str) -> list[tuple[float, float]]:
    """The points of a path of straight lines."""
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?\d+) (-?\d+)", path)]


def area(path: str) -> float:
    """Area below steps, of a plot of 1 by 1."""
    total, x, y = 0.0, 0.0, 0.0
    for letter, value in re.findall(r"([HV])(\d+)", path):
        if letter == "V":
            y = float(value)
        else:
            total += (float(value) - x) * (SIDE - y)
            x = float(value)
    return total / SIDE**2


TICKS = [
    pytest.param(0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1], id="a share"),
    pytest.param(0, 0.83, False, [0, 0.2, 0.4, 0.6, 0.8, 1], id="up to the next above"),
    pytest.param(0, 4.3, False, [0, 1, 2, 3, 4, 5], id="whole"),
    pytest.param(0, 0.013, False, [0, 0.005, 0.01, 0.015], id="small"),
    pytest.param(0, 2, True, [0, 1, 2], id="no half epochs"),
    pytest.param(0, 239, True, [0, 50, 100, 150, 200, 250], id="many epochs"),
    pytest.param(7, 8, True, [7, 8], id="two epochs, not from 0"),
    pytest.param(0, 0, False, [0, 1], id="nothing"),
]


@pytest.mark.parametrize(("low", "high", "whole", "expected"), TICKS)
def test_ticks_are_round(low: float, high: float, whole: bool, expected: list[float]) -> None:
    assert ticks(low, high, whole) == expected


@pytest.mark.parametrize("high", np.geomspace(1e-4, 1e5, 200).tolist())
def test_ticks_are_few_and_reach_the_top(high: float) -> None:
    found = ticks(0, high)
    assert 3 <= len(found) <= 8
    assert found[0] == 0
    assert found[-2] < high <= found[-1] * (1 + 1e-9)


def test_curves_over_the_epochs_are_at_their_places() -> None:
    chart = history_chart([10, 11, 14], {"a": [0, 2, 4], "b": [1, math.nan, 1]}, 11)
    a, b = chart.lines
    assert points(a.path) == [(0, 1000), (250, 500), (1000, 0)]
    assert points(b.path) == [(0, 750), (1000, 750)]
    assert (a.dot, b.dot, chart.best_at) == ((250, 500), None, 250)
    assert [(tick.label, tick.at) for tick in chart.y_ticks][:2] == [("0", 100), ("1", 75)]
    assert [(tick.label, tick.at) for tick in chart.x_ticks] == [
        ("10", 0),
        ("11", 25),
        ("12", 50),
        ("13", 75),
        ("14", 100),
    ]


def test_one_epoch_is_a_point_in_the_middle() -> None:
    chart = history_chart([7], {"a": [0.5]}, 7)
    assert points(chart.lines[0].path) == [chart.lines[0].dot] == [(500, 0)]
    assert [(tick.label, tick.at) for tick in chart.x_ticks] == [("7", 50)]


@pytest.mark.parametrize("value", [0.0, math.nan])
def test_figures_that_are_all_nothing_are_drawn(value: float) -> None:
    chart = history_chart([0, 1], {"a": [value, value]}, 1)
    assert points(chart.lines[0].path) == ([] if math.isnan(value) else [(0, 1000), (1000, 1000)])


def test_a_long_curve_is_thinned_and_keeps_its_spikes() -> None:
    x = np.linspace(0, SIDE, 100_000)
    y = np.full(len(x), 500.0)
    y[[0, 12_345, 77_777, -1]] = [10, 0, 999, 20]
    found = points(line_path(x, y))
    assert len(found) < 500
    assert {10, 0, 999, 20, 500} == {height for _, height in found}
    assert found == sorted(found, key=lambda point: point[0])
    assert (found[0][0], found[-1][0]) == (0, SIDE)


def test_the_area_is_the_average_precision() -> None:
    for results in (made_results(4, 3, skill=0.5), made_results(400, 3, skill=0.7, false=9)):
        for curve in curves(results, 3, 0.5):
            chart = curve_chart(curve, best_threshold(curve))
            assert area(chart.area) == pytest.approx(curve.average_precision, abs=0.002)
            assert len(chart.area) + len(chart.line) < 12_000


def test_the_point_of_best_f1_lies_on_the_curve() -> None:
    (curve,) = curves(made_results(30, 1), 1, 0.5)
    best = best_threshold(curve)
    assert best is not None
    chart = curve_chart(curve, best)
    assert chart.dot == (best.recall * SIDE, (1 - best.precision) * SIDE)
    x, y = chart.dot
    assert min(math.dist((x, y), point) for point in points(chart.line)) < 2


def test_a_class_without_boxes_or_detections_has_no_curve() -> None:
    best = BestThreshold(0.5, 0.5, 0.5, 0.5)
    no_boxes = curves(made_results(5, 1, boxes=0), 1, 0.5)[0]
    assert len(no_boxes.recall)
    no_detections = curves(made_results(5, 1, skill=0, false=0), 1, 0.5)[0]
    for curve in (no_boxes, no_detections):
        chart = curve_chart(curve, best)
        assert (chart.line, chart.area, chart.dot) == ("", "", None)


def test_a_curve_without_a_right_detection_encloses_nothing() -> None:
    (curve,) = curves(made_results(5, 1, skill=0, false=0.5, seed=3), 1, 0.5)
    assert len(curve.recall)
    chart = curve_chart(curve, best_threshold(curve))
    assert (chart.area, chart.dot) == ("", None)
    assert chart.line.startswith("M0 1000")
