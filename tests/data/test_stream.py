"""Batches from FIFOs: the same as from files, whatever the timing, within the buffer's bound."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sagemaker_object_detection.data import labels, recordio, tally
from sagemaker_object_detection.data.augment import Augmentation
from sagemaker_object_detection.data.gate import pass_gate
from sagemaker_object_detection.data.loader import Batch, Loader
from sagemaker_object_detection.data.recordio import RecordIOError
from sagemaker_object_detection.data.sharding import Share
from sagemaker_object_detection.data.sources import RecordIOSource
from sagemaker_object_detection.data.stream import StreamLoader
from sagemaker_object_detection.data.tally import Limits
from sagemaker_object_detection.images import check, decode
from sagemaker_object_detection.platform.errors import ClientError, PlatformError
from tests.data.samples import BOX, HEIGHT, WIDTH, Sample, encode, write_records
from tests.fifo import Feeder, Step, manifest_stream, record

SIDE = 32
NUM_CLASSES = 3
MakeLoader = Callable[..., StreamLoader]
Feed = Callable[..., Feeder]


def pictures(count: int) -> list[Sample]:
    """Noisy pictures of growing size; number i has i % 4 boxes, one of them over the edge."""
    random = np.random.default_rng(0)
    made = []
    for i in range(count):
        noise = random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        corners = np.sort(random.uniform(0, 1.1, (i % 4, 2, 2)), axis=1).reshape(-1, 4)
        made.append(Sample(encode(noise[: 10 + i % 38]), corners.tolist(), [i % 3] * (i % 4)))
    return made


PICTURES = pictures(23)
BAD = Sample(image=b"no image")
WRONG_CLASS = Sample(class_ids=[7])


def stream(samples: Sequence[Sample]) -> bytes:
    """What a .rec file with these sends."""
    payloads = [
        recordio.pack(labels.pack_label(np.reshape(s.boxes, (-1, 4)), s.class_ids), i, s.image)
        for i, s in enumerate(samples)
    ]
    return b"".join(map(record, payloads))


STREAM = stream(PICTURES)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[MakeLoader]:
    """Makes loaders of the channel train, and closes them."""
    made: list[StreamLoader] = []

    def one(threads: int = 2, **options: Any) -> StreamLoader:  # noqa: ANN401 - as StreamLoader
        options = {"epochs": 1, "time_limit": 5.0, **options}
        loader = StreamLoader(tmp_path / "train", "train", SIDE, threads, NUM_CLASSES, **options)
        made.append(loader)
        return loader

    yield one
    for loader in made:
        loader.close()


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feed]:
    """Feeds the channel train."""
    with ExitStack() as feeders:

        def one(*streams: bytes | Sequence[Step], delay: float = 0.0) -> Feeder:
            return feeders.enter_context(Feeder(tmp_path / "train", streams, delay))

        yield one


def train(loader: StreamLoader, batch_size: int = 4, seed: int = 0, epoch: int = 0) -> list[Batch]:
    return list(loader.training_epoch(batch_size, seed, epoch, Augmentation()))


def assert_equal(some: list[Batch], others: list[Batch]) -> None:
    assert [b.records.tolist() for b in some] == [b.records.tolist() for b in others]
    for one, other in zip(some, others, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.labels, other.labels)


def records(batches: list[Batch]) -> list[int]:
    return np.concatenate([batch.records for batch in batches]).tolist()


def by_record(batches: list[Batch]) -> dict[int, tuple[npt.NDArray[Any], list[list[float]]]]:
    """Image and labels of each record."""
    return {
        int(r): (image, label[label[:, 0] >= 0].tolist())
        for batch in batches
        for r, image, label in zip(batch.records, batch.images, batch.labels, strict=True)
    }


def in_small_steps(data: bytes) -> list[Step]:
    return [part for i in range(0, len(data), 9001) for part in (data[i : i + 9001], 0.005)]


def test_each_record_once_an_epoch_in_a_new_order(make: MakeLoader, feed: Feed) -> None:
    feed(STREAM, STREAM, STREAM)
    loader = make(epochs=3)
    orders = [tuple(records(train(loader, epoch=epoch))) for epoch in range(3)]
    for order in orders:
        assert sorted(order) == list(range(23))
    assert len({*orders, tuple(range(23))}) == 4


@pytest.mark.parametrize(
    ("threads", "steps", "delay"),
    [
        pytest.param(4, [STREAM], 0.0, id="more threads"),
        pytest.param(1, in_small_steps(STREAM), 0.0, id="a slow writer"),
        pytest.param(3, [STREAM[:10_000], 0.3, STREAM[10_000:]], 0.2, id="late and with a pause"),
    ],
)
def test_time_and_threads_change_nothing(
    tmp_path: Path, make: MakeLoader, feed: Feed, threads: int, steps: list[Step], delay: float
) -> None:
    files = [tmp_path / f"train_{number}" for number in range(2)]
    for file in files:
        file.write_bytes(STREAM)
    loader = make(1, epochs=2, buffer_bytes=60_000)
    expected = train(loader), train(loader, epoch=1)
    for file in files:
        file.unlink()
    feed(steps, steps, delay=delay)
    other = make(threads, epochs=2, buffer_bytes=60_000)
    assert_equal(train(other), expected[0])
    assert_equal(train(other, epoch=1), expected[1])


def test_the_views_are_those_of_files(tmp_path: Path, make: MakeLoader, feed: Feed) -> None:
    """A record has the same pixels and boxes whichever way it came, though at another place."""
    file = write_records(tmp_path / "a.rec", PICTURES)
    dataset, _ = pass_gate("train", RecordIOSource([file]), NUM_CLASSES, 2)
    feed(file.read_bytes(), file.read_bytes())
    ours, theirs = make(epochs=2), Loader(dataset, SIDE, 2)
    try:
        for mine, other in (
            (train(ours, seed=3), list(theirs.training_epoch(4, 3, 0, Augmentation()))),
            (list(ours.evaluation_pass(4)), list(theirs.evaluation_pass(4))),
        ):
            some, others = by_record(mine), by_record(other)
            assert some.keys() == others.keys()
            for key, (image, label) in some.items():
                np.testing.assert_array_equal(image, others[key][0])
                assert label == others[key][1]
    finally:
        theirs.close()


@pytest.mark.parametrize("kind", ["recordio", "manifest", "manifest with metadata"])
def test_the_boxes_are_those_of_the_gate(
    tmp_path: Path, make: MakeLoader, feed: Feed, kind: str
) -> None:
    samples = [*PICTURES, Sample(boxes=[(0.5, 0.5, 0.5, 0.75), BOX], class_ids=[1, 2])]
    _, expected = pass_gate(
        "train",
        RecordIOSource([write_records(tmp_path / "a.rec", samples)]),
        NUM_CLASSES,
        2,
        Limits(0.1, 0.5),
    )
    metadata = {"class-map": {"0": "dog"}} if kind == "manifest with metadata" else None
    sized = [with_size(sample) for sample in samples]
    feed(stream(samples) if kind == "recordio" else manifest_stream(sized, metadata))
    loader = make(limits=Limits(0.1, 0.5))
    batches = list(loader.evaluation_pass(5))
    truth = [t for batch in batches for t in batch.truth if t is not None]
    got = loader.first_pass
    assert got is not None
    np.testing.assert_allclose(got.boxes, expected.boxes, atol=1e-6)
    np.testing.assert_allclose(np.concatenate([t.boxes for t in truth]), expected.boxes, atol=1e-6)
    for of_stream in (got.class_ids, np.concatenate([t.class_ids for t in truth])):
        np.testing.assert_array_equal(of_stream, expected.class_ids)
    np.testing.assert_array_equal(got.offsets, expected.offsets)
    np.testing.assert_array_equal(got.sizes, expected.sizes)
    np.testing.assert_array_equal(got.digests, expected.digests)
    assert [d.reason for d in got.dropped] == [d.reason for d in expected.dropped] == ["zero_area"]
    assert list(loader.found_names.places) == ([(0, "dog")] if metadata else [])


def with_size(sample: Sample) -> Sample:
    """The sample with its picture's true size declared."""
    height, width = decode(sample.image).shape[:2]
    return replace(sample, declared_size=(width, height))


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"),
    [
        pytest.param(8, 4, [4, 4], id="full batches"),
        pytest.param(23, 4, [4, 4, 4, 4, 4, 3], id="nearly full"),
        pytest.param(13, 4, [4, 3, 3, 3], id="one more record is shared out"),
        pytest.param(5, 4, [3, 2], id="two batches"),
        pytest.param(3, 4, [3], id="less than one"),
        pytest.param(4, 1, [1, 1, 1, 1], id="single records"),
    ],
)
def test_no_batch_is_tiny(
    make: MakeLoader, feed: Feed, count: int, batch_size: int, sizes: list[int]
) -> None:
    feed(stream(PICTURES[:count]))
    batches = train(make(), batch_size)
    assert [len(batch.records) for batch in batches] == sizes
    assert [len(batch.images) for batch in batches] == sizes


