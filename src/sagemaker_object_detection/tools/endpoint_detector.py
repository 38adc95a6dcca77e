"""A running endpoint as what finds objects in pictures."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.serving.limits import HEADER
from sagemaker_object_detection.tools.endpoint_client import EndpointClient
from sagemaker_object_detection.tools.predictions import Answer, Prediction

PARALLEL = 8
"""Requests at a time: enough to keep an endpoint busy, and far from what it turns away."""


class EndpointDetector:
    """Predictions that an endpoint answers; see predictions.Detector.

    threshold: scores that are wanted are greater than this; in 0..1.
    """

    parallel = PARALLEL

    def __init__(self, client: EndpointClient, threshold: float) -> None:
        self._client = client
        self._headers = {
            "Accept": "application/json;format=objects",
            "Content-Type": "application/x-image",
            HEADER: f"threshold={threshold!r}",
        }

    def detect(self, data: bytes, name: str) -> Sequence[Prediction]:
        """As Detector; raises also what EndpointClient.post does."""
        body = self._client.post(data, name, self._headers)
        try:
            return msgspec.json.decode(body, type=Answer).predictions
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ClientError(
                f"{self._client.url} answered something else than detections ({error}). Give the "
                "address of an endpoint of this algorithm."
            ) from None

    def interrupt(self) -> None:
        """As Detector."""
        self._client.interrupt()
