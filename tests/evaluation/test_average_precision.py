"""Average precision: by hand, by definition, and against two other programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagemaker_object_detection.evaluation.average_precision import (
    MeanAveragePrecision,
    area_under_curve,
)

ORACLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "map-oracle"

LEFT, RIGHT = (0.0, 0.0, 0.4, 0.4), (0.6, 0.6, 1.0, 1.0)
NEAR_LEFT = (0.1, 0.0, 0.5, 0.4)  # IoU 0.6 with LEFT
NOWHERE = (0.0, 0.9, 0.05, 1.0)

Row = tuple[float, ...]


def rows(*found: tuple[int, float, Row]) -> npt.NDArray[np.float32]:
    """(class_id, score, box) of each detection -> rows (d, 6)."""
    return np.array([(c, s, *box) for c, s, box in found], np.float32).reshape(-1, 6)


def boxes(*given: Row) -> npt.NDArray[np.float64]:
    return np.array(given, float).reshape(-1, 4)


CURVES = [
    pytest.param([1, 1], 2, 1.0, id="all found, nothing else"),
    pytest.param([], 2, 0.0, id="nothing found"),
    pytest.param([0, 0], 2, 0.0, id="nothing right"),
    pytest.param([1], 2, 0.5, id="half of them found, at precision 1"),
    pytest.param([0, 1], 1, 0.5, id="found behind one that is wrong"),
    pytest.param([1, 0, 0, 0], 1, 1.0, id="wrong ones behind all boxes cost nothing"),
    pytest.param([1, 0, 1], 2, 0.5 + 0.5 * 2 / 3, id="one wrong between"),
    pytest.param([0, 1, 1], 2, 2 / 3, id="precision made monotone: 2/3 holds from the beginning"),
    pytest.param([0, 1, 0, 1, 1], 4, 0.25 * 0.6 * 3, id="monotone over two dips, one not found"),
]


@pytest.mark.parametrize(("right", "positives", "expected"), CURVES)
def test_area_under_curve(right: list[int], positives: int, expected: float) -> None:
    assert area_under_curve(np.array(right, bool), positives) == pytest.approx(expected)


def test_without_positives_the_area_is_not_a_number() -> None:
    assert math.isnan(area_under_curve(np.array([], bool), 0))
    assert math.isnan(area_under_curve(np.array([False]), 0))


# One image: detections, boxes, class ids, difficult flags, AP of classes 0 and 1 (None: absent).
IMAGES = [
    pytest.param(
        rows((0, 0.9, LEFT), (1, 0.8, RIGHT)), [LEFT, RIGHT], [0, 1], None, (1.0, 1.0), id="right"
    ),
    pytest.param(rows((1, 0.9, LEFT)), [LEFT], [0], None, (0.0, None), id="wrong class"),
    pytest.param(
        rows((1, 0.9, LEFT), (1, 0.8, RIGHT)),
        [LEFT, RIGHT],
        [0, 1],
        None,
        (0.0, 0.5),
        id="on a box of another class only: wrong, and in front of the right one",
    ),
    pytest.param(
        rows((0, 0.9, LEFT), (0, 0.8, NEAR_LEFT)),
        [LEFT, RIGHT],
        [0, 0],
        None,
        (0.5, None),
        id="a box is found once: the second is wrong",
    ),
    pytest.param(
        rows((0, 0.8, LEFT), (0, 0.9, NEAR_LEFT), (0, 0.7, RIGHT)),
        [LEFT, RIGHT],
        [0, 0],
        None,
        (0.5 + 0.5 * 2 / 3, None),
        id="the better score takes the box, not the better overlap; the order of rows is nothing",
    ),
    pytest.param(
        rows((0, 0.9, LEFT), (0, 0.8, (0.05, 0.0, 0.45, 0.4))),
        [LEFT, (0.2, 0.0, 0.6, 0.4)],
        [0, 0],
        None,
        (0.5, None),
        id="no second choice: the best-overlapping box is taken, though another one is free",
    ),
    pytest.param(
        rows((-1, 0.9, LEFT), (0, 0.8, LEFT), (-1, 0.95, NOWHERE)),
        [LEFT],
        [0],
        None,
        (1.0, None),
        id="suppressed rows do not count",
    ),
    pytest.param(
        rows((0, 0.9, NEAR_LEFT), (0, 0.8, RIGHT)),
        [LEFT, RIGHT],
        [0, 0],
        [True, False],
        (1.0, None),
        id="found a difficult box: counts neither way",
    ),
    pytest.param(
        rows((0, 0.9, LEFT), (0, 0.85, NEAR_LEFT), (0, 0.8, RIGHT)),
        [LEFT, RIGHT],
        [0, 0],
        [True, False],
        (1.0, None),
        id="found a difficult box twice: neither counts",
    ),
    pytest.param(
        rows((0, 0.8, RIGHT)), [LEFT, RIGHT], [0, 0], [True, False], (1.0, None), id="not found"
    ),
    pytest.param(
        rows((0, 0.9, LEFT)), [LEFT], [0], [True], (None, None), id="difficult boxes only: no class"
    ),
    pytest.param(
        rows((0, 0.9, LEFT)),
        [LEFT, RIGHT],
        [0, 0],
        [True, False],
        (0.0, None),
        id="all detections hit a difficult box: the other box stays to be found",
    ),
    pytest.param(rows(), [LEFT], [1], None, (None, 0.0), id="no detections"),
    pytest.param(rows((0, 0.9, LEFT)), [], [], None, (None, None), id="no boxes"),
    pytest.param(rows(), [], [], None, (None, None), id="neither"),
]


@pytest.mark.parametrize(("found", "truth", "class_ids", "difficult", "expected"), IMAGES)
def test_one_image(
    found: npt.NDArray[np.float32],
    truth: list[Row],
    class_ids: list[int],
    difficult: list[bool] | None,
    expected: tuple[float | None, ...],
) -> None:
    metric = MeanAveragePrecision(2)
    flags = None if difficult is None else np.array(difficult, bool)
    metric.update(found, boxes(*truth), np.array(class_ids, int), flags)
    score = metric.compute()
    present = [value for value in expected if value is not None]
    assert [None if math.isnan(value) else value for value in score.per_class] == [
        None if value is None else pytest.approx(value) for value in expected
    ]
    assert score.mean == pytest.approx(np.mean(present) if present else 0.0)


@pytest.mark.parametrize(
    ("threshold", "expected", "reason"),
    [
        (0.49, 1.0, "IoU above it"),
        (0.5, 0.0, "IoU equal to it: it has to be exceeded"),
        (0.51, 0.0, "IoU below it"),
        (0.0, 1.0, "any overlap"),
    ],
)
def test_overlap_threshold(threshold: float, expected: float, reason: str) -> None:
    metric = MeanAveragePrecision(1, threshold)
    metric.update(rows((0, 0.9, (0, 0, 0.5, 1))), boxes((0, 0, 1, 1)), np.array([0]))
    assert metric.compute().mean == expected, reason


def test_no_overlap_is_never_right() -> None:
    metric = MeanAveragePrecision(1, 0.0)
    metric.update(rows((0, 0.9, NOWHERE)), boxes(RIGHT), np.array([0]))
    assert metric.compute().mean == 0


def test_detections_of_all_images_are_ranked_together() -> None:
    metric = MeanAveragePrecision(1)
    metric.update(rows((0, 0.5, LEFT)), boxes(LEFT), np.array([0]))
    metric.update(rows((0, 0.9, NOWHERE)), boxes(LEFT), np.array([0]))
    assert metric.compute().mean == pytest.approx(0.5 * 0.5)


def test_detections_in_an_image_without_boxes_are_wrong() -> None:
    """The MApMetric of MXNet's SSD example leaves such images out, so that they cost nothing."""
    metric = MeanAveragePrecision(1)
    metric.update(rows((0, 0.5, LEFT)), boxes(LEFT), np.array([0]))
    metric.update(rows((0, 0.9, LEFT)), boxes(), np.array([], int))
    assert metric.compute().mean == pytest.approx(0.5)


