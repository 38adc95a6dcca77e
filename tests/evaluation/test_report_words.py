"""Figures and names for a reader."""

import pytest

from sagemaker_object_detection.evaluation.report_pictures import duration, short_count, shortened

DURATIONS = [
    (0.0, "0.00 s"),
    (0.123, "0.12 s"),
    (9.994, "9.99 s"),
    (10.0, "10 s"),
    (59.4, "59 s"),
    (59.6, "1 min 00 s"),
    (75.0, "1 min 15 s"),
    (3599.7, "1 h 00 min"),
    (3725.0, "1 h 02 min"),
    (36_000_000.0, "10,000 h 00 min"),
]


@pytest.mark.parametrize(("seconds", "text"), DURATIONS)
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (9999, "9999"), (10_000, "10k"), (9_999_999, "9999k"), (12_345_678, "12M")],
)
def test_counts_fit_into_a_cell(value: int, text: str) -> None:
    assert short_count(value) == text
    assert len(text) <= 5


SHORTENED = [
    pytest.param("person", 6, "person", id="fits"),
    pytest.param("person", 5, "pers\N{HORIZONTAL ELLIPSIS}", id="one too many"),
    pytest.param("白血球", 6, "白血球", id="wide letters that fit"),
    pytest.param("白血球", 5, "白\N{HORIZONTAL ELLIPSIS}", id="wide letters that do not"),
    pytest.param("", 5, "", id="nothing"),
]


@pytest.mark.parametrize(("text", "letters", "expected"), SHORTENED)
def test_names_are_cut_to_the_room_there_is(text: str, letters: int, expected: str) -> None:
    assert shortened(text, letters) == expected
