"""Which predictions are wanted."""

from __future__ import annotations

import msgspec
import pytest

from sagemaker_object_detection.tools.predictions import Choice, Prediction


def prediction(class_id: int, score: float) -> Prediction:
    return Prediction(
        class_id=class_id, class_name=("car", "dog")[class_id], score=score, bbox=(0, 0, 5, 5)
    )


ALL = [prediction(0, 0.5), prediction(1, 0.9), prediction(0, 0.2), prediction(1, 0.1)]

CHOICES = [
    pytest.param(Choice(), [0.9, 0.5], id="a score must be above the threshold"),
    pytest.param(Choice(0.0), [0.9, 0.5, 0.2, 0.1], id="best first"),
    pytest.param(Choice(1.0), [], id="none"),
    pytest.param(Choice(0.0, ("car",)), [0.5, 0.2], id="one class"),
    pytest.param(Choice(0.0, ("car", "dog"), 3), [0.9, 0.5, 0.2], id="the best of all"),
    pytest.param(Choice(0.0, ("car",), 1), [0.5], id="the best of a class"),
    pytest.param(Choice(0.0, ("cat",)), [], id="a class that is not there"),
]


@pytest.mark.parametrize(("choice", "scores"), CHOICES)
def test_choice(choice: Choice, scores: list[float]) -> None:
    assert [one.score for one in choice.of(ALL)] == scores


BAD = [
    pytest.param({"class_id": -1}, id="negative class_id"),
    pytest.param({"score": 1.5}, id="score above 1"),
    pytest.param({"score": float("nan")}, id="score that is no number"),
    pytest.param({"bbox": (0, 0, 5)}, id="three corners"),
    pytest.param({"bbox": (0, 0, 5, float("inf"))}, id="a corner without end"),
]


@pytest.mark.parametrize("change", BAD)
def test_what_is_no_prediction(change: dict[str, object]) -> None:
    good = {"class_id": 0, "class_name": "car", "score": 0.5, "bbox": (0, 0, 5, 5)}
    msgspec.convert(good, Prediction)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(good | change, Prediction)