def test_a_box_of_one_image_is_not_found_in_another() -> None:
    metric = MeanAveragePrecision(1)
    metric.update(rows(), boxes(LEFT), np.array([0]))
    metric.update(rows((0, 0.5, LEFT)), boxes(RIGHT), np.array([0]))
    assert metric.compute().mean == 0


def test_nothing_seen_is_no_error() -> None:
    score = MeanAveragePrecision(2).compute()
    assert score.mean == 0
    assert all(math.isnan(value) for value in score.per_class)


def test_reset_and_compute_twice() -> None:
    metric = MeanAveragePrecision(1)
    metric.update(rows((0, 0.9, NOWHERE)), boxes(LEFT), np.array([0]))
    assert metric.compute() == metric.compute()
    metric.reset()
    metric.update(rows((0, 0.9, LEFT)), boxes(LEFT), np.array([0]))
    assert metric.compute().mean == 1


Image = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], list[int], list[bool]]


def naive(images: Sequence[Image], class_id: int, threshold: float) -> float:
    """AP of one class, straight from the definition, one detection at a time."""

    def overlap(a: Row, b: Row) -> float:
        width = min(a[2], b[2]) - max(a[0], b[0])
        height = min(a[3], b[3]) - max(a[1], b[1])
        both = max(width, 0) * max(height, 0)
        areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
        return both / (sum(areas) - both)

    positives = 0
    ranked = []
    for number, (found, _, class_ids, difficult) in enumerate(images):
        pairs = zip(class_ids, difficult, strict=True)
        positives += sum(c == class_id and not hard for c, hard in pairs)
        ranked += [
            (-row[1], number, order, tuple(row[2:]))
            for order, row in enumerate(found)
            if row[0] == class_id
        ]
    if not positives:
        return math.nan
    taken: set[tuple[int, int]] = set()
    right: list[bool] = []
    for _, number, _, box in sorted(ranked):
        _, truth, class_ids, difficult = images[number]
        own = [k for k, c in enumerate(class_ids) if c == class_id]
        best = max(own, key=lambda k: overlap(box, tuple(truth[k])), default=None)
        if best is None or overlap(box, tuple(truth[best])) <= threshold:
            right.append(False)
        elif not difficult[best]:
            right.append((number, best) not in taken)
            taken.add((number, best))
    points = [
        (sum(right[:count]) / positives, sum(right[:count]) / count)
        for count in range(1, len(right) + 1)
    ]
    area, reached = 0.0, 0.0
    for recall in sorted({point[0] for point in points}):
        area += (recall - reached) * max(p for r, p in points if r >= recall)
        reached = recall
    return area


