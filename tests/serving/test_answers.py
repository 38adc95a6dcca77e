from __future__ import annotations

import pytest

from sagemaker_object_detection.images import ImageError
from sagemaker_object_detection.serving.answers import answer_to, nginx_errors
from sagemaker_object_detection.serving.batching import TooSlow
from sagemaker_object_detection.serving.settings import Settings


def test_what_nginx_refuses_is_answered_in_the_same_words() -> None:
    errors = nginx_errors(Settings(max_payload_mb=6))
    assert errors[413][0] == "the body is larger than 6 MB"
    assert all(error and hint for error, hint in errors.values())


class _Special(TooSlow):
    """An error that is in no table, but its base is."""


@pytest.mark.parametrize(
    ("error", "status", "hint"),
    [
        pytest.param(ImageError("broken"), 400, "one JPEG, PNG, WebP or BMP image", id="a picture"),
        pytest.param(_Special("slow"), 503, "SAGEMAKER_MODEL_SERVER_TIMEOUT is", id="by its base"),
    ],
)
def test_status_and_cure(error: Exception, status: int, hint: str) -> None:
    got, cure = answer_to(error)
    assert got == status
    assert hint in cure
