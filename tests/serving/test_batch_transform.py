"""What a batch transform is told."""

from __future__ import annotations

import pytest

from sagemaker_object_detection.serving.batch_transform import execution_parameters
from sagemaker_object_detection.serving.settings import Settings


@pytest.mark.parametrize(
    ("given", "at_a_time", "largest"),
    [
        pytest.param(25, 4, 25, id="the default"),
        pytest.param(6, 8, 6, id="the platform's default"),
        pytest.param(100, 1, 100, id="the most there is"),
        pytest.param(1024, 1, 100, id="more than there is"),
        pytest.param(0, 4, 25, id="no limit"),
    ],
)
def test_execution_parameters(given: int, at_a_time: int, largest: int) -> None:
    found = execution_parameters(Settings(max_payload_mb=given))
    assert found == {"MaxConcurrentTransforms": at_a_time, "MaxPayloadInMB": largest}
    assert at_a_time * largest <= 100


@pytest.mark.parametrize("word", ["true", "True"])
def test_an_answer_may_take_as_long_as_the_platform_waits(word: str) -> None:
    settings = Settings.from_environment({"SAGEMAKER_BATCH": word})
    assert (settings.batch, settings.timeout) == (True, 600)
    both = {"SAGEMAKER_BATCH": word, "SAGEMAKER_MODEL_SERVER_TIMEOUT": "30"}
    assert Settings.from_environment(both).timeout == 30
    assert Settings.from_environment({"SAGEMAKER_BATCH": "false"}).timeout == 60