@st.composite
def scenes(draw: st.DrawFn) -> list[Image]:
    """Up to four images of a few boxes on a coarse grid, so that all kinds of ties come up."""

    def some(count: int) -> npt.NDArray[np.float64]:
        corner = st.integers(0, 4)
        side = st.integers(1, 3)
        given = [
            (x := draw(corner), y := draw(corner), x + draw(side), y + draw(side))
            for _ in range(count)
        ]
        return boxes(*given) / 8

    images = []
    for _ in range(draw(st.integers(1, 4))):
        truth = some(draw(st.integers(0, 4)))
        class_ids = [draw(st.integers(0, 1)) for _ in truth]
        difficult = [draw(st.integers(0, 3)) == 0 for _ in truth]
        places = some(draw(st.integers(0, 6)))
        heads = [(draw(st.integers(-1, 1)), draw(st.integers(1, 9)) / 10) for _ in places]
        found = np.hstack([np.array(heads, float).reshape(-1, 2), places])
        images.append((found, truth, class_ids, difficult))
    return images


@settings(max_examples=300, deadline=None)
@given(images=scenes(), threshold=st.sampled_from([0.0, 0.3, 0.5, 0.75]))
def test_equals_the_definition(images: list[Image], threshold: float) -> None:
    metric = MeanAveragePrecision(2, threshold)
    for found, truth, class_ids, difficult in images:
        metric.update(found, truth, np.array(class_ids, int), np.array(difficult, bool))
    expected = [naive(images, class_id, threshold) for class_id in (0, 1)]
    score = metric.compute()
    assert score.per_class == pytest.approx(tuple(expected), nan_ok=True)
    present = [value for value in expected if not math.isnan(value)]
    assert score.mean == pytest.approx(np.mean(present) if present else 0.0)


