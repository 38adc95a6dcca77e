"""Columns hold what was put into them, whatever their pages do meanwhile."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagemaker_object_detection.data import column as column_module
from sagemaker_object_detection.data.column import Column


@given(st.lists(st.one_of(st.integers(-(2**63), 2**63 - 1), st.lists(st.integers(0, 9)))))
def test_numbers_come_back_in_order(parts: list[int | list[int]]) -> None:
    """One by one or several at a time, with a look at them in between."""
    column, expected = Column("q"), list[int]()
    for part in parts:
        if isinstance(part, int):
            column.append(part)
            expected.append(part)
        else:
            column.extend(np.array(part, np.int64))
            expected.extend(part)
        assert column.array().tolist() == expected
        assert len(column) == len(expected)


@pytest.mark.parametrize(
    ("code", "number", "of"),
    [
        pytest.param("f", 0.1, np.float32, id="rounded as float32"),
        pytest.param("Q", 2**64 - 1, np.uint64, id="all 64 bits"),
        pytest.param("b", 1, np.int8, id="bytes"),
    ],
)
def test_types(code: str, number: float, of: type[np.generic]) -> None:
    column = Column(code)
    column.append(number)
    np.testing.assert_array_equal(column.array(), np.array([number], of))
    assert column.array().dtype == of


def test_bytes_and_arrays_of_other_types_are_taken() -> None:
    column = Column("f")
    column.extend(np.array([[1, 2], [3, 4]], np.float64)[:, ::-1])
    column.extend(np.array([5], np.float32).tobytes())
    assert column.array().tolist() == [2, 1, 4, 3, 5]


def test_a_number_beyond_the_type_is_an_error() -> None:
    with pytest.raises(OverflowError):
        Column("i").append(2**31)


class _Fixed(mmap.mmap):
    """Pages of a system that cannot remap them."""

    def resize(self, size: int) -> None:
        raise SystemError("mmap: resizing not available--no mremap()")


@pytest.mark.parametrize("pages", [mmap.mmap, _Fixed], ids=["Linux", "elsewhere"])
def test_many_numbers(pages: type[mmap.mmap], monkeypatch: pytest.MonkeyPatch) -> None:
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    monkeypatch.setattr(column_module, "_mapped", lambda size: pages(-1, size, flags=private))
    columns = Column("q"), Column("i")
    for number in range(30_000):
        columns[0].append(number)
        columns[1].extend(np.array([number, -number]))
    assert np.array_equal(columns[0].array(), np.arange(30_000))
    assert np.array_equal(columns[1].array()[1::2], -np.arange(30_000))


def test_what_is_in_use_is_never_moved() -> None:
    column = Column("q")
    column.append(1)
    numbers = column.array()
    with pytest.raises(BufferError):
        column.extend(np.zeros(10_000, np.int64))
    assert numbers.tolist() == [1]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells")
def test_memory_goes_back_to_the_system() -> None:
    def resident() -> int:
        pages = Path("/proc/self/statm").read_text().split()[1]
        return int(pages) * mmap.PAGESIZE

    before = resident()
    columns = [Column("q") for _ in range(8)]
    for number in range(2**17):
        for column in columns:
            column.append(number)
    held = resident() - before
    assert 2**23 <= held < 1.1 * 2**23
    del columns, column
    assert resident() - before < 2**20
