"""Decoding in numpy against MXNet's operator itself, which is the definition."""

from __future__ import annotations

from typing import Any

import mxnet as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sagemaker_object_detection.inference.decode import decode, suppressed
from sagemaker_object_detection.model.detection import DetectionRule

Heads = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


def _heads(
    seed: int, anchors: int = 300, classes: int = 3, batch: int = 2, sureness: float = 2.0
) -> Heads:
    """Scores (B, N, C + 1), offsets (B, N, 4) and anchors (N, 4), some of them outside."""
    random = np.random.default_rng(seed)
    scores = np.exp(random.normal(0, sureness, (batch, anchors, classes + 1)))
    scores /= scores.sum(axis=2, keepdims=True)
    offsets = random.normal(0, 1, (batch, anchors, 4))
    corners = random.uniform(-0.2, 1.2, (anchors, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    scores, offsets, boxes = (array.astype(np.float32) for array in (scores, offsets, boxes))
    return scores, offsets, boxes


def _operator(heads: Heads, rule: DetectionRule) -> NDArray[Any]:
    scores, offsets, anchors = heads
    rows = mx.nd.contrib.MultiBoxDetection(
        mx.nd.array(scores.transpose(0, 2, 1)),
        mx.nd.array(offsets.reshape(len(offsets), -1)),
        mx.nd.array(anchors[None]),
        **{name: getattr(rule, name) for name in rule.as_texts()},
    )
    return rows.asnumpy()


def _require_equal(heads: Heads, rule: DetectionRule) -> NDArray[Any]:
    """The same rows in the same order; what a suppressed row holds else means nothing.

    To 2e-7, two steps of float32 below 1, and beyond 1, where the steps are longer, to that share.
    """
    expected, got = _operator(heads, rule), decode(*heads, rule)
    assert got.shape == expected.shape
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got[..., 0], expected[..., 0])
    kept = expected[..., 0] >= 0
    scale = np.maximum(1, np.abs(expected[kept]))
    np.testing.assert_allclose(got[kept] / scale, expected[kept] / scale, rtol=0, atol=2e-7)
    return got


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    anchors=st.integers(1, 700),
    classes=st.integers(1, 5),
    sureness=st.sampled_from([0.1, 2.0, 5.0]),
    rule=st.builds(
        DetectionRule,
        threshold=st.sampled_from([0.0, 0.01, 0.3, 1.0]),
        nms_threshold=st.sampled_from([0.0, 0.1, 0.45, 0.9, 1.0]),
        nms_topk=st.sampled_from([-1, 1, 5, 400, 100_000]),
        force_suppress=st.booleans(),
        clip=st.booleans(),
        variances=st.sampled_from([(0.1, 0.1, 0.2, 0.2), (0.5, 0.2, 0.1, 1.0)]),
    ),
)
def test_equals_the_operator(
    seed: int, anchors: int, classes: int, sureness: float, rule: DetectionRule
) -> None:
    _require_equal(_heads(seed, anchors, classes, 2, sureness), rule)


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (DetectionRule(), "the operator's defaults"),
        (DetectionRule(nms_threshold=0.45, nms_topk=400), "ours"),
        (DetectionRule(nms_threshold=0.45), "all candidates: several chunks"),
        (DetectionRule(nms_threshold=1.5), "a threshold that no IoU reaches switches it off"),
    ],
)
def test_many_anchors(rule: DetectionRule, reason: str) -> None:
    rows = _require_equal(_heads(0, anchors=2500), rule)
    assert (rows[..., 0] >= 0).any(axis=1).all()


def test_equal_boxes_and_equal_scores() -> None:
    """The first of equals stays; an IoU of 1 reaches a threshold of 1."""
    scores, offsets, anchors = _heads(1, anchors=40)
    scores[:], offsets[:], anchors[:] = scores[:, :1], offsets[:, :1], anchors[:1]
    rows = _require_equal((scores, offsets, anchors), DetectionRule(nms_threshold=1.0))
    assert (rows[..., 0] >= 0).sum(axis=1).tolist() == [1, 1]


def test_scores_that_are_no_numbers_detect_nothing() -> None:
    scores, offsets, anchors = _heads(2)
    scores[0] = np.nan
    rows = _require_equal((scores, offsets, anchors), DetectionRule())
    assert (rows[0, :, 0] == -1).all()
    assert (rows[1, :, 0] >= 0).any()


def test_chunks_do_not_matter() -> None:
    """Suppression is one pass over all boxes, whatever is held in memory at a time."""
    random = np.random.default_rng(3)
    corners = random.uniform(0, 1, (1500, 2, 2))
    boxes = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).astype(np.float32)
    groups = random.integers(0, 2, 1500)
    whole = suppressed(boxes, groups, 0.4)
    for group in (0, 1):
        alone = suppressed(boxes[groups == group], np.zeros((groups == group).sum()), 0.4)
        np.testing.assert_array_equal(whole[groups == group], alone)
    assert 0 < whole.sum() < 1500


@pytest.mark.parametrize(
    ("scores", "offsets", "anchors", "reason"),
    [
        ((1, 5, 3), (1, 5, 4), (4, 4), "fewer anchors"),
        ((1, 5, 3), (1, 4, 4), (5, 4), "fewer offsets"),
        ((1, 5, 3), (2, 5, 4), (5, 4), "another batch"),
        ((1, 5, 1), (1, 5, 4), (5, 4), "nothing but background"),
    ],
)
def test_shapes_that_do_not_fit(
    scores: tuple[int, ...], offsets: tuple[int, ...], anchors: tuple[int, ...], reason: str
) -> None:
    heads = [np.zeros(shape, np.float32) for shape in (scores, offsets, anchors)]
    with pytest.raises(ValueError, match="do not fit"):
        decode(*heads, DetectionRule())
