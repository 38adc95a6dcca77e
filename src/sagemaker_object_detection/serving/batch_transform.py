"""What a batch transform asks before it sends pictures (AWS: your-algorithms-batch-code)."""

from __future__ import annotations

from sagemaker_object_detection.serving.settings import Settings

_MOST_MB_AT_A_TIME = 100
_MOST_AT_A_TIME = 8


def execution_parameters(settings: Settings) -> dict[str, int]:
    """The answer of GET /execution-parameters: as many pictures at a time as the platform allows.

    Pictures are decoded beside the model's run on another, so that several at a time keep the
    model busy. MaxConcurrentTransforms times MaxPayloadInMB may be 100 at most. BatchStrategy is
    left out: a picture is a request under every strategy, and the SDK's local mode breaks on the
    documented names.
    """
    largest = min(settings.max_payload_mb or Settings.max_payload_mb, _MOST_MB_AT_A_TIME)
    at_a_time = min(_MOST_AT_A_TIME, _MOST_MB_AT_A_TIME // largest)
    return {"MaxConcurrentTransforms": at_a_time, "MaxPayloadInMB": largest}
