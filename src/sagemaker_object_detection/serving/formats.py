"""Forms of an answer, and the choice of one by the Accept header."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from sagemaker_object_detection.boxes import to_px
from sagemaker_object_detection.inference.predictor import Detections

JSON = "application/json"
JSON_LINES = "application/jsonlines"

Render = Callable[[Detections, Sequence[str]], Mapping[str, Any]]


def objects(detections: Detections, class_names: Sequence[str]) -> Mapping[str, Any]:
    """Named objects, best first; bbox is xyxy in pixels of the image that was sent."""
    corners = to_px(detections.boxes.astype(np.float64), detections.width, detections.height)
    return {
        "predictions": [
            {
                "class_id": class_id,
                "class_name": class_names[class_id],
                "score": round(score, 6),
                "bbox": [round(corner, 2) for corner in box_px],
            }
            for class_id, score, box_px in zip(
                detections.class_ids.tolist(),
                detections.scores.tolist(),
                corners.tolist(),
                strict=True,
            )
        ]
    }


def builtin(detections: Detections, class_names: Sequence[str]) -> Mapping[str, Any]:
    """What SageMaker's own algorithm answers: [class_id, score, xyxy in 0..1], all floats."""
    rows = np.column_stack([detections.class_ids, detections.scores, detections.boxes])
    return {"prediction": rows.astype(np.float64).tolist()}


def annotation(detections: Detections, class_names: Sequence[str]) -> Mapping[str, Any]:
    """The form of the annotation files that the image format trains from; whole pixels."""
    size = {"width": detections.width, "height": detections.height, "depth": 3}
    corners = to_px(detections.boxes.astype(np.float64), detections.width, detections.height)
    return {
        "image_size": [size],
        "annotations": [
            {
                "class_id": class_id,
                "score": score,
                "left": left,
                "top": top,
                "width": right - left,
                "height": bottom - top,
            }
            for class_id, score, (left, top, right, bottom) in zip(
                detections.class_ids.tolist(),
                detections.scores.tolist(),
                np.rint(corners).astype(int).tolist(),
                strict=True,
            )
        ],
    }


FORMS: Mapping[str, tuple[Render, float | None]] = {
    "objects": (objects, None),
    "builtin": (builtin, 0.01),
    "annotation": (annotation, 0.01),
}
"""Form -> its rendering, and the score that a detection must be above unless the user says; None:
as the model has it for each class."""


@dataclass(frozen=True)
class Answer:
    """One way to answer: a media type with parameters that stands for a form."""

    content_type: str
    form: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def render(self, detections: Detections, class_names: Sequence[str]) -> str:
        """The body, with all of the detections."""
        render, _ = FORMS[self.form]
        text = json.dumps(render(detections, class_names), allow_nan=False)
        return text + "\n" if self.content_type == JSON_LINES else text


def least_score(
    form: str, threshold: float | None, thresholds: Sequence[float]
) -> float | Sequence[float]:
    """The score that a detection must be above, or one a class.

    threshold: replaces the form's own.
    thresholds: the model's, one a class.
    """
    if threshold is not None:
        return threshold
    own = FORMS[form][1]
    return thresholds if own is None else own


class NotAcceptable(ValueError):
    """The Accept header names nothing that we can answer."""


def choose(accept: str | None, default_form: str, default_accept: str = JSON) -> Answer:
    """The answer that an Accept header prefers; without a header, or an empty one, the default.

    Media ranges, parameters and q-values count as HTTP has them: for every answer the most
    specific range that covers it gives its q; the highest q wins, then the more specific range,
    then the range that stands first; of a range with *, the default, then our own order. Case and
    spaces do not matter, nor do parameters that no answer has (charset).

    default_form: of a media type without a form.
    default_accept: an Accept header that prefers the default.

    Raises NotAcceptable.
    """
    answers, default = _offer(default_form, default_accept)
    if accept is None or not accept.strip():
        return default
    return _preferred(accept, answers, default)


@cache  # the arguments are the endpoint's settings, the same for every request
def _offer(default_form: str, default_accept: str) -> tuple[Sequence[Answer], Answer]:
    """All answers, and the default. Raises NotAcceptable as choose."""
    answers = _answers(default_form)
    return answers, _preferred(default_accept, answers, answers[0])


def _preferred(accept: str, answers: Sequence[Answer], default: Answer) -> Answer:
    """See choose."""
    ranges = [_parse(part) for part in accept.split(",") if part.strip()]
    best: tuple[tuple[float, int, int, bool], Answer] | None = None
    for answer in answers:
        covering = [
            (2 - kind.count("*") + len(parameters), -place, q, kind)
            for place, (kind, parameters, q) in enumerate(ranges)
            if kind in ("*/*", "application/*", answer.content_type)
            and parameters.items() <= answer.parameters.items()
        ]
        if not covering:
            continue
        specificity, place, q, kind = max(covering)
        rank = (q, specificity, place, "*" in kind and answer is default)
        if q > 0 and (best is None or rank > best[0]):
            best = (rank, answer)
    if best is None:
        raise NotAcceptable(f"the Accept header {accept!r} names nothing that can be answered")
    return best[1]


def _parse(text: str) -> tuple[str, dict[str, str], float]:
    """A media range as its type, those of its parameters that an answer may have, and its q."""
    kind, *rest = (part.strip().lower() for part in text.split(";"))
    parameters = {}
    q = 1.0
    for part in rest:
        name, _, value = (piece.strip().strip('"') for piece in part.partition("="))
        if name == "q":
            q = _quality(value)
        elif name in ("format", "annotation"):
            parameters[name] = value
    return "*/*" if kind == "*" else kind, parameters, q


def _quality(text: str) -> float:
    """A q-value in 0..1; what is none counts as 0, so that the range asks for nothing."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return min(value, 1.0) if value > 0 else 0.0


def offered() -> str:
    """The Accept values that can be asked for, as a text."""
    return (
        f"{JSON}, {JSON};format=objects, {JSON};format=builtin, {JSON};annotation=1, {JSON_LINES}"
    )


def _answers(default_form: str) -> list[Answer]:
    forms = [Answer(JSON, form, {"format": form}) for form in ("objects", "builtin")]
    lines = [Answer(JSON_LINES, form, {"format": form}) for form in ("objects", "builtin")]
    return [
        Answer(JSON, default_form),
        *forms,
        Answer(JSON, "annotation", {"annotation": "1"}),
        Answer(JSON_LINES, default_form),
        *lines,
    ]
