"""Targets and loss: as GluonCV's where it is right, and right where it is not."""

from __future__ import annotations

from typing import Any

import mxnet as mx
import numpy as np
import pytest
from gluoncv.loss import SSDMultiBoxLoss
from gluoncv.model_zoo.ssd.target import SSDTargetGenerator
from mxnet import autograd
from numpy.typing import NDArray

from sagemaker_object_detection.boxes import iou
from sagemaker_object_detection.model.loss import MultiBoxLoss, Targets
from sagemaker_object_detection.model.specs import VARIANCES, get_spec, make_anchors

CLASSES = 3
ANCHORS = make_anchors(get_spec("resnet-50", 300))
COUNT = ANCHORS.shape[1]
PADDING = (-1.0,) * 5

GOOD = (1.0, 0.2, 0.3, 0.6, 0.8)
ZERO_WIDTH = (2.0, 0.5, 0.2, 0.5, 0.7)
OUTSIDE = (0.0, 1.5, 1.5, 1.8, 1.9)


def _labels(*images: tuple[tuple[float, ...], ...]) -> mx.nd.NDArray:
    rows = max(1, *(len(image) for image in images))
    return mx.nd.array([[*image, *[PADDING] * (rows - len(image))] for image in images])


def _targets(labels: mx.nd.NDArray) -> tuple[NDArray[Any], NDArray[Any]]:
    """Class targets (B, N) and box targets (B, N, 4)."""
    classes, boxes, positives = Targets()(mx.nd.array(ANCHORS), labels)
    assert positives.shape == (1,)
    assert positives.asscalar() == (classes > 0).sum().asscalar()
    return classes.asnumpy(), boxes.asnumpy()


def _gluoncv_targets(labels: mx.nd.NDArray) -> tuple[NDArray[Any], NDArray[Any]]:
    """What GluonCV's training transform makes of the labels of one image."""
    centre = (ANCHORS[..., :2] + ANCHORS[..., 2:]) / 2
    size = ANCHORS[..., 2:] - ANCHORS[..., :2]
    anchors = mx.nd.array(np.concatenate([centre, size], axis=-1))
    generator = SSDTargetGenerator(negative_mining_ratio=-1, stds=VARIANCES)
    classes, boxes, _ = generator(anchors, None, labels[:, :, 1:5], labels[:, :, 0:1])
    return classes.asnumpy(), boxes.asnumpy()


def _random_boxes(seed: int, count: int) -> tuple[tuple[float, ...], ...]:
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 0.6, (count, 2))
    size = random.uniform(0.1, 0.4, (count, 2))
    rows = np.hstack([random.integers(0, CLASSES, (count, 1)), corner, corner + size])
    return tuple(tuple(row) for row in rows.tolist())


def _heads(seed: int, batch: int) -> tuple[mx.nd.NDArray, mx.nd.NDArray]:
    random = np.random.default_rng(seed)
    scores = random.normal(0, 2, (batch, COUNT, CLASSES + 1))
    offsets = random.normal(0, 2, (batch, COUNT, 4))  # both sides of smooth L1's bend
    return mx.nd.array(scores), mx.nd.array(offsets)


def _loss(
    heads: tuple[mx.nd.NDArray, mx.nd.NDArray], labels: mx.nd.NDArray, hybridized: bool = True
) -> tuple[float, float]:
    loss, targets = MultiBoxLoss(), Targets()
    if hybridized:
        loss.hybridize(static_alloc=True, static_shape=True)
        targets.hybridize(static_alloc=True, static_shape=True)
    cross_entropy, smooth_l1 = loss(*heads, *targets(mx.nd.array(ANCHORS), labels))
    assert cross_entropy.shape == smooth_l1.shape == (1,)
    return cross_entropy.asscalar(), smooth_l1.asscalar()


