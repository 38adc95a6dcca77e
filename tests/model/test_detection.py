"""The rule of detection as text: what a graph and a twin hold."""

from __future__ import annotations

import mxnet as mx
import pytest

from sagemaker_object_detection.model.artifact import ArtifactError
from sagemaker_object_detection.model.detection import DetectionRule
from sagemaker_object_detection.model.onnx_heads import detection_rule

OTHER = DetectionRule(0.2, 0.3, 17, True, False, (0.1, 0.2, 0.3, 0.4))


@pytest.mark.parametrize("rule", [DetectionRule(), OTHER])
def test_round_trip(rule: DetectionRule) -> None:
    assert DetectionRule.from_texts(rule.as_texts(), "it") == rule


@pytest.mark.parametrize("rule", [DetectionRule(), OTHER])
def test_mxnet_writes_the_same_words(rule: DetectionRule) -> None:
    heads = [mx.sym.var(name) for name in ("shares", "offsets", "anchors")]
    given = {name: getattr(rule, name) for name in rule.as_texts()}
    assert detection_rule(mx.sym.contrib.MultiBoxDetection(*heads, **given)) == rule


def test_the_defaults_are_the_operators() -> None:
    """An attribute that is at its default is not in the graph."""
    heads = [mx.sym.var(name) for name in ("shares", "offsets", "anchors")]
    symbol = mx.sym.contrib.MultiBoxDetection(*heads)
    assert not symbol.list_attr()
    assert detection_rule(symbol) == DetectionRule()


def test_what_older_releases_of_mxnet_write() -> None:
    texts = {"clip": "0", "force_suppress": "1", "background_id": "0", "nms_topk": "400"}
    rule = DetectionRule.from_texts(texts, "it")
    assert (bool(rule.clip), bool(rule.force_suppress), rule.nms_topk) == (False, True, 400)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        pytest.param({"clip": "maybe"}, "is damaged", id="no value"),
        pytest.param({"variances": "0.1"}, "is damaged", id="one number"),
        pytest.param({"background_id": "x"}, "is damaged", id="no number"),
        pytest.param({"nms_topk": "4.5"}, "is not ours", id="half a box"),
        pytest.param({"variances": "(0.1, 0.1)"}, "is not ours", id="two variances"),
        pytest.param({"nms_threshold": "'0.5'"}, "is not ours", id="a text"),
        pytest.param({"background_id": "3"}, "is not ours", id="the background is another class"),
        pytest.param({"clip": "2"}, "is not ours", id="neither true nor false"),
    ],
)
def test_damage(texts: dict[str, str], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        DetectionRule.from_texts(texts, "it")
