"""The loader: which records make which batch, what is in it, and that threads change nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagemaker_object_detection.data.augment import Augmentation
from sagemaker_object_detection.data.dataset import Dataset
from sagemaker_object_detection.data.loader import (
    Batch,
    Loader,
    far_fullest,
    label_rows,
    pad_labels,
    plan_epoch,
)
from sagemaker_object_detection.data.sharding import Share
from sagemaker_object_detection.images import decode, resize_square
from sagemaker_object_detection.platform.errors import ClientError
from tests.data.samples import BOX, MemorySource, dataset, encode, plain, raw

SIDE = 32
RECORDS = 11
MakeLoader = Callable[..., Loader]


def labelled(count: int = RECORDS) -> Dataset:
    """Noisy pictures; record i has i % 3 boxes of class i."""
    generator = np.random.default_rng(0)
    records = []
    for i in range(count):
        picture = generator.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        corners = np.sort(generator.random((i % 3, 2, 2)), axis=1).reshape(-1, 4)
        records.append(raw(encode(picture), corners, [i] * (i % 3)))
    return dataset(records)


@pytest.fixture
def loader() -> Iterator[MakeLoader]:
    """Makes loaders of SIDE, and closes them."""
    made: list[Loader] = []

    def make(data: Dataset, threads: int = 2, **options: int) -> Loader:
        made.append(Loader(data, SIDE, threads, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def train(
    loader: Loader, seed: int = 0, epoch: int = 0, first_batch: int = 0, batch_size: int = 4
) -> list[Batch]:
    return [*loader.training_epoch(batch_size, seed, epoch, Augmentation(), first_batch)]


def assert_equal(some: list[Batch], others: list[Batch]) -> None:
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        np.testing.assert_array_equal(one.records, other.records)
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)


@given(
    count=st.integers(1, 500),
    batch_size=st.integers(1, 64),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 10**4),
)
def test_plan_has_each_record_once(count: int, batch_size: int, seed: int, epoch: int) -> None:
    plan = plan_epoch(count, batch_size, seed, epoch)
    sizes = [len(batch) for batch in plan]
    assert sorted(np.concatenate(plan).tolist()) == list(range(count))
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= batch_size
    assert len(plan) == -(-count // batch_size)


@given(
    count=st.integers(1, 300),
    batch_size=st.integers(1, 16),
    processes=st.integers(1, 9),
    more=st.integers(0, 5),
)
def test_shares_are_of_every_batch(count: int, batch_size: int, processes: int, more: int) -> None:
    """All processes make as many batches, and together those that one process makes of them."""
    size = batch_size * processes
    batches = -(-count // size) + more
    whole = plan_epoch(count, size, 3, 4, batches=batches)
    plans = [
        plan_epoch(count, size, 3, 4, Share(rank, processes), batches) for rank in range(processes)
    ]
    assert {len(plan) for plan in plans} == {batches}
    for parts, batch in zip(zip(*plans, strict=True), whole, strict=True):
        assert sorted(np.concatenate(parts)) == sorted(batch)
        assert max(map(len, parts)) <= batch_size


def test_plan_is_shuffled_anew() -> None:
    orders = [
        tuple(np.concatenate(plan_epoch(100, 8, seed, epoch)))
        for seed in range(3)
        for epoch in range(3)
    ]
    assert len({*orders, tuple(range(100))}) == 10
    assert orders[0] == tuple(np.concatenate(plan_epoch(100, 8, 0, 0)))


def test_every_order_is_as_likely() -> None:
    """Each record comes first in its share of the epochs."""
    first = [int(plan_epoch(5, 2, 0, epoch)[0][0]) for epoch in range(2000)]
    np.testing.assert_allclose(np.bincount(first) / 2000, 0.2, atol=0.04)


def test_threads_change_nothing(loader: MakeLoader) -> None:
    data = labelled()
    one, four = loader(data, threads=1), loader(data, threads=4)
    for epoch in (0, 1):
        assert_equal(train(one, epoch=epoch), train(four, epoch=epoch))


def test_an_epoch_can_be_resumed(loader: MakeLoader) -> None:
    made = loader(labelled())
    assert_equal(train(made, seed=3, epoch=2, first_batch=1), train(made, seed=3, epoch=2)[1:])
    assert train(made, first_batch=3) == []


def by_record(batches: list[Batch]) -> dict[int, npt.NDArray[np.uint8]]:
    return {
        int(record): image
        for batch in batches
        for record, image in zip(batch.records, batch.images, strict=True)
    }


@pytest.mark.parametrize(
    ("seed", "epoch", "reason"),
    [(0, 1, "another epoch"), (1, 0, "another seed"), (1, 1, "another of both")],
)
def test_epochs_and_seeds_differ(loader: MakeLoader, seed: int, epoch: int, reason: str) -> None:
    made = loader(labelled())
    here, there = by_record(train(made)), by_record(train(made, seed, epoch))
    assert here.keys() == there.keys() == set(range(RECORDS))
    differing = sum((here[record] != there[record]).any() for record in here)
    assert differing == RECORDS, reason


def test_the_batch_size_does_not_change_a_view(loader: MakeLoader) -> None:
    """Draws belong to a record, wherever it comes in the epoch."""
    made = loader(labelled())
    small, large = by_record(train(made, batch_size=1)), by_record(train(made, batch_size=11))
    for record, image in small.items():
        np.testing.assert_array_equal(image, large[record])


@dataclass(frozen=True)
class DrawNotes(Augmentation):
    """Notes what the loader's generators draw."""

    drawn: list[npt.NDArray[np.uint64]] = field(default_factory=list)

    def __call__(
        self,
        image: npt.NDArray[np.uint8],
        boxes: npt.NDArray[np.float32],
        side: int,
        random: np.random.Generator,
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        self.drawn.append(random.integers(0, 2**63, 200, dtype=np.uint64))
        return super().__call__(image, boxes, side, random)


def test_no_two_records_share_a_draw(loader: MakeLoader) -> None:
    """A record's numbers are not its neighbour's a few steps on."""
    notes = DrawNotes()
    made = loader(labelled())
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        list(made.training_epoch(4, seed, epoch, notes))
    numbers = np.concatenate(notes.drawn)
    assert len(numbers) == 3 * RECORDS * 200
    assert len(np.unique(numbers)) == len(numbers)


def test_pictures_reach_the_batch_as_rgb_planes(loader: MakeLoader) -> None:
    made = loader(dataset([raw(plain((200, 10, 30))), raw(plain((1, 2, 3)))]))
    for batches in (
        list(made.evaluation_pass(2)),
        list(made.training_epoch(2, 0, 0, None)),
    ):
        (batch,) = batches
        assert batch.images.shape == (2, 3, SIDE, SIDE)
        assert batch.images.dtype == np.uint8
        for record, colour in enumerate([(200, 10, 30), (1, 2, 3)]):
            (row,) = np.flatnonzero(batch.records == record)
            expected = np.broadcast_to(np.reshape(colour, (3, 1, 1)), (3, SIDE, SIDE))
            np.testing.assert_array_equal(batch.images[row], expected)


@pytest.mark.parametrize(
    "shape", [(40, 50), (SIDE, SIDE), (1, 1), (200, 100)], ids=["other", "same", "one", "larger"]
)
def test_pictures_are_resized_as_the_endpoint_does(
    loader: MakeLoader, shape: tuple[int, int]
) -> None:
    data = encode(np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8))
    expected = resize_square(decode(data), SIDE).transpose(2, 0, 1)
    made = loader(dataset([raw(data)]))
    for batch in (next(made.evaluation_pass(1)), next(made.training_epoch(1, 0, 0, None))):
        np.testing.assert_array_equal(batch.images[0], expected)


