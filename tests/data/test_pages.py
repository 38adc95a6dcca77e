"""Figures on the pages, and that a page asks for nothing that it is not given."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from sagemaker_object_detection.data.pages import count, percent, render_page


@pytest.mark.parametrize(
    ("part", "whole", "shown", "reason"),
    [
        (0, 7, "0 %", "nothing"),
        (7, 7, "100 %", "all"),
        (0, 0, "0 %", "nothing of nothing"),
        (1, 3, "33.3 %", "rounded"),
        (1, 2, "50.0 %", "as many digits as its neighbours"),
        (1, 1000, "0.1 %", "the least that is shown"),
        (1, 100_000, "< 0.1 %", "little is not nothing"),
        (99_999, 100_000, "> 99.9 %", "nearly all is not all"),
        (999, 1000, "99.9 %", "the most that is shown"),
    ],
)
def test_shares(part: int, whole: int, shown: str, reason: str) -> None:
    assert percent(part, whole) == shown, reason


def test_counts_have_their_thousands_parted() -> None:
    assert [count(value) for value in (0, 999, 1000, 1234567)] == ["0", "999", "1,000", "1,234,567"]


def test_a_template_that_asks_for_more_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "page.j2").write_text("{{ given }}{{ forgotten }}")
    with pytest.raises(UndefinedError, match="'forgotten' is undefined"):
        render_page(tmp_path, "page.j2", {"given": 1})
