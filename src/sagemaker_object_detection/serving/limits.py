"""What a request's custom attributes limit its answer to: threshold, top_k, classes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any
from urllib.parse import unquote

import numpy as np

from sagemaker_object_detection.inference.predictor import Detections
from sagemaker_object_detection.platform.kinds import Kind, Real, Whole

HEADER = "X-Amzn-SageMaker-Custom-Attributes"
"""Free text of at most 1024 ASCII characters that the platform passes on both ways (D.6)."""

_KINDS: dict[str, Kind] = {"threshold": Real(0, 1, True, True), "top_k": Whole(1)}
_CLASS_ID = re.compile(r"[0-9]{1,9}")  # int refuses texts of thousands of digits
_NAMES_SHOWN = 20


class BadAttribute(ValueError):
    """A custom attribute of ours whose value cannot be used; the message names both."""


@dataclass(frozen=True)
class Limits:
    """Limits of one answer; None: no limit of the request's own.

    threshold: detections need a score greater than this, 0..1; it comes before every other.
    top_k: at most so many detections, >= 1. class_ids: only these.
    """

    threshold: float | None = None
    top_k: int | None = None
    class_ids: frozenset[int] | None = None

    @classmethod
    def parse(cls, attributes: str, class_names: Sequence[str]) -> Limits:
        """Read `threshold=0.4;top_k=20;classes=car,dog`; everything else in it is ignored.

        Spaces around the parts and the case of the keys do not matter. A class is named, or given
        by its class_id; the name may be percent-encoded where it has a comma, a semicolon or
        letters that no header takes.
        Raises BadAttribute on a value that cannot be used, or a key that is given twice.
        """
        values: dict[str, Any] = {}
        for part in attributes.split(";"):
            key, _, text = (piece.strip() for piece in part.partition("="))
            key = key.lower()
            if key in values:
                raise BadAttribute(f"the custom attribute {key} is given twice; give it once")
            if key in _KINDS:
                values[key] = _parse(key, text, _KINDS[key])
            elif key == "classes":
                values[key] = _class_ids(text, class_names)
        return cls(values.get("threshold"), values.get("top_k"), values.get("classes"))

    def apply(self, detections: Detections) -> Detections:
        """The best top_k detections of the classes; the threshold is for the form to apply."""
        kept = np.arange(len(detections))
        if self.class_ids is not None:
            kept = kept[np.isin(detections.class_ids, list(self.class_ids))]
        kept = kept[: self.top_k]
        return replace(
            detections,
            class_ids=detections.class_ids[kept],
            scores=detections.scores[kept],
            boxes=detections.boxes[kept],
        )


def _parse(key: str, text: str, kind: Kind) -> object:
    try:
        return kind.parse(text)
    except ValueError as error:
        raise BadAttribute(
            f"the custom attribute {key} is {text!r}, which {error}; give {kind.description}"
        ) from None


def _class_ids(text: str, class_names: Sequence[str]) -> frozenset[int]:
    """`car,dog` -> their class_ids. A name comes before a class_id that is written the same."""
    ids = {name: class_id for class_id, name in reversed(list(enumerate(class_names)))}
    found = set()
    for given in (part.strip() for part in text.split(",")):
        name = given if given in ids else unquote(given)
        if name in ids:
            found.add(ids[name])
        elif _CLASS_ID.fullmatch(given) and int(given) < len(class_names):
            found.add(int(given))
        else:
            near = get_close_matches(name, ids, n=1)
            shown = ", ".join(class_names[:_NAMES_SHOWN])
            more = f" and {len(class_names) - _NAMES_SHOWN} more"
            raise BadAttribute(
                f"the custom attribute classes holds {given!r}, which is no class of the model"
                + (f" (did you mean {near[0]!r}?)" if near else "")
                + f"; there are {shown}"
                + (more if len(class_names) > _NAMES_SHOWN else "")
            )
    return frozenset(found)
