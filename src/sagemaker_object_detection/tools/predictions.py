"""Predictions as an endpoint answers them, and which of them are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

from msgspec import Meta, Struct

from sagemaker_object_detection.platform.errors import ClientError, PlatformError

_Pixels = Annotated[float, Meta(ge=-1e7, le=1e7)]


class Prediction(Struct, frozen=True):
    """One detection, as in the endpoint's form `objects`.

    bbox: xyxy in pixels of the picture. score: 0..1.
    """

    class_id: Annotated[int, Meta(ge=0)]
    class_name: str
    score: Annotated[float, Meta(ge=0, le=1)]
    bbox: tuple[_Pixels, _Pixels, _Pixels, _Pixels]


class Answer(Struct):
    """What an endpoint answers in the form `objects`."""

    predictions: list[Prediction]


class PictureUnusable(ClientError):
    """One picture that cannot be used; others may be."""


class PictureFailed(PlatformError):
    """One picture without an answer through no fault of its own; others may get theirs."""


class Detector(Protocol):
    """What finds objects in pictures; safe for threads."""

    @property
    def parallel(self) -> int:
        """How many pictures it is best given at a time."""

    def detect(self, data: bytes, name: str) -> Sequence[Prediction]:
        """What is in an encoded picture, which errors call `name`.

        Raises ImageError or PictureUnusable for what is no picture that can be used,
        PictureFailed, and any other JobError when no further picture would fare better.
        """

    def interrupt(self) -> None:
        """Let no call of detect wait any longer than it must."""


@dataclass(frozen=True)
class Choice:
    """Which predictions are wanted.

    Attributes:
        threshold: 0..1; a score must be greater.
        class_names: of the classes that count; all if empty.
        top_k: at most so many of a picture, the best; all if None.
    """

    threshold: float = 0.2
    class_names: tuple[str, ...] = ()
    top_k: int | None = None

    def of(self, predictions: Iterable[Prediction]) -> list[Prediction]:
        """Those that are wanted, best first."""
        kept = [
            one
            for one in predictions
            if one.score > self.threshold
            and (not self.class_names or one.class_name in self.class_names)
        ]
        return sorted(kept, key=lambda one: -one.score)[: self.top_k]
