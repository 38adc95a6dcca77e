from __future__ import annotations

from pathlib import Path

from sagemaker_object_detection.data.reasons import REASONS, reasons_table

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


def test_the_table_of_the_documentation() -> None:
    table = reasons_table()
    assert table in PAGE.read_text(encoding="utf-8"), f"docs/errors.md lacks this table:\n{table}"


def test_every_reason_is_a_row_of_four_cells() -> None:
    rows = reasons_table().splitlines()
    assert len(rows) == 2 + len(REASONS)
    assert {row.count("|") for row in rows} == {5}