def test_an_epoch_can_be_resumed(make: MakeLoader, feed: Feed) -> None:
    """The platform gives the resumed job the FIFOs from 0 again."""
    feed(STREAM, STREAM)
    loader = make(epochs=2)
    whole = list(loader.training_epoch(4, 1, 5, Augmentation()))
    assert_equal(list(loader.training_epoch(4, 1, 5, Augmentation(), first_batch=2)), whole[2:])


@pytest.mark.parametrize(
    ("count", "batch_size", "expected"),
    [
        pytest.param(5, 2, [[0, 1], [2, 3], [4, -1]], id="the last batch is filled"),
        pytest.param(4, 2, [[0, 1], [2, 3]], id="nothing to fill"),
        pytest.param(2, 5, [[0, 1, -1, -1, -1]], id="fewer records than a batch"),
    ],
)
def test_evaluation_pass(
    make: MakeLoader, feed: Feed, count: int, batch_size: int, expected: list[list[int]]
) -> None:
    feed(stream(PICTURES[:count]))
    batches = list(make().evaluation_pass(batch_size))
    assert [batch.records.tolist() for batch in batches] == expected
    for batch in batches:
        filling = batch.records < 0
        assert (batch.images[filling] == 0).all()
        assert (batch.labels[filling] == -1).all()
        assert [labels is None for labels in batch.truth] == filling.tolist()
        for labels_of, rows in zip(batch.truth, batch.labels, strict=True):
            if labels_of is not None:
                np.testing.assert_array_equal(rows[: len(labels_of.boxes), 1:], labels_of.boxes)


