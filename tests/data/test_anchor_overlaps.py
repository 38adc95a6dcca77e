"""The quick search for the best anchor against all anchors there are."""

import time
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sagemaker_object_detection.boxes import area, iou
from sagemaker_object_detection.data import report
from sagemaker_object_detection.data.report import anchor_sizes, best_overlaps
from sagemaker_object_detection.model.specs import Spec, get_spec, make_anchors

SPECS = [
    pytest.param(get_spec("resnet-50", 300), id="six maps"),
    pytest.param(get_spec("vgg-16", 512), id="seven maps, the last of one cell"),
    pytest.param(get_spec("vgg-16", 300), id="a map of three cells"),
    pytest.param(get_spec("resnet-50", 333), id="an odd side"),
]


def brute_force(boxes: NDArray[Any], spec: Spec) -> NDArray[Any]:
    anchors = make_anchors(spec)[0].astype(np.float64)
    return np.array([iou(box[None], anchors).max() for box in boxes.astype(np.float64)])


def random_boxes(count: int, seed: int) -> NDArray[Any]:
    """Boxes of all sizes and ratios anywhere, whole pixels of a 640 x 480 picture among them."""
    generator = np.random.default_rng(seed)
    centres = generator.uniform(0, 1, (count, 2))
    sides = 10 ** generator.uniform(-2.5, 0, (count, 2))
    boxes = np.clip(np.hstack([centres - sides / 2, centres + sides / 2]), 0, 1)
    scale = np.array([640, 480, 640, 480])
    boxes[::2] = np.rint(boxes[::2] * scale) / scale
    return boxes[area(boxes) > 0].astype(np.float32)


@pytest.mark.parametrize("spec", SPECS)
def test_equal_to_all_anchors(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_BOXES_AT_A_TIME", 150)  # so that there are several parts
    boxes = random_boxes(400, seed=1)
    np.testing.assert_allclose(best_overlaps(boxes, spec), brute_force(boxes, spec), atol=2e-6)


EDGES = [
    pytest.param((0, 0, 1, 1), id="the whole image"),
    pytest.param((0, 0, 0.01, 0.01), id="in the first corner"),
    pytest.param((0.99, 0.99, 1, 1), id="in the last corner"),
    pytest.param((0, 0, 1, 0.004), id="a strip"),
    pytest.param((0.5 - 1e-4, 0, 0.5 + 1e-4, 1), id="a needle"),
    pytest.param((0.25, 0.25, 0.75, 0.75), id="its centre lies between cells of even maps"),
]


@pytest.mark.parametrize("box", EDGES)
@pytest.mark.parametrize("spec", SPECS)
def test_edges(spec: Spec, box: tuple[float, ...]) -> None:
    boxes = np.array([box], np.float32)
    np.testing.assert_allclose(best_overlaps(boxes, spec), brute_force(boxes, spec), atol=2e-6)


@settings(max_examples=60, deadline=None)
@given(
    corners=st.tuples(*[st.floats(0, 1, width=32)] * 4).filter(
        lambda c: abs(c[0] - c[2]) > 1e-4 and abs(c[1] - c[3]) > 1e-4
    )
)
def test_any_box(corners: tuple[float, ...]) -> None:
    spec = get_spec("resnet-50", 300)
    (x0, x1), (y0, y1) = sorted(corners[::2]), sorted(corners[1::2])
    boxes = np.array([(x0, y0, x1, y1)], np.float32)
    np.testing.assert_allclose(best_overlaps(boxes, spec), brute_force(boxes, spec), atol=5e-6)


@pytest.mark.parametrize("spec", SPECS)
def test_anchors_fit_themselves(spec: Spec) -> None:
    """Every anchor inside the image has IoU 1 with one: the search finds each of them."""
    anchors = make_anchors(spec)[0]
    inside = anchors[((anchors >= 0) & (anchors <= 1)).all(axis=1)]
    np.testing.assert_allclose(best_overlaps(inside, spec), 1, atol=1e-5)


def test_no_boxes() -> None:
    assert best_overlaps(np.zeros((0, 4), np.float32), get_spec("resnet-50", 300)).shape == (0,)


def test_200_000_boxes_take_seconds_and_little_memory() -> None:
    boxes = np.resize(random_boxes(1000, seed=2), (200_000, 4))
    tracemalloc.start()
    try:
        begun = time.process_time()
        best_overlaps(boxes, get_spec("resnet-50", 512))
        seconds = time.process_time() - begun
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seconds < 10
    assert peak < 16 * 2**20


@pytest.mark.parametrize("spec", SPECS)
def test_sizes_are_those_of_the_anchors(spec: Spec) -> None:
    there = np.sqrt(area(make_anchors(spec)[0].astype(np.float64)))
    sizes = np.array(anchor_sizes(spec))
    assert (np.diff(sizes) > 0).all()
    distances = np.abs(there[:, None] - sizes)
    assert distances.min(axis=1).max() < 1e-5  # every anchor has one of the sizes
    assert distances.min(axis=0).max() < 1e-5  # and every size an anchor
