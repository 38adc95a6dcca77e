"""A predictor that notes in a request's trace where its time goes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Protocol

from sagemaker_object_detection.inference.predictor import (
    Detections,
    Engine,
    Planes,
    Predictor,
    Rows,
)
from sagemaker_object_detection.serving.admission import Admission
from sagemaker_object_detection.serving.trace import Trace


class TracedEngine(Engine, Protocol):
    """An engine that tells how long a picture waited and ran."""

    def detect_traced(self, planes: Planes, trace: Trace) -> Rows:
        """One picture (3, S, S) -> its rows (N, 6); sets queue, model and batch of the trace."""


class TracedPredictor(Predictor):
    """A predictor on a traced engine; see Predictor."""

    def __init__(
        self,
        engine: TracedEngine,
        class_names: Sequence[str],
        admission: Admission | None = None,
    ) -> None:
        super().__init__(engine, class_names)
        self._traced = engine
        self.admission = admission or Admission()

    def predict_traced(self, data: bytes, name: str, trace: Trace) -> Detections:
        """As predict; sets image_size and the stages decode to encode of the trace.

        Raises images.ImageError when the bytes are no picture, Overloaded when too many requests
        are at work, TooSlow, and what the engine raises.
        """
        with self.admission.admitted():
            with ExitStack() as turn:
                with trace.stage("queue"):
                    turn.enter_context(self.admission.decoding(data))
                with trace.stage("decode"):
                    planes, size = self.prepare(data, name)
            trace.image_size = size
            rows = self._traced.detect_traced(planes, trace)
        with trace.stage("encode"):
            return self.finish(rows, size)
