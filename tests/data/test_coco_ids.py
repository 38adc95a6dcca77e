"""Ids of a COCO file, however they are written, and which entry has one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagemaker_object_detection.data import coco_ids
from sagemaker_object_detection.data.coco_ids import find, whole


@pytest.mark.parametrize(
    ("value", "number", "reason"),
    [
        (7, 7, "as it is"),
        (-7, -7, "below 0"),
        (7.0, 7, "as programs write that know floats alone"),
        ("7", 7, "as text"),
        ("007", 7, "as a name of fixed width"),
        (2**63 - 1, 2**63 - 1, "all 64 bits"),
        (2**63, None, "more than 64 bits"),
        (-(2**63), None, "left free, for crowds"),
        ("9" * 19, None, "text that may be more than 64 bits"),
        (2.0**53, None, "a float that may have been another number"),
        (7.5, None, "half an id"),
        (True, None, "true is no number"),
        ("-7", None, "a sign is no digit"),
        ("\N{ARABIC-INDIC DIGIT SEVEN}", None, "a digit of another script"),
        ("", None, "empty"),
        (None, None, "not there"),
        ([7], None, "a list"),
    ],
)
def test_whole(value: object, number: int | None, reason: str) -> None:
    assert whole(value) == number, reason


@given(st.lists(st.integers(-9, 9), unique=True), st.lists(st.integers(-9, 9)))
def test_find(known: list[int], wanted: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coco_ids, "_CHUNK", 3)  # so that there are several parts
        places = find(np.array(known, np.int64), np.array(wanted, np.int64))
    assert places.dtype == np.int32
    assert places.tolist() == [known.index(one) if one in known else -1 for one in wanted]
