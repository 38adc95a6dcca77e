"""Average precision: by hand, by definition, and against two other programs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagemaker_object_detection.evaluation import matching
from sagemaker_object_detection.evaluation.average_precision import (
    AveragePrecision,
    area_under_curve,
    eleven_points,
    score,
)
from sagemaker_object_detection.evaluation.matching import OURS, Rules
from tests.evaluation.samples import results_of

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


Image = tuple[npt.NDArray[Any], npt.NDArray[Any], Sequence[int], Sequence[bool]]


def scored(
    *images: Image, classes: int = 1, threshold: float = 0.5, rules: Rules = OURS
) -> AveragePrecision:
    """The score of images: detections (d, 6), boxes (n, 4), class ids and difficult flags."""
    return score(results_of(images), classes, threshold, rules)


def image(found: npt.NDArray[Any], *truth: Row) -> Image:
    """An image with boxes of class 0."""
    return found, boxes(*truth), [0] * len(truth), [False] * len(truth)


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


@pytest.mark.parametrize("area", [area_under_curve, eleven_points])
def test_without_positives_the_area_is_not_a_number(area: Callable[..., float]) -> None:
    assert math.isnan(area(np.array([], bool), 0))
    assert math.isnan(area(np.array([False]), 0))


ELEVEN = [
    pytest.param([1, 1], 2, 1.0, id="all found, nothing else"),
    pytest.param([], 2, 0.0, id="nothing found"),
    pytest.param([0, 0], 2, 0.0, id="nothing right"),
    pytest.param([1], 2, 6 / 11, id="half of them: recall 0 to 0.5"),
    pytest.param([1, 1, 1], 10, 4 / 11, id="recall of just 0.3"),
    pytest.param([1, 0, 1], 2, (6 + 5 * 2 / 3) / 11, id="one wrong between"),
    pytest.param([0, 1, 1], 2, 2 / 3, id="precision made monotone"),
]


@pytest.mark.parametrize(("right", "positives", "expected"), ELEVEN)
def test_eleven_points(right: list[int], positives: int, expected: float) -> None:
    assert eleven_points(np.array(right, bool), positives) == pytest.approx(expected)


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
    flags = difficult or [False] * len(truth)
    result = scored((found, boxes(*truth), class_ids, flags), classes=2)
    present = [value for value in expected if value is not None]
    assert [None if math.isnan(value) else value for value in result.per_class] == [
        None if value is None else pytest.approx(value) for value in expected
    ]
    assert result.mean == pytest.approx(np.mean(present) if present else 0.0)


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
    half = image(rows((0, 0.9, (0, 0, 0.5, 1))), (0, 0, 1, 1))
    assert scored(half, threshold=threshold).mean == expected, reason
    at_least = scored(half, threshold=threshold, rules=Rules(at_least=True)).mean
    assert at_least == (1.0 if threshold == 0.5 else expected), reason


def test_no_overlap_is_never_right() -> None:
    assert scored(image(rows((0, 0.9, NOWHERE)), RIGHT), threshold=0.0).mean == 0


def test_without_a_box_of_the_class_nothing_is_right() -> None:
    """Not even where an IoU of 0 is enough."""
    elsewhere = (rows((1, 0.9, LEFT)), boxes(LEFT), [0], [False])
    missed = (rows(), boxes(LEFT), [1], [False])
    found = scored(elsewhere, missed, classes=2, threshold=0.0, rules=Rules(at_least=True))
    assert found.per_class == (0, 0)


def test_boxes_of_no_number_are_wrong() -> None:
    """What a network says that has lost its way."""
    nan = (math.nan, math.nan, math.nan, math.nan)
    assert scored(image(rows((0, 0.9, nan), (0, 0.5, LEFT)), LEFT)).mean == pytest.approx(0.5)


def test_detections_of_all_images_are_ranked_together() -> None:
    right, wrong = image(rows((0, 0.5, LEFT)), LEFT), image(rows((0, 0.9, NOWHERE)), LEFT)
    assert scored(right, wrong).mean == pytest.approx(0.5 * 0.5)


def test_detections_in_an_image_without_boxes_are_wrong() -> None:
    """The MApMetric of MXNet's SSD example leaves such images out, so that they cost nothing."""
    right, negative = image(rows((0, 0.5, LEFT)), LEFT), image(rows((0, 0.9, LEFT)))
    assert scored(right, negative).mean == pytest.approx(0.5)


def test_a_box_of_one_image_is_not_found_in_another() -> None:
    assert scored(image(rows(), LEFT), image(rows((0, 0.5, LEFT)), RIGHT)).mean == 0


def test_nothing_seen_is_no_error() -> None:
    result = scored(classes=2)
    assert result.mean == 0
    assert all(math.isnan(value) for value in result.per_class)


