"""Pictures that are there twice."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagemaker_object_detection.data import report
from sagemaker_object_detection.data.report import groups_inside, pairs_across

INSIDE = [
    pytest.param([], 0, [], id="nothing"),
    pytest.param([1, 2, 3], 0, [], id="all differ"),
    pytest.param([5, 1, 5], 1, [[0, 2]], id="one copy"),
    pytest.param([9, 9, 9], 2, [[0, 1, 2]], id="two copies of one"),
    pytest.param([9, 1, 9, 1], 2, [[0, 2], [1, 3]], id="in the order of the channel"),
    pytest.param([2**64 - 1, 0, 2**64 - 1], 1, [[0, 2]], id="all 64 bits count"),
]


@pytest.mark.parametrize(("digests", "count", "groups"), INSIDE)
def test_inside(digests: list[int], count: int, groups: list[list[int]]) -> None:
    found, shown = groups_inside(np.array(digests, np.uint64), most=10)
    assert (found, [group.tolist() for group in shown]) == (count, groups)


def test_only_some_are_shown_and_all_counted() -> None:
    digests = np.repeat(np.arange(30, dtype=np.uint64)[::-1], 5)
    count, shown = groups_inside(digests, most=3)
    assert count == 30 * 4
    assert [group.tolist() for group in shown] == [[0, 1, 2], [5, 6, 7], [10, 11, 12]]


ACROSS = [
    pytest.param([], [1], [], id="an empty first"),
    pytest.param([1], [], [], id="an empty second"),
    pytest.param([1, 2], [3, 4], [], id="nothing shared"),
    pytest.param([1, 2], [9, 2], [[1, 1]], id="one shared"),
    pytest.param([7, 7], [7], [[0, 0]], id="the first of several"),
    pytest.param([7], [7, 1, 7], [[0, 0], [0, 2]], id="every one of the second counts"),
    pytest.param([1], [2**64 - 1], [], id="larger than any of the first"),
]


@pytest.mark.parametrize(("first", "second", "pairs"), ACROSS)
def test_across(first: list[int], second: list[int], pairs: list[list[int]]) -> None:
    found = pairs_across(np.array(first, np.uint64), np.array(second, np.uint64))
    assert found.tolist() == pairs


@given(st.lists(st.integers(0, 12)), st.lists(st.integers(0, 12)))
def test_equal_to_comparing_all(first: list[int], second: list[int]) -> None:
    expected = [[first.index(value), i] for i, value in enumerate(second) if value in first]
    copies = [[i for i, one in enumerate(first) if one == value] for value in dict.fromkeys(first)]
    copies = [places for places in copies if len(places) > 1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "_DIGESTS_AT_A_TIME", 3)  # so that there are several parts
        found = pairs_across(np.array(first, np.uint64), np.array(second, np.uint64))
        count, groups = groups_inside(np.array(first, np.uint64), most=99)
    assert found.tolist() == expected
    assert [group.tolist() for group in groups] == copies
    assert count == len(first) - len(set(first))