def test_targets_by_hand() -> None:
    """Every anchor that overlaps the box by half, and the best one, are its; the others nothing's.

    The offsets are those of the SSD paper: the centre's shift in sides of the anchor, the logarithm
    of the sides' ratio, divided by 0.1 and 0.2.
    """
    classes, boxes = _targets(_labels((GOOD,)))
    overlap = iou(ANCHORS[0], np.array([GOOD[1:]]))[:, 0]
    expected = overlap >= 0.5
    expected[overlap.argmax()] = True
    assert expected.sum() > 1
    np.testing.assert_array_equal(classes[0], np.where(expected, GOOD[0] + 1, 0))
    assert not boxes[0][~expected].any()
    best = overlap.argmax()
    low, high = ANCHORS[0, best, :2], ANCHORS[0, best, 2:]
    box_low, box_high = np.array(GOOD[1:3]), np.array(GOOD[3:5])
    shift = (box_low + box_high - low - high) / 2 / (high - low) / 0.1
    growth = np.log((box_high - box_low) / (high - low)) / 0.2
    np.testing.assert_allclose(boxes[0, best], [*shift, *growth], atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_targets_as_gluoncvs(seed: int) -> None:
    """But for anchors that tie for a box's best, which GluonCV marks too."""
    labels = _labels(_random_boxes(seed, 3))
    classes, boxes = _targets(labels)
    their_classes, their_boxes = _gluoncv_targets(labels)
    both = (classes > 0) & (their_classes > 0)
    assert both.sum() > 3
    assert (classes != their_classes).sum() <= 2
    np.testing.assert_array_equal(classes[both], their_classes[both])
    np.testing.assert_allclose(boxes[both], their_boxes[both], atol=1e-4)


def test_a_box_too_small_for_any_anchor_gets_its_best_one() -> None:
    classes, _ = _targets(_labels(((2.0, 0.501, 0.501, 0.51, 0.51),)))
    assert (classes > 0).sum() == 1
    assert classes.max() == 3


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (ZERO_WIDTH, "no area overlaps nothing"),
        (OUTSIDE, "beyond the image it overlaps no anchor"),
    ],
)
def test_one_bad_box_does_not_spoil_the_others(bad: tuple[float, ...], why: str) -> None:
    """Known bug of GluonCV's matcher: zero overlap is at least zero, so every anchor matches."""
    alone, _ = _targets(_labels((GOOD,)))
    classes, boxes = _targets(_labels((bad, GOOD)))
    assert np.isfinite(boxes).all(), why
    assert (classes != alone).sum() <= 1
    theirs, their_boxes = _gluoncv_targets(_labels((bad, GOOD)))
    assert (theirs > 0).sum() > COUNT / 2
    if bad is ZERO_WIDTH:
        assert not np.isfinite(their_boxes).all()


def test_no_boxes_are_all_background() -> None:
    """Known bugs of GluonCV: an empty label is an error, a padded one gives infinite targets."""
    full, _ = _targets(_labels((GOOD,)))
    classes, boxes = _targets(_labels((), (GOOD,), ()))
    assert not classes[[0, 2]].any()
    assert not boxes[[0, 2]].any()
    np.testing.assert_array_equal(classes[1], full[0])
    with pytest.raises(mx.MXNetError):
        _gluoncv_targets(mx.nd.zeros((1, 0, 5)))
    theirs, their_boxes = _gluoncv_targets(_labels(()))
    assert (theirs >= 0).all()
    assert not np.isfinite(their_boxes).all()


def test_gluoncvs_loss_learns_from_what_is_to_be_ignored() -> None:
    """Known bug: class target -1 counts as background. Targets therefore never gives it."""
    (scores, offsets), boxes = _heads(0, 1), mx.nd.zeros((1, COUNT, 4))
    targets = mx.nd.zeros((1, COUNT))
    targets[0, 0] = 1
    ignoring = targets.copy()
    ignoring[0, 1:] = -1
    losses = [SSDMultiBoxLoss()(scores, offsets, t, boxes)[1][0] for t in (targets, ignoring)]
    assert losses[0].asscalar() == pytest.approx(losses[1].asscalar())
    classes, _ = _targets(_labels((), (GOOD,)))
    assert classes.min() == 0


