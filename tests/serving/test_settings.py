from __future__ import annotations

import pytest

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.serving.settings import Settings


def test_defaults() -> None:
    assert Settings.from_environment({}) == Settings()
    empty = {"SAGEMAKER_BIND_TO_PORT": "", "OBJECT_DETECTION_THRESHOLD": " "}
    assert Settings.from_environment(empty) == Settings()


def test_all_variables() -> None:
    got = Settings.from_environment(
        {
            "SAGEMAKER_BIND_TO_PORT": "9000",
            "SAGEMAKER_MODEL_SERVER_WORKERS": "2",
            "SAGEMAKER_MODEL_SERVER_TIMEOUT": "120",
            "SAGEMAKER_MAX_PAYLOAD_IN_MB": "6",
            "OBJECT_DETECTION_RESPONSE": "Builtin",
            "OBJECT_DETECTION_THRESHOLD": "0.5",
            "OBJECT_DETECTION_ENGINE": "openvino",
            "OBJECT_DETECTION_PRECISION": "int8",
            "OBJECT_DETECTION_MEAN": "123, 117,104.5",
            "OBJECT_DETECTION_MAX_BATCH": "4",
            "OBJECT_DETECTION_MAX_DELAY_MS": "5",
            "OBJECT_DETECTION_PAGE": "0",
        }
    )
    mean = (123.0, 117.0, 104.5)
    assert got == Settings(9000, 2, 120, 6, "builtin", 0.5, "openvino", "int8", mean, 4, 5, False)
    assert got.max_body_bytes == 6 * 2**20


def test_no_limit_of_the_body() -> None:
    assert Settings(max_payload_mb=0).max_body_bytes is None


def test_all_faults_together() -> None:
    with pytest.raises(ClientError) as caught:
        Settings.from_environment(
            {
                "SAGEMAKER_MODEL_SERVER_WORKERS": "0",
                "OBJECT_DETECTION_RESPONSE": "object",
                "OBJECT_DETECTION_THRESHOLD": "20 %",
            }
        )
    text = str(caught.value)
    assert len(caught.value.faults) == 3
    assert "SAGEMAKER_MODEL_SERVER_WORKERS is '0', which is too small" in text
    assert "did you mean 'objects'?" in text
    assert "OBJECT_DETECTION_THRESHOLD is '20 %', which is not a number" in text
    assert "or unset it" in text


@pytest.mark.parametrize(
    ("given", "told"),
    [("1,2", "has 2 parts"), ("1,,3", "is not a number"), ("1,2,256", "is too large")],
)
def test_a_colour_that_is_none(given: str, told: str) -> None:
    with pytest.raises(ClientError, match=f"OBJECT_DETECTION_MEAN is '{given}', which {told}"):
        Settings.from_environment({"OBJECT_DETECTION_MEAN": given})