@settings(max_examples=100, deadline=None)
@given(images=scenes(), width=st.integers(0, 12), height=st.integers(0, 12))
def test_the_unit_of_the_boxes_does_not_matter(
    images: list[Image], width: int, height: int
) -> None:
    """In 0..1 or in pixels; powers of 2, so that rounding cannot part boxes that overlap alike."""
    metrics = MeanAveragePrecision(2), MeanAveragePrecision(2)
    for metric, factor in zip(metrics, ([1] * 4, [2**width, 2**height] * 2), strict=True):
        for found, truth, class_ids, difficult in images:
            scaled = np.hstack([found[:, :2], found[:, 2:] * factor])
            flags = np.array(difficult, bool)
            metric.update(scaled, truth * factor, np.array(class_ids, int), flags)
    assert metrics[0].compute().mean == metrics[1].compute().mean


@pytest.mark.skipif(not ORACLE.is_dir(), reason=f"no published example at {ORACLE}")
def test_published_example() -> None:
    """15 boxes, 24 detections of Object-Detection-Metrics: 24.57 % at IoU 0.3, all points.

    Its boxes hold the pixels of both their edges, so that right and bottom lie one further here.
    It asks for IoU >= 0.3 and we for more; no IoU of the example is 0.3.
    """

    def read(path: Path, numbers: int) -> npt.NDArray[np.float64]:
        lines = [line.split()[1:] for line in path.read_text().splitlines() if line.strip()]
        table = np.array(lines, float).reshape(-1, numbers)
        table[:, -2:] += table[:, -4:-2] + 1
        return table

    for threshold, expected in ((0.3, 0.2457), (0.2999, 0.2457), (0.3001, 0.2457)):
        metric = MeanAveragePrecision(1, threshold)
        for path in sorted((ORACLE / "groundtruths").glob("*.txt")):
            truth = read(path, 4)
            found = read(ORACLE / "detections" / path.name, 5)
            found = np.hstack([np.zeros((len(found), 1)), found])
            metric.update(found, truth, np.zeros(len(truth), int))
        assert metric.compute().mean == pytest.approx(expected, abs=5e-5)


@pytest.fixture(scope="module")
def voc() -> ModuleType:
    """GluonCV's metrics."""
    return pytest.importorskip("gluoncv.utils.metrics.voc_detection")


Scene = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]


def pixel_scenes(seed: int, count: int, classes: int) -> list[Scene]:
    """Per image: detections (d, 6), boxes (n, 4) and labels (n, 2) [class_id, difficult].

    Whole pixels; detections lie near boxes or anywhere; no two scores are alike.
    """
    generator = np.random.default_rng(seed)
    made = []
    scores = iter(generator.permutation(1000) / 1000)
    for _ in range(count):
        corners = generator.integers(0, 150, (generator.integers(1, 6), 2))
        truth = np.hstack([corners, corners + generator.integers(10, 60, corners.shape)])
        labels = np.stack(
            [generator.integers(0, classes, len(truth)), generator.random(len(truth)) < 0.2], axis=1
        )
        near = truth[generator.integers(0, len(truth), 8)] + generator.integers(-9, 10, (8, 4))
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        heads = [(generator.integers(-1, classes), next(scores)) for _ in near]
        made.append((np.hstack([heads, near]).astype(float), truth.astype(float), labels))
    return made


