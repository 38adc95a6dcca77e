from __future__ import annotations

import pytest

from sagemaker_object_detection.images import ImageError
from sagemaker_object_detection.serving.answers import ANSWERS, answer_to
from sagemaker_object_detection.serving.batching import TooSlow
from sagemaker_object_detection.serving.incoming import Late, Refusal


def test_every_refusal_has_an_answer() -> None:
    assert ANSWERS.keys() >= set(Refusal.__subclasses__())


class _Special(TooSlow):
    """An error that is in no table, but its base is."""


@pytest.mark.parametrize(
    ("error", "status", "hint"),
    [
        pytest.param(ImageError("broken"), 400, "one JPEG or PNG image", id="a picture"),
        pytest.param(Late("late"), 408, "as many bytes as Content-Length says", id="a client"),
        pytest.param(_Special("slow"), 503, "SAGEMAKER_MODEL_SERVER_TIMEOUT is", id="by its base"),
    ],
)
def test_status_and_cure(error: Exception, status: int, hint: str) -> None:
    got, cure = answer_to(error)
    assert got == status
    assert hint in cure