def test_labels_are_padded(loader: MakeLoader) -> None:
    data = dataset(
        [
            raw(boxes=[BOX, (0, 0, 1, 1)], class_ids=[4, 2]),
            raw(boxes=[]),
            raw(boxes=[(0, 0, 0.5, 0.5)], class_ids=[1]),
        ]
    )
    for batch in (
        next(loader(data).evaluation_pass(3)),
        next(loader(data).training_epoch(3, 0, 0, None)),
    ):
        expected = np.full((3, 8, 5), -1, np.float32)
        expected[0, :2] = [[4, *BOX], [2, 0, 0, 1, 1]]
        expected[2, 0] = [1, 0, 0, 0.5, 0.5]
        assert batch.labels.dtype == np.float32
        np.testing.assert_array_equal(batch.labels, expected[batch.records])


def test_a_data_set_without_boxes_has_empty_rows(loader: MakeLoader) -> None:
    """The loss needs a row to look at."""
    batch = next(loader(dataset([raw(boxes=[])] * 2)).training_epoch(2, 0, 0, Augmentation()))
    np.testing.assert_array_equal(batch.labels, np.full((2, 8, 5), -1))


def test_a_batch_is_padded_to_its_own_fullest_image(loader: MakeLoader) -> None:
    counts = [1, 150, 3, 8, 9, 0]
    made = loader(dataset([raw(boxes=[BOX] * count) for count in counts]))
    batches = [*made.evaluation_pass(2), *made.training_epoch(2, 0, 0, None)]
    for batch in batches:
        most = max(counts[record] for record in batch.records)
        assert batch.labels.shape == (2, label_rows(most), 5)
        assert (batch.labels[:, :, 0] >= 0).sum() == sum(counts[r] for r in batch.records)
    assert [batch.labels.shape[1] for batch in batches[:3]] == [256, 8, 16]