def gluoncv_score(voc: ModuleType, images: list[Scene], classes: int, shift: float) -> list[float]:
    """AP of every class and their mean; it adds 1 to right and bottom, `shift` takes that away."""
    metric = voc.VOCMApMetric(0.5, [str(number) for number in range(classes)])
    less = np.array([0, 0, shift, shift])
    for found, truth, labels in images:
        metric.update(
            found[None, :, 2:] - less,
            found[None, :, 0],
            found[None, :, 1],
            truth[None] - less,
            labels[None, :, 0],
            labels[None, :, 1],
        )
    return list(metric.get()[1])


def our_score(images: list[Scene], classes: int) -> list[float]:
    metric = MeanAveragePrecision(classes, np.nextafter(0.5, 0))  # GluonCV: IoU 0.5 is enough
    for found, truth, labels in images:
        metric.update(found, truth, labels[:, 0].astype(int), labels[:, 1].astype(bool))
    score = metric.compute()
    return [*score.per_class, score.mean]


@pytest.mark.parametrize("seed", range(20))
def test_equals_gluoncv_on_pixels(voc: ModuleType, seed: int) -> None:
    images = pixel_scenes(seed, 20, 3)
    ours = our_score(images, 3)
    assert 0.02 < ours[-1] < 0.9  # an example that tells something
    np.testing.assert_allclose(ours, gluoncv_score(voc, images, 3, 1), atol=1e-9)


def test_gluoncv_without_the_shift_scores_otherwise(voc: ModuleType) -> None:
    """That +1 is not for nothing in the test above: it moves scores of small boxes."""
    images = pixel_scenes(0, 20, 3)
    tiny = [
        (np.hstack([found[:, :2], found[:, 2:] / 10]), truth / 10, labels)
        for found, truth, labels in images
    ]
    np.testing.assert_allclose(our_score(tiny, 3), our_score(images, 3))
    assert abs(gluoncv_score(voc, tiny, 3, 0)[-1] - our_score(images, 3)[-1]) > 0.01


def test_normalised_boxes(voc: ModuleType) -> None:
    """GluonCV's +1 makes an IoU of 1/7 one of 0.65 in 0..1: a wrong detection scores 1 there."""
    wrong = [(np.array([[0, 0.9, *LEFT]]), boxes((0.3, 0, 0.7, 0.4)), np.array([[0, 0]]))]
    assert gluoncv_score(voc, wrong, 1, 0)[-1] == 1
    assert our_score(wrong, 1)[-1] == 0


def test_score_before_any_update(voc: ModuleType) -> None:
    """An empty validation is an error in GluonCV."""
    with pytest.raises(ValueError, match="max"):
        voc.VOCMApMetric(0.5, ["a"]).get()
    assert MeanAveragePrecision(1).compute().mean == 0


def test_images_of_different_counts(voc: ModuleType) -> None:
    """GluonCV takes lists from several devices only if their images have equally many boxes."""
    images = pixel_scenes(1, 2, 2)
    images[0] = (images[0][0][:3], *images[0][1:])
    metric = voc.VOCMApMetric(0.5, ["a", "b"])
    columns = [
        [found[None, :, 2:] for found, _, _ in images],
        [found[None, :, 0] for found, _, _ in images],
        [found[None, :, 1] for found, _, _ in images],
        [truth[None] for _, truth, _ in images],
        [labels[None, :, 0] for _, _, labels in images],
    ]
    with (
        pytest.warns(UserWarning, match="ragged"),
        pytest.raises((IndexError, ValueError)),
    ):
        metric.update(*columns)
    assert 0 <= our_score(images, 2)[-1] <= 1
