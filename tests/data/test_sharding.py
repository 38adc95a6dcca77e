"""Who reads which records."""

from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagemaker_object_detection.data.sharding import Share, share
from sagemaker_object_detection.platform.channels import Channel

REPLICATED = Channel("train", Path("train"))
SHARDED = Channel("train", Path("train"), distribution="ShardedByS3Key")


@given(st.integers(0, 200), st.integers(1, 9))
def test_a_replicated_channel_is_read_exactly_once(count: int, world_size: int) -> None:
    parts = [
        list(range(count))[share(REPLICATED, rank, world_size).of(count)]
        for rank in range(world_size)
    ]
    assert sorted(chain.from_iterable(parts)) == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(st.integers(0, 200), st.integers(1, 9))
def test_of_a_sharded_channel_each_host_reads_all_it_has(count: int, world_size: int) -> None:
    for rank in range(world_size):
        assert list(range(count))[share(SHARDED, rank, world_size).of(count)] == list(range(count))


@given(st.integers(0, 200), st.integers(1, 9), st.data())
def test_a_stream_and_a_list_are_shared_alike(count: int, step: int, data: st.DataObject) -> None:
    part = Share(data.draw(st.integers(0, step - 1)), step)
    assert [i for i in range(count) if part.has(i)] == list(range(count))[part.of(count)]


@pytest.mark.parametrize(
    ("rank", "world_size"),
    [
        pytest.param(2, 2, id="ranks count from 0"),
        pytest.param(-1, 2, id="negative"),
        pytest.param(0, 0, id="no host"),
    ],
)
def test_a_rank_that_does_not_exist(rank: int, world_size: int) -> None:
    with pytest.raises(ValueError, match="expected a rank"):
        share(REPLICATED, rank, world_size)
    with pytest.raises(ValueError, match="expected 0 <= start < step"):
        Share(3, 3)