@pytest.mark.parametrize("hybridized", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_gluoncvs(seed: int, hybridized: bool) -> None:
    labels = _labels(_random_boxes(seed, 3), _random_boxes(seed + 10, 1), (GOOD,))
    heads = _heads(seed, 3)
    classes, boxes = (mx.nd.array(target) for target in _targets(labels))
    _, their_entropy, their_distance = SSDMultiBoxLoss()(*heads, classes, boxes)
    cross_entropy, smooth_l1 = _loss(heads, labels, hybridized)
    assert cross_entropy == pytest.approx(their_entropy[0].sum().asscalar(), rel=1e-5)
    assert smooth_l1 == pytest.approx(their_distance[0].sum().asscalar(), rel=1e-5)


def test_the_gradients_are_gluoncvs() -> None:
    labels = _labels(_random_boxes(1, 4), (GOOD,))
    classes, boxes = (mx.nd.array(target) for target in _targets(labels))
    gradients = []
    for ours in (True, False):
        heads = _heads(1, 2)
        for head in heads:
            head.attach_grad()
        with autograd.record():
            if ours:
                parts = MultiBoxLoss()(*heads, *Targets()(mx.nd.array(ANCHORS), labels))
                total = parts[0] + parts[1]
            else:
                total = SSDMultiBoxLoss()(*heads, classes, boxes)[0][0].sum()
        total.backward()
        gradients.append([head.grad.asnumpy() for head in heads])
    for mine, theirs in zip(*gradients, strict=True):
        assert theirs.any()
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


def test_three_hard_negatives_for_each_positive() -> None:
    """By numpy: the positives, and of each image three times as many of the worst others."""
    labels = _labels(_random_boxes(3, 2), (GOOD,))
    heads = _heads(3, 2)
    classes, boxes = _targets(labels)
    scores, offsets = (head.asnumpy() for head in heads)
    entropy = np.log(np.exp(scores).sum(-1)) - np.take_along_axis(
        scores, classes[..., None].astype(int), -1
    ).squeeze(-1)
    total = distance = 0.0
    for image in range(2):
        positive = classes[image] > 0
        worst = np.sort(entropy[image][~positive])[::-1][: 3 * positive.sum()]
        total += entropy[image][positive].sum() + worst.sum()
        gap = np.abs(offsets[image] - boxes[image])[positive]
        distance += np.where(gap > 1, gap - 0.5, 0.5 * gap**2).sum()
    count = (classes > 0).sum()
    cross_entropy, smooth_l1 = _loss(heads, labels)
    assert cross_entropy == pytest.approx(total / count, rel=1e-5)
    assert smooth_l1 == pytest.approx(distance / count, rel=1e-5)


def test_images_without_boxes_teach_background() -> None:
    """Three negatives each and no offsets; with GluonCV's loss they teach nothing."""
    heads = _heads(5, 2)
    cross_entropy, smooth_l1 = _loss(heads, _labels((), ()))
    scores = heads[0].asnumpy()
    entropy = np.log(np.exp(scores).sum(-1)) - scores[..., 0]
    worst = np.sort(entropy, axis=1)[:, -3:]
    assert cross_entropy == pytest.approx(worst.sum(), rel=1e-5)
    assert smooth_l1 == 0


def test_an_image_without_boxes_leaves_its_neighbour_alone() -> None:
    scores, offsets = _heads(6, 2)
    _, alone = _loss((scores[1:], offsets[1:]), _labels((GOOD,)))
    cross_entropy, smooth_l1 = _loss((scores, offsets), _labels((), (GOOD,)))
    assert smooth_l1 == pytest.approx(alone, rel=1e-5)
    assert np.isfinite(cross_entropy)


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    """Each divided by the positives of all: what several devices and processes do."""
    labels = _labels(_random_boxes(1, 4), (GOOD,), ())
    scores, offsets = _heads(8, 3)
    whole = _loss((scores, offsets), labels)
    targets = [Targets()(mx.nd.array(ANCHORS), labels[i : i + 1]) for i in range(3)]
    positives = sum(target[2] for target in targets)
    parts = [
        MultiBoxLoss()(scores[i : i + 1], offsets[i : i + 1], *target[:2], positives)
        for i, target in enumerate(targets)
    ]
    for part, expected in zip(zip(*parts, strict=True), whole, strict=True):
        assert sum(x.asscalar() for x in part) == pytest.approx(expected, rel=1e-5)


def test_huge_heads_give_a_finite_loss() -> None:
    scores, offsets = _heads(7, 1)
    cross_entropy, smooth_l1 = _loss((scores * 1e4, offsets * 1e4), _labels((GOOD,)))
    assert np.isfinite([cross_entropy, smooth_l1]).all()
