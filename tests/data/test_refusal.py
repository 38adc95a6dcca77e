"""One error for many offenders."""

from __future__ import annotations

import pytest

from sagemaker_object_detection.data.refusal import refusal

REFUSALS = [
    pytest.param(1, None, ["0"], id="one"),
    pytest.param(10, None, [*"0123456789"], id="exactly as many as are shown"),
    pytest.param(11, None, [*"0123456789", "... and 1 more."], id="one too many"),
    pytest.param(10, 12, [*"0123456789", "... and 2 more."], id="only the first were kept"),
    pytest.param(2, 9, ["0", "1", "... and 7 more."], id="fewer were kept than can be shown"),
]


@pytest.mark.parametrize(("given", "total", "lines"), REFUSALS)
def test_refusal(given: int, total: int | None, lines: list[str]) -> None:
    error = refusal("These are bad", [str(number) for number in range(given)], total)
    assert str(error).splitlines() == [f"These are bad ({total or given} in all):", *lines]