def test_a_share_without_a_record_has_labels_of_no_image() -> None:
    assert pad_labels([]).shape == (0, 8, 5)


@pytest.mark.parametrize(
    ("boxes", "rows"),
    [(0, 8), (1, 8), (8, 8), (9, 16), (16, 16), (17, 32), (64, 64), (65, 128), (1500, 2048)],
)
def test_label_rows(boxes: int, rows: int) -> None:
    assert label_rows(boxes) == rows


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        pytest.param([12] * 204 + [1500], (204, 1500, 12), id="one of 205"),
        pytest.param([1500, 12, 3], (0, 1500, 12), id="one of three"),
        pytest.param([12, 101, 3], (1, 101, 12), id="just enough"),
        pytest.param([12, 100, 3], None, id="100 boxes are not many"),
        pytest.param([100] * 50 + [800], None, id="8 times as many are not"),
        pytest.param([10] * 50 + [700] * 50, None, id="half of the images"),
        pytest.param([2000], None, id="nothing to compare it to"),
    ],
)
def test_far_fullest(counts: list[int], found: tuple[int, int, int] | None) -> None:
    assert far_fullest(np.cumsum([0, *counts])) == found


def test_labels_go_with_the_boxes_that_are_kept(loader: MakeLoader) -> None:
    """The right half is shown: the left box is dropped, and its class with it."""
    boxes = [(0.1, 0.1, 0.2, 0.2), (0.5, 0.5, 1.0, 1.0)]
    made = loader(dataset([raw(boxes=boxes, class_ids=[3, 5])]))

    class RightHalf(Augmentation):
        def _draw_region(
            self, boxes: npt.NDArray[np.float32], random: np.random.Generator
        ) -> npt.NDArray[np.float64]:
            return np.array([0.5, 0.0, 1.0, 1.0])

    (batch,) = made.training_epoch(1, 0, 0, RightHalf(flip_probability=0))
    assert batch.labels[0].tolist() == [[5, 0, 0.5, 1, 1], *[[-1] * 5] * 7]