def test_each_pass_reads_the_next_fifo(make: MakeLoader, feed: Feed) -> None:
    feed(stream(PICTURES[:3]), stream(PICTURES[:4]), stream(PICTURES[:5]))
    loader = make(epochs=3)
    assert records(list(loader.evaluation_pass(3))) == [0, 1, 2]
    assert sorted(records(train(loader))) == [0, 1, 2, 3]
    assert records(list(loader.evaluation_pass(5))) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="pass 3 of 3"):
        next(loader.evaluation_pass(5))


def test_dropped_records_leave_no_hole(make: MakeLoader, feed: Feed) -> None:
    samples = [*PICTURES[:4], BAD, *PICTURES[4:8], BAD, *PICTURES[8:]]
    feed(stream(samples), stream(samples))
    loader = make(epochs=2)
    batches = list(loader.evaluation_pass(5))
    good = [i for i in range(25) if i not in (4, 9)]
    assert records(batches) == [*good, -1, -1]
    assert sorted(records(train(loader))) == good
    tally = loader.first_pass
    assert tally is not None
    assert tally.dropped_counts == {"undecodable": 2}
    assert [d.record.split(" (")[0].rpartition("/")[2] for d in tally.dropped] == [
        "train_0, record 4",
        "train_0, record 9",
    ]
    assert tally.records == 25, "the first pass only"
    assert loader.record_name(int(tally.indices[-1])).endswith("train_0, record 24")


def test_records_of_a_shuffled_pass_have_their_names(make: MakeLoader, feed: Feed) -> None:
    feed(manifest_stream(replace(s, declared_size=check(s.image)) for s in PICTURES))
    loader = make()
    order = records(train(loader, batch_size=23))
    assert order != sorted(order)
    names = [loader.record_name(index).rpartition("/")[2] for index in range(23)]
    assert names == [f"train_0, sample {position}" for position in order]


def test_faults_are_listed_together(make: MakeLoader, feed: Feed) -> None:
    feed(stream([*PICTURES[:3], WRONG_CLASS, PICTURES[3], WRONG_CLASS, *PICTURES[:9]]))
    with pytest.raises(ClientError) as caught:
        list(make().evaluation_pass(4))
    lines = str(caught.value).splitlines()
    assert lines[0] == "The channel 'train' has records that cannot be used (2 in all):"
    assert "train_0, record 3 (byte" in lines[1]
    assert "class_id 7 is not in 0..2" in lines[1]
    assert "train_0, record 5 (byte" in lines[2]


