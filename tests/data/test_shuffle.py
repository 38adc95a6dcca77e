"""The shuffle window: each item once, within its bound, the same whatever the timing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sagemaker_object_detection.data.loader import draws
from sagemaker_object_detection.data.pipe import Sample
from sagemaker_object_detection.data.stream import ShuffleWindow

SIZES = st.lists(st.integers(0, 30), max_size=200)
BOUND = st.integers(0, 200)
SEED = st.integers(0, 2**31)


def items(sizes: list[int]) -> list[Sample]:
    return [Sample(number, "", (bytes(size),)) for number, size in enumerate(sizes)]


def shuffled(stream: list[Sample], bound: int, seed: int = 0, epoch: int = 0) -> list[int]:
    window = ShuffleWindow(bound, draws(seed, epoch, 0))
    return [item.position for item in window(stream)]


@given(sizes=SIZES, bound=BOUND, seed=SEED)
def test_each_item_once(sizes: list[int], bound: int, seed: int) -> None:
    assert sorted(shuffled(items(sizes), bound, seed)) == list(range(len(sizes)))


@given(sizes=SIZES, bound=BOUND, seed=SEED)
def test_the_bound_is_kept(sizes: list[int], bound: int, seed: int) -> None:
    window = ShuffleWindow(bound, draws(seed, 0, 0))
    highest = max(bound, *sizes, 0)

    def stream() -> Iterator[Sample]:
        for item in items(sizes):
            assert window.held <= highest
            yield item

    for _ in window(stream()):
        assert window.held <= highest
    assert window.held == 0


@given(sizes=SIZES, bound=BOUND, seed=SEED, epoch=st.integers(0, 100))
def test_the_order_is_a_function_of_stream_seed_and_epoch(
    sizes: list[int], bound: int, seed: int, epoch: int
) -> None:
    stream = items(sizes)
    assert shuffled(stream, bound, seed, epoch) == shuffled(stream, bound, seed, epoch)


def test_epochs_and_seeds_differ() -> None:
    stream = items([1] * 100)
    orders = {tuple(shuffled(stream, 20, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len({*orders, tuple(range(100))}) == 10


def test_two_are_read_for_each_one_given_until_the_window_is_full() -> None:
    read = 0

    def stream() -> Iterator[Sample]:
        nonlocal read
        for item in items([1] * 100):
            read += 1
            yield item

    window = ShuffleWindow(20, draws(0, 0, 0))
    counts = []
    for _ in window(stream()):
        counts.append(read)
    assert counts[:19] == list(range(2, 40, 2))  # then 20 are held
    full = np.diff(counts[19:-20])
    assert set(full) <= {0, 1, 2}
    assert 0.95 < full.mean() < 1.05
    assert counts[-19:] == [100] * 19


def test_the_whole_window_is_mixed() -> None:
    """Wherever an item stands in the stream, how far it moves has the window's scale."""
    order = np.array(shuffled(items([1] * 5000), 500))
    moved = np.empty(5000)
    moved[order] = np.arange(5000) - order
    assert 350 < np.std(moved[1500:4000]) < 650
    assert np.corrcoef(order[2000:2400], np.arange(400))[0, 1] < 0.5


def test_a_window_of_everything_is_a_full_shuffle_at_the_end() -> None:
    """Each item comes last in its share of the seeds."""
    last = [shuffled(items([1] * 5), 100, seed)[-1] for seed in range(1000)]
    assert set(last) == set(range(5))
