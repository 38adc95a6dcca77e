"""Who reads which records."""

from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagemaker_object_detection.data.sharding import Share, share
from sagemaker_object_detection.platform.channels import Channel
from sagemaker_object_detection.platform.world import World

REPLICATED = Channel("train", Path("train"))
SHARDED = Channel("train", Path("train"), distribution="ShardedByS3Key")


def _worlds(hosts: int, local_size: int = 1) -> list[World]:
    names = tuple(f"algo-{host}" for host in range(hosts))
    count = hosts * local_size
    return [World(hosts=names, local_size=local_size, rank=rank) for rank in range(count)]


@given(st.integers(0, 200), st.integers(1, 9))
def test_a_replicated_channel_is_read_exactly_once(count: int, world_size: int) -> None:
    parts = [
        list(range(count))[share(REPLICATED, world).of(count)] for world in _worlds(world_size)
    ]
    assert sorted(chain.from_iterable(parts)) == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(st.integers(0, 200), st.integers(1, 9))
def test_of_a_sharded_channel_each_host_reads_all_it_has(count: int, world_size: int) -> None:
    for world in _worlds(world_size):
        assert list(range(count))[share(SHARDED, world).of(count)] == list(range(count))


@given(st.integers(0, 200), st.integers(1, 3), st.integers(1, 4))
def test_the_processes_of_a_host_share_what_it_has(count: int, hosts: int, local: int) -> None:
    worlds = _worlds(hosts, local)
    for channel, together in ((REPLICATED, worlds), (SHARDED, worlds[:local])):
        parts = [list(range(count))[share(channel, world).of(count)] for world in together]
        assert sorted(chain.from_iterable(parts)) == list(range(count))


@given(st.integers(0, 200), st.integers(1, 9), st.data())
def test_a_stream_and_a_list_are_shared_alike(count: int, step: int, data: st.DataObject) -> None:
    part = Share(data.draw(st.integers(0, step - 1)), step)
    assert [i for i in range(count) if part.has(i)] == list(range(count))[part.of(count)]


def test_a_share_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="expected 0 <= start < step"):
        Share(3, 3)