def test_pairs_are_looked_at_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, and the score does not depend on where the cuts are."""
    images = [
        (found, truth, labels[:, 0].astype(int), labels[:, 1].astype(bool))
        for found, truth, labels in pixel_scenes(3, 30, 3)
    ]
    whole = scored(*images, classes=3)
    for pairs in (1, 2, 7, 64):
        monkeypatch.setattr(matching, "_PAIRS_AT_ONCE", pairs)
        assert scored(*images, classes=3) == whole


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param((rows((1, 0.9, LEFT)), boxes(LEFT), [0], [False]), id="detection"),
        pytest.param((rows(), boxes(LEFT), [1], [False]), id="box"),
    ],
)
def test_a_class_that_is_none(wrong: Image) -> None:
    with pytest.raises(ValueError, match=r"has class_id 1, not in 0\.\.0"):
        scored(wrong)


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
    expected = [naive(images, class_id, threshold) for class_id in (0, 1)]
    result = scored(*images, classes=2, threshold=threshold)
    assert result.per_class == pytest.approx(tuple(expected), nan_ok=True)
    present = [value for value in expected if not math.isnan(value)]
    assert result.mean == pytest.approx(np.mean(present) if present else 0.0)


@settings(max_examples=100, deadline=None)
@given(images=scenes(), width=st.integers(0, 12), height=st.integers(0, 12))
def test_the_unit_of_the_boxes_does_not_matter(
    images: list[Image], width: int, height: int
) -> None:
    """In 0..1 or in pixels; powers of 2, so that rounding cannot part boxes that overlap alike."""
    factors = np.array([2**width, 2**height] * 2)
    scaled = [
        (np.hstack([found[:, :2], found[:, 2:] * factors]), truth * factors, class_ids, difficult)
        for found, truth, class_ids, difficult in images
    ]
    assert scored(*scaled, classes=2).mean == scored(*images, classes=2).mean


def distinct(images: list[Image], draw: st.DataObject) -> list[Image]:
    """The images with scores that all differ."""
    count = sum(len(found) for found, *_ in images)
    places = iter(draw.draw(st.permutations(range(count))))
    made = []
    for found, *truth in images:
        scores = [(1 + next(places)) / (count + 1) for _ in found]
        made.append((np.column_stack([found[:, 0], scores, found[:, 2:]]), *truth))
    return made


@settings(max_examples=100, deadline=None)
@given(images=scenes(), data=st.data())
def test_the_order_of_images_and_rows_does_not_matter(
    images: list[Image], data: st.DataObject
) -> None:
    """Where no two scores are alike; of equal ones the earlier image's comes first."""
    images = distinct(images, data)
    mixed = []
    for found, truth, class_ids, difficult in data.draw(st.permutations(images)):
        order = np.array(data.draw(st.permutations(range(len(found)))), int)
        mixed.append((found[order], truth, class_ids, difficult))
    assert scored(*mixed, classes=2) == scored(*images, classes=2)


@settings(max_examples=100, deadline=None)
@given(images=scenes(), repeats=st.integers(2, 3), data=st.data())
def test_the_order_of_equal_detections_does_not_matter(
    images: list[Image], repeats: int, data: st.DataObject
) -> None:
    """The second of two that are alike in all is wrong, whichever it is."""
    images = distinct(images, data)
    many = [(np.repeat(found, repeats, axis=0), *truth) for found, *truth in images]
    turned = [(np.tile(found, (repeats, 1))[::-1], *truth) for found, *truth in images]
    assert scored(*turned, classes=2) == scored(*many, classes=2)


@settings(max_examples=100, deadline=None)
@given(images=scenes(), power=st.sampled_from([0.5, 2, 3]), offset=st.sampled_from([0.0, 1.0]))
def test_only_the_order_of_the_scores_matters(
    images: list[Image], power: float, offset: float
) -> None:
    moved = [
        (np.column_stack([found[:, 0], found[:, 1] ** power + offset, found[:, 2:]]), *truth)
        for found, *truth in images
    ]
    assert scored(*moved, classes=2) == scored(*images, classes=2)