@pytest.mark.parametrize(
    ("count", "batch_size", "records"),
    [
        pytest.param(5, 2, [[0, 1], [2, 3], [4, -1]], id="the last batch is filled"),
        pytest.param(4, 2, [[0, 1], [2, 3]], id="nothing to fill"),
        pytest.param(2, 5, [[0, 1, -1, -1, -1]], id="fewer records than a batch"),
        pytest.param(0, 2, [], id="no records"),
    ],
)
def test_evaluation_pass(
    loader: MakeLoader, count: int, batch_size: int, records: list[list[int]]
) -> None:
    batches = list(loader(labelled(count)).evaluation_pass(batch_size))
    assert [batch.records.tolist() for batch in batches] == records
    for batch in batches:
        assert len(batch.images) == len(batch.labels) == batch_size
        filling = batch.records < 0
        assert (batch.images[filling] == 0).all()
        assert (batch.labels[filling] == -1).all()
        assert batch.images[~filling].any(axis=(1, 2, 3)).all()


def test_batches_wait_ahead_but_not_all(loader: MakeLoader) -> None:
    """Two batches may wait: with the first one taken, records of three have been asked for."""
    asked = []
    source = MemorySource([raw() for _ in range(20)])
    read = source.read_image

    def read_image(index: int) -> bytes:
        asked.append(index)
        return read(index)

    source.read_image = read_image
    data = dataset(source.records)
    object.__setattr__(data, "source", source)
    made = loader(data, threads=1, batches_ahead=2)
    batches = made.evaluation_pass(2)
    next(batches)
    made.close()  # waits for what has begun
    assert set(asked) <= set(range(6))
    assert set(asked) >= {0, 1}


@pytest.mark.parametrize(
    ("bad", "batch", "reason"),
    [(0, 0, "in the first batch"), (10, 2, "in the last"), (5, 1, "between")],
)
def test_an_error_in_a_thread_reaches_the_caller(
    loader: MakeLoader, bad: int, batch: int, reason: str
) -> None:
    """The batches before it still come, and what it names is the record."""
    records = [raw() for _ in range(RECORDS)]
    records[bad] = raw(b"no image")
    batches = loader(dataset(records)).evaluation_pass(4)
    for _ in range(batch):
        next(batches)
    with pytest.raises(ClientError, match=f"record {bad} was sound.*is not any more"):
        next(batches)
    with pytest.raises(ClientError, match=f"record {bad} was sound.*is not any more"):
        list(loader(dataset(records)).training_epoch(4, 0, 0, Augmentation()))


def test_a_picture_that_has_gone_is_the_users_to_mend(loader: MakeLoader, tmp_path: Path) -> None:
    source = MemorySource([raw()] * 2)
    data = dataset(source.records)
    object.__setattr__(data, "source", source)
    source.read_image = lambda index: (tmp_path / "gone.jpg").read_bytes()  # type: ignore[method-assign]
    with pytest.raises(
        ClientError, match=r"is not any more .*gone\.jpg.*Leave the channel's files"
    ):
        list(loader(data).evaluation_pass(2))


def test_a_picture_that_the_system_fails_to_read_is_named(loader: MakeLoader) -> None:
    source = MemorySource([raw()] * 2)
    data = dataset(source.records)
    object.__setattr__(data, "source", source)
    source.read_image = lambda index: Path("/proc/self/mem").read_bytes()  # type: ignore[method-assign]
    with pytest.raises(OSError, match="Input/output error: 'record 0'"):
        list(loader(data).evaluation_pass(2))


def test_leaving_early_stops_the_threads(loader: MakeLoader) -> None:
    before = set(threading.enumerate())
    made = loader(labelled(), threads=3)
    batches = made.training_epoch(2, 0, 0, Augmentation())
    next(batches)
    assert set(threading.enumerate()) > before
    batches.close()
    made.close()
    assert set(threading.enumerate()) <= before
    with pytest.raises(RuntimeError, match="shutdown"):
        next(made.training_epoch(2, 0, 0, None))