def test_a_fault_in_a_later_pass(make: MakeLoader, feed: Feed) -> None:
    feed(STREAM, stream([*PICTURES, WRONG_CLASS]))
    loader = make(epochs=2)
    train(loader)
    with pytest.raises(ClientError, match=r"train_1, record 23 .*class_id 7"):
        train(loader)


def test_too_many_dropped_at_the_end(make: MakeLoader, feed: Feed) -> None:
    feed(stream([BAD, *PICTURES[:8]]), stream([BAD, *PICTURES[:9]]))
    with pytest.raises(ClientError, match=r"1 of 9 images of the channel 'train' cannot be used"):
        train(make(epochs=2))


def test_just_as_many_dropped_as_may_be(make: MakeLoader, feed: Feed) -> None:
    feed(stream([BAD, *PICTURES[:9]]))
    assert len(records(train(make()))) == 9


def test_too_many_dropped_boxes(make: MakeLoader, feed: Feed) -> None:
    flat = Sample(boxes=[(0.1, 0.1, 0.1, 0.2)] * 3, class_ids=[0, 1, 2])
    feed(stream([Sample(), Sample(), flat]))
    with pytest.raises(ClientError, match=r"3 of 5 boxes of the channel 'train' cannot be used"):
        train(make())


def test_too_many_dropped_is_said_before_the_end(
    make: MakeLoader, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of at most 23 are too many, whatever the rest of the stream will be."""
    monkeypatch.setattr(tally, "EARLIEST_REFUSAL", 1)
    never = threading.Event()
    feed([stream([*PICTURES[:8], BAD, BAD, BAD, *PICTURES[:12]]), never])
    loader = make(expected_records=23, batches_ahead=1)
    with pytest.raises(ClientError, match="3 of 11 images"):
        list(loader.evaluation_pass(4))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        pytest.param([], "no usable image: 0 records were read", id="no record"),
        pytest.param([BAD], "1 of 1 images", id="no image"),
    ],
)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_nothing_usable(
    make: MakeLoader, feed: Feed, samples: list[Sample], message: str, training: bool
) -> None:
    feed(stream(samples))
    loader = make()
    with pytest.raises(ClientError, match=message):
        train(loader) if training else list(loader.evaluation_pass(2))


def test_labels_have_rows_for_all_boxes(
    make: MakeLoader, feed: Feed, caplog: pytest.LogCaptureFixture
) -> None:
    boxes = [Sample(boxes=[BOX] * n, class_ids=[0] * n) for n in (1, 3, 2, 9, 10, 1)]
    feed(stream(boxes), stream(boxes))
    loader = make(epochs=2, declared_boxes=2)
    batches = list(loader.evaluation_pass(2))
    assert [batch.labels.shape[1] for batch in batches] == [8, 16, 16]
    assert [int((batch.labels[:, :, 0] >= 0).sum()) for batch in batches] == [4, 11, 11]
    assert [b.labels.shape[1] for b in loader.evaluation_pass(2)] == [8, 16, 16]
    (warning,) = [m for m in caplog.messages if "label_width" in m]
    assert "an image has 10 boxes, label_width has room for 2" in warning


class TopHalf(Augmentation):
    """Views without what is below."""

    def _draw_region(
        self, boxes: npt.NDArray[np.float32], random: np.random.Generator
    ) -> npt.NDArray[np.float64]:
        return np.array([0.0, 0.0, 1.0, 0.5])


def test_boxes_that_are_not_in_view_count_for_label_width(
    make: MakeLoader, feed: Feed, caplog: pytest.LogCaptureFixture
) -> None:
    """As do those that are dropped: the service's own algorithm needs room for all."""
    above, below, flat = (0.1, 0.1, 0.2, 0.2), (0.1, 0.8, 0.2, 0.9), (0.5, 0.5, 0.5, 0.75)
    feed(stream([Sample(boxes=[above, *[below] * 10, flat], class_ids=[0] * 12)]))
    (batch,) = make(declared_boxes=11).training_epoch(1, 0, 0, TopHalf())
    assert (batch.labels[:, :, 0] >= 0).sum() == 1
    (warning,) = caplog.messages
    assert "an image has 12 boxes, label_width has room for 11" in warning
    assert warning.endswith("Set label_width to 62 or more.")


def test_shares_are_disjoint_and_complete(tmp_path: Path, make: MakeLoader) -> None:
    (tmp_path / "train_0").write_bytes(STREAM)
    parts = [records(train(make(share=Share(start, 3)))) for start in range(3)]
    assert [len(part) for part in parts] == [8, 8, 7]
    assert sorted(chain(*parts)) == list(range(23))


def test_the_buffer_keeps_its_bound(make: MakeLoader, feed: Feed) -> None:
    many = STREAM * 6
    feed(many, many)
    bound = 100_000
    loader = make(epochs=2, buffer_bytes=bound)
    for epoch in range(2):
        for _ in loader.training_epoch(4, 0, epoch, None):
            assert loader.buffered_bytes_peak <= bound
    largest = max(len(sample.image) for sample in PICTURES)
    assert loader.buffered_bytes_peak > bound - 2 * largest


def test_a_record_larger_than_the_buffer(make: MakeLoader, feed: Feed) -> None:
    feed(STREAM)
    loader = make(buffer_bytes=100)
    assert sorted(records(train(loader))) == list(range(23))
    assert loader.buffered_bytes_peak <= 2 * max(len(s.image) for s in PICTURES) + 200


def test_the_next_fifo_is_read_while_training_goes_on(make: MakeLoader, feed: Feed) -> None:
    feeder = feed(STREAM, STREAM)
    loader = make(epochs=2)
    batches = loader.training_epoch(4, 0, 0, None)
    next(batches)
    feeder.wait_written(1, len(STREAM))
    assert len(list(batches)) == 5
    assert sorted(records(train(loader))) == list(range(23))


def test_no_fifo_is_opened_before_the_first_pass_or_beyond_the_last(
    make: MakeLoader, feed: Feed
) -> None:
    feeder = feed(STREAM, STREAM, STREAM)
    loader = make(epochs=2)
    assert feeder.written == []
    train(loader)
    train(loader)
    loader.close()
    assert feeder.written == [len(STREAM)] * 2


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_leaving_early_closes_the_fifo(make: MakeLoader, feed: Feed, training: bool) -> None:
    many = STREAM * 60  # much more than the pipe and the reader hold
    feeder = feed(many, STREAM)
    loader = make(epochs=2, buffer_bytes=50_000)
    batches = loader.training_epoch(2, 0, 0, None) if training else loader.evaluation_pass(2)
    next(batches)
    batches.close()
    feeder.wait_left(0)
    assert sorted(records(list(loader.evaluation_pass(23)))) == list(range(23))


def test_a_pass_that_nobody_ended(make: MakeLoader, feed: Feed) -> None:
    """A new pass leaves the one before; that one then ends where it is."""
    feed(STREAM * 20, STREAM)
    loader = make(epochs=2, buffer_bytes=50_000)
    left = loader.evaluation_pass(2)
    next(left)
    assert len(list(loader.evaluation_pass(23))) == 1
    assert len(list(left)) < 20


def test_a_fault_beyond_where_a_pass_was_left(make: MakeLoader, feed: Feed) -> None:
    feed(STREAM * 20 + b"broken!!", STREAM)
    loader = make(epochs=2, buffer_bytes=50_000)
    batches = loader.evaluation_pass(2)
    next(batches)
    batches.close()
    assert len(list(loader.evaluation_pass(23))) == 1


@pytest.mark.parametrize(
    ("broken", "error", "message"),
    [
        pytest.param(STREAM[:-10], RecordIOError, "train_0, record 22 .* ends inside", id="cut"),
        pytest.param(STREAM + b"damaged!", RecordIOError, "record 23 .* must begin", id="damaged"),
        pytest.param(
            record(b'{"annotations": []}'), ClientError, "begins with JSON", id="JSON first"
        ),
    ],
)
def test_errors_of_the_stream_reach_the_caller(
    make: MakeLoader, feed: Feed, broken: bytes, error: type[Exception], message: str
) -> None:
    feed(broken)
    loader = make(epochs=2)
    for _ in range(2):  # it stays broken
        with pytest.raises(error, match=message):
            train(loader)


def test_a_writer_that_stalls(make: MakeLoader, feed: Feed) -> None:
    feed([STREAM[:50_000], threading.Event()])
    with pytest.raises(PlatformError, match="train_0: no byte came within"):
        train(make(time_limit=0.4))


def test_silence_while_nobody_waits_is_no_error(make: MakeLoader, feed: Feed) -> None:
    """The next FIFO may stay empty for as long as an epoch takes."""
    feed(STREAM, [0.9, STREAM])
    loader = make(epochs=2, time_limit=0.5)
    batches = loader.training_epoch(23, 0, 0, None)
    next(batches)
    time.sleep(0.7)  # the step takes longer than the time limit
    assert list(batches) == []
    assert len(train(loader, 23)) == 1


@pytest.mark.parametrize("fed", [True, False], ids=["a silent FIFO", "no FIFO"])
@pytest.mark.parametrize("how", ["stop", "close"])
def test_it_ends_when_it_is_told_to(make: MakeLoader, feed: Feed, fed: bool, how: str) -> None:
    """No error: what told it so knows why."""
    if fed:
        feed([STREAM[:20_000], threading.Event()])
    stop = threading.Event()
    loader = make(stop=stop.is_set)
    threading.Timer(0.3, stop.set if how == "stop" else loader.close).start()
    begun = time.monotonic()
    train(loader)
    assert time.monotonic() - begun < 1.3


def test_stop_ends_a_pass_whose_records_have_come(make: MakeLoader, feed: Feed) -> None:
    feed(STREAM)
    stop = threading.Event()
    batches = make(stop=stop.is_set).training_epoch(2, 0, 0, None)
    next(batches)
    stop.set()
    assert len(list(batches)) < 5


def test_close_ends_all_threads(make: MakeLoader, feed: Feed) -> None:
    feed([STREAM, threading.Event()])
    before = set(threading.enumerate())
    loader = make(threads=3)
    batches = loader.evaluation_pass(2)
    next(batches)
    assert set(threading.enumerate()) > before
    begun = time.monotonic()
    loader.close()
    assert time.monotonic() - begun < 1.0
    assert set(threading.enumerate()) <= before
    with pytest.raises(RuntimeError, match="closed"):
        next(loader.evaluation_pass(2))


def test_class_names_of_a_manifest(make: MakeLoader, feed: Feed) -> None:
    metadata = {"class-map": {"0": "dog", "2": "cat"}, "type": "groundtruth/object-detection"}
    feed(manifest_stream([Sample()] * 3, metadata))
    loader = make()
    list(loader.evaluation_pass(2))
    assert set(loader.found_names.places) == {(0, "dog"), (2, "cat")}


def test_json_of_a_manifest_that_is_neither(make: MakeLoader, feed: Feed) -> None:
    feed(manifest_stream([Sample()] * 3, {"something": "else"}))
    with pytest.raises(ClientError, match=r"sample 0 .records 0 to 2.*neither an annotation"):
        train(make())


def test_a_split_record(make: MakeLoader, feed: Feed) -> None:
    """A picture that holds RecordIO's magic number comes in several frames."""
    picture = PICTURES[3].image
    picture += bytes(-len(picture) % 4) + recordio.MAGIC_BYTES + b"tail"
    feed(stream([Sample(picture), Sample()]))
    assert records(list(make().evaluation_pass(2))) == [0, 1]


@pytest.mark.parametrize("form", ["recordio", "manifest"])
def test_damaged_streams_end_in_one_error_or_pass(
    tmp_path: Path, make: MakeLoader, form: str
) -> None:
    few = PICTURES[:5]
    few = [replace(sample, declared_size=check(sample.image)) for sample in few]
    whole = stream(few) if form == "recordio" else manifest_stream(few)
    passed = 0
    refusals = []
    for seed in range(100):
        random = np.random.default_rng(seed)
        damaged = bytearray(whole)
        for _ in range(random.integers(1, 6)):
            damaged[random.integers(len(damaged))] ^= 1 << random.integers(8)
        if seed % 4 == 0:
            del damaged[random.integers(len(damaged)) :]
        if seed % 4 == 1:
            start = int(random.integers(len(damaged)))
            damaged[start : start + 8] = random.bytes(random.integers(8))
        (tmp_path / "train_0").write_bytes(damaged)
        loader = make(limits=Limits(1.0, 1.0))
        try:
            passed += len(train(loader, 2)) > 0
        except ClientError as error:
            refusals.append(str(error))
        finally:
            loader.close()
    assert passed > 5
    assert len(refusals) == 100 - passed
    assert [text for text in refusals if "train" not in text] == []