@pytest.mark.skipif(not ORACLE.is_dir(), reason=f"no published example at {ORACLE}")
@pytest.mark.parametrize("at_least", [True, False], ids=["at least", "more than"])
@pytest.mark.parametrize(
    ("eleven", "published"),
    [pytest.param(False, 0.2457, id="all points"), pytest.param(True, 0.2684, id="11 points")],
)
def test_published_example(eleven: bool, published: float, at_least: bool) -> None:
    """15 boxes, 24 detections of Object-Detection-Metrics at IoU 0.3.

    Its boxes hold the pixels of both their edges. It asks for IoU >= 0.3; no IoU is just that.
    """

    def read(path: Path, numbers: int) -> npt.NDArray[np.float64]:
        lines = [line.split()[1:] for line in path.read_text().splitlines() if line.strip()]
        table = np.array(lines, float).reshape(-1, numbers)
        table[:, -2:] += table[:, -4:-2]
        return table

    images = []
    for path in sorted((ORACLE / "groundtruths").glob("*.txt")):
        truth = read(path, 4)
        found = read(ORACLE / "detections" / path.name, 5)
        found = np.hstack([np.zeros((len(found), 1)), found])
        images.append((found, truth, [0] * len(truth), [False] * len(truth)))
    rules = Rules(at_least=at_least, whole_pixels=True, eleven_points=eleven)
    assert scored(*images, threshold=0.3, rules=rules).mean == pytest.approx(published, abs=5e-5)


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


def gluoncv_score(metric: Any, images: Sequence[Scene]) -> list[float]:  # noqa: ANN401
    """AP of every class and their mean."""
    for found, truth, labels in images:
        metric.update(
            found[None, :, 2:],
            found[None, :, 0],
            found[None, :, 1],
            truth[None],
            labels[None, :, 0],
            labels[None, :, 1],
        )
    return list(metric.get()[1])


def our_score(images: Sequence[Scene], classes: int, rules: Rules = OURS) -> list[float]:
    result = scored(*map(split, images), classes=classes, rules=rules)
    return [*result.per_class, result.mean]


def split(scene: Scene) -> Image:
    found, truth, labels = scene
    return found, truth, labels[:, 0].astype(int).tolist(), labels[:, 1].astype(bool).tolist()


GLUONCV = Rules(at_least=True, whole_pixels=True)


@pytest.mark.parametrize("seed", range(20))
def test_equals_gluoncv_on_pixels(voc: ModuleType, seed: int) -> None:
    images = pixel_scenes(seed, 20, 3)
    ours = our_score(images, 3, GLUONCV)
    assert 0.02 < ours[-1] < 0.9  # an example that tells something
    theirs = gluoncv_score(voc.VOCMApMetric(0.5, ["0", "1", "2"]), images)
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_equals_gluoncv_at_eleven_points(voc: ModuleType, seed: int) -> None:
    images = pixel_scenes(seed, 20, 3)
    ours = our_score(images, 3, replace(GLUONCV, eleven_points=True))
    theirs = gluoncv_score(voc.VOC07MApMetric(0.5, ["0", "1", "2"]), images)
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_gluoncv_counts_recall_in_floats(voc: ModuleType) -> None:
    """3 of 10 boxes do not reach its third step, 0.30000000000000004."""
    truth = [(20.0 * number, 0.0, 20.0 * number + 9, 9.0) for number in range(10)]
    three = [
        (rows(*((0, 0.9, box) for box in truth[:3])), boxes(*truth), np.zeros((10, 2), dtype=int))
    ]
    rules = replace(GLUONCV, eleven_points=True)
    assert our_score(three, 1, rules)[-1] == pytest.approx(4 / 11)
    assert gluoncv_score(voc.VOC07MApMetric(0.5, ["0"]), three)[-1] == pytest.approx(3 / 11)


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        (replace(GLUONCV, whole_pixels=False), "its + 1 moves the IoU of small boxes"),
        (replace(GLUONCV, at_least=False), "an IoU of 0.5 is enough"),
    ],
)
def test_each_rule_is_needed(voc: ModuleType, rules: Rules, reason: str) -> None:
    half = (rows((0, 0.9, (0, 0, 4, 9))), boxes((0, 0, 9, 9)), np.array([[0, 0]]))
    theirs = gluoncv_score(voc.VOCMApMetric(0.5, ["0"]), [half])
    assert theirs == our_score([half], 1, GLUONCV) == [1, 1]
    assert our_score([half], 1, rules) == [0, 0], reason


def test_normalised_boxes(voc: ModuleType) -> None:
    """GluonCV's +1 makes an IoU of 1/7 one of 0.65 in 0..1: a wrong detection scores 1 there.

    Our rule adds a pixel of the picture, whatever the unit of the boxes.
    """
    wrong = (np.array([[0, 0.9, *LEFT]]), boxes((0.3, 0, 0.7, 0.4)), np.array([[0, 0]]))
    assert gluoncv_score(voc.VOCMApMetric(0.5, ["0"]), [wrong])[-1] == 1
    assert our_score([wrong], 1)[-1] == 0
    assert score(results_of([split(wrong)], (640, 480)), 1, 0.5, GLUONCV).mean == 0


def test_score_before_any_update(voc: ModuleType) -> None:
    """An empty validation is an error in GluonCV."""
    with pytest.raises(ValueError, match="max"):
        voc.VOCMApMetric(0.5, ["a"]).get()
    assert scored().mean == 0


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
