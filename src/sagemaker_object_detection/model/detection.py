"""How detections are made of a network's heads: the parameters of MXNet's MultiBoxDetection.

A deploy graph holds them as attributes of that operator, an ONNX twin as metadata, both as text.
Nothing here imports MXNet.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, fields

from sagemaker_object_detection.model.artifact import CURE, ArtifactError
from sagemaker_object_detection.model.specs import VARIANCES

_BACKGROUND = "background_id"


@dataclass(frozen=True)
class DetectionRule:
    """From class scores and box offsets to detections; the defaults are the operator's.

    threshold: score that the best class of an anchor has to reach.
    nms_threshold: IoU from which the worse of two boxes is suppressed; outside of (0, 1] nothing
        is, and nms_topk does not count either.
    nms_topk: how many of the best boxes are looked at; all if it is not positive.
    force_suppress: boxes of different classes suppress each other too.
    clip: boxes are cut off at the edges of the image.
    variances: factors of the offsets: x, y, width, height.
    """

    threshold: float = 0.01
    nms_threshold: float = 0.5
    nms_topk: int = -1
    force_suppress: bool = False
    clip: bool = True
    variances: tuple[float, float, float, float] = VARIANCES

    @classmethod
    def from_texts(cls, texts: Mapping[str, str], where: str) -> DetectionRule:
        """The rule that these texts tell; names that are no field are left out.

        Args:
            where: what an error calls the file.

        Raises:
            ArtifactError: a value that does not fit its field, or a background that is not class 0.
        """
        try:
            values = {
                f.name: ast.literal_eval(texts[f.name]) for f in fields(cls) if f.name in texts
            }
            rule = cls(**values)
            fits = int(texts.get(_BACKGROUND, 0)) == 0 and rule._fits()
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
            raise ArtifactError(f"{where}: {_shown(texts)} is damaged; {CURE}") from error
        if not fits:
            raise ArtifactError(f"{where} detects by {_shown(texts)}, which is not ours; {CURE}")
        return rule

    def as_texts(self) -> dict[str, str]:
        """Field -> text that from_texts reads."""
        return {f.name: repr(getattr(self, f.name)) for f in fields(self)}

    @property
    def suppresses(self) -> bool:
        """Whether there is any suppression."""
        return 0 < self.nms_threshold <= 1

    def _fits(self) -> bool:
        numbers = (self.threshold, self.nms_threshold, *self.variances)
        return (
            len(self.variances) == 4
            and all(type(number) in (int, float) for number in numbers)
            and type(self.nms_topk) is int
            and all(flag in (True, False) for flag in (self.force_suppress, self.clip))
        )


def _shown(texts: Mapping[str, str]) -> str:
    return f"{dict(texts)!s:.300}"
