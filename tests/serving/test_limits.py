from __future__ import annotations

import numpy as np
import pytest

from sagemaker_object_detection.inference.predictor import Detections
from sagemaker_object_detection.serving.limits import BadAttribute, Limits

NAMES = ("car", "dog", "traffic light", "a,b;c", "0", "Hündin")

FOUND = Detections(
    np.array([1, 0, 1, 2]),
    np.array([0.9, 0.5, 0.3, 0.1], np.float32),
    np.arange(16, dtype=np.float32).reshape(4, 4) / 16,
    width=640,
    height=480,
)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        pytest.param("", Limits(), id="no header"),
        pytest.param("threshold=0.4", Limits(threshold=0.4), id="threshold"),
        pytest.param("threshold=0", Limits(threshold=0.0), id="no threshold at all"),
        pytest.param("top_k=20", Limits(top_k=20), id="top_k"),
        pytest.param("classes=car,dog", Limits(class_ids=frozenset({0, 1})), id="classes"),
        pytest.param(
            "threshold=0.4;top_k=20;classes=dog", Limits(0.4, 20, frozenset({1})), id="all"
        ),
        pytest.param(
            " Threshold = .5 ; TOP_K = 3.0 ;; classes= car , dog ;",
            Limits(0.5, 3, frozenset({0, 1})),
            id="spaces, case of keys, empty parts",
        ),
        pytest.param("classes=car,car", Limits(class_ids=frozenset({0})), id="a class twice"),
        pytest.param("classes=traffic light", Limits(class_ids=frozenset({2})), id="a space"),
        pytest.param("classes=traffic%20light", Limits(class_ids=frozenset({2})), id="encoded"),
        pytest.param("classes=a%2Cb%3Bc,dog", Limits(class_ids=frozenset({1, 3})), id="separators"),
        pytest.param("classes=H%C3%BCndin", Limits(class_ids=frozenset({5})), id="not ASCII"),
        pytest.param("classes=3", Limits(class_ids=frozenset({3})), id="a class_id"),
        pytest.param("classes=0", Limits(class_ids=frozenset({4})), id="a name before a class_id"),
        pytest.param("trace-id-77", Limits(), id="free text"),
        pytest.param("tenant=a;limit=3;top_k=2", Limits(top_k=2), id="keys that are not ours"),
    ],
)
def test_parse(attributes: str, expected: Limits) -> None:
    assert Limits.parse(attributes, NAMES) == expected


@pytest.mark.parametrize(
    ("attributes", "what"),
    [
        pytest.param("threshold=2", "threshold is '2', which is too large; give a number >= 0"),
        pytest.param("threshold=-0.1", "'-0.1', which is too small"),
        pytest.param("threshold=nan", "'nan', which is not a number"),
        pytest.param("threshold", "threshold is '', which is not a number"),
        pytest.param("top_k=0", "top_k is '0', which is too small; give a whole number >= 1"),
        pytest.param("top_k=2.5", "'2.5', which is not a whole number"),
        pytest.param("classes=", "classes holds '', which is no class"),
        pytest.param("classes=car,Dog", r"holds 'Dog', .* \(did you mean 'dog'\?\); there are car"),
        pytest.param("classes=6", "holds '6', which is no class of the model; there are car, dog"),
        pytest.param("classes=" + "1" * 5000, "holds '1+', which is no", id="more than int reads"),
        pytest.param("classes=²", "holds '²', which is no class"),
        pytest.param("top_k=1;top_k=2", "top_k is given twice"),
    ],
)
def test_bad_values(attributes: str, what: str) -> None:
    with pytest.raises(BadAttribute, match=what):
        Limits.parse(attributes, NAMES)


def test_many_classes_are_not_all_named() -> None:
    with pytest.raises(BadAttribute, match=r"there are c0, .*c19 and 480 more$"):
        Limits.parse("classes=x", [f"c{number}" for number in range(500)])


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        pytest.param(Limits(), [0, 1, 2, 3], id="none"),
        pytest.param(Limits(threshold=0.4), [0, 1, 2, 3], id="the threshold is the form's to use"),
        pytest.param(Limits(top_k=2), [0, 1], id="the best"),
        pytest.param(Limits(top_k=9), [0, 1, 2, 3], id="more than there are"),
        pytest.param(Limits(class_ids=frozenset({1})), [0, 2], id="a class"),
        pytest.param(Limits(None, 2, frozenset({0, 2})), [1, 3], id="the best of the classes"),
        pytest.param(Limits(class_ids=frozenset({4})), [], id="a class that was not found"),
    ],
)
def test_apply(limits: Limits, kept: list[int]) -> None:
    got = limits.apply(FOUND)
    assert got.class_ids.tolist() == FOUND.class_ids[kept].tolist()
    assert got.scores.tolist() == FOUND.scores[kept].tolist()
    assert got.boxes.tolist() == FOUND.boxes[kept].tolist()
    assert (got.width, got.height) == (640, 480)
