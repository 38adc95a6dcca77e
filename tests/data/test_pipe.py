"""FIFOs that are late, silent or broken, and the framing of streams in chunks of any size."""

from __future__ import annotations

import itertools
import logging
import os
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sagemaker_object_detection.data import pipe, recordio
from sagemaker_object_detection.data.pipe import Stopped
from sagemaker_object_detection.data.recordio import STREAM, Frames, Record, RecordIOError
from sagemaker_object_detection.platform.errors import PlatformError
from tests.fifo import MAGIC_BYTES, Feeder, Step, frame, record

NAME = Path("/data/train_0")
PAYLOADS = [b"first", b"", b"abcd" + MAGIC_BYTES + b"efg", MAGIC_BYTES * 2, bytes(3000)]
BYTES = b"".join(map(record, PAYLOADS))


def never() -> bool:
    return False


def payloads(path: Path, **options: float) -> list[bytes]:
    return [r.payload for r in pipe.records(path, never, **options)]


def in_chunks(data: bytes, sizes: Sequence[int]) -> list[Record]:
    frames = Frames(NAME, STREAM)
    found = []
    position = 0
    for size in itertools.chain(sizes, itertools.repeat(len(data))):
        found += frames.feed(data[position : position + size])
        position += size
        if position >= len(data):
            break
    frames.finish()
    return found


def test_the_feeder_frames_as_the_writer_does(tmp_path: Path) -> None:
    with recordio.RecordIOWriter(tmp_path / "a.rec") as writer:
        for payload in PAYLOADS:
            writer.write(payload)
    assert (tmp_path / "a.rec").read_bytes() == BYTES


@given(
    payloads=st.lists(
        st.lists(st.sampled_from([MAGIC_BYTES, b"abcd", b"e"]), max_size=5).map(b"".join)
    ),
    sizes=st.lists(st.integers(1, 40)),
)
def test_chunks_of_any_size(payloads: list[bytes], sizes: list[int]) -> None:
    stream = [record(payload) for payload in payloads]
    found = in_chunks(b"".join(stream), sizes)
    assert [r.payload for r in found] == payloads
    assert [r.number for r in found] == list(range(len(payloads)))
    assert [r.offset for r in found] == [sum(map(len, stream[:i])) for i in range(len(stream))]


def test_records_come_as_soon_as_they_are_whole() -> None:
    frames = Frames(NAME, STREAM)
    first, second = record(b"first"), record(b"second")
    assert frames.feed(first[:-1]) == []
    assert frames.feed(first[-1:] + second[:9]) == [Record(0, 0, b"first")]
    assert frames.feed(second[9:]) == [Record(1, len(first), b"second")]


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        pytest.param(
            b"\xff\xd8\xff\xe0 a jpeg",
            r"record 1 \(byte 16\): a record must begin with 0xced7230a, here is 0xe0ffd8ff",
            id="no magic number",
        ),
        pytest.param(
            frame(b"x", 2),
            r"record 1 \(byte 16\): a frame of kind 2 at the beginning of a record",
            id="a middle frame first",
        ),
        pytest.param(
            frame(b"x", 1) + frame(b"y"),
            r"record 1 \(byte 28\): a frame of kind 0 inside a split record",
            id="a whole frame inside a split record",
        ),
        pytest.param(
            frame(b"x", 5), r"record 1 \(byte 16\): a frame of kind 5 at", id="kinds end at 3"
        ),
        pytest.param(
            frame(b"abc")[:-1],
            r"record 1 \(byte 16\): the stream ends inside this record, at byte 27",
            id="without its padding",
        ),
        pytest.param(
            MAGIC_BYTES + b"a",
            r"record 1 \(byte 16\): the stream ends inside this record, at byte 21",
            id="ends in a header",
        ),
        pytest.param(
            frame(b"abcd", 1),
            r"record 1 \(byte 16\): the stream ends inside this record, at byte 28",
            id="ends between the frames of a record",
        ),
        pytest.param(
            MAGIC_BYTES + struct.pack("<I", 2**29 - 1),
            r"record 1 \(byte 16\): 536870911 bytes are declared, a record has at most 268435456\. "
            ".* write it again.* a RecordIO file was wrapped once more. Leave the channel's Record",
            id="a length that no record has",
        ),
        pytest.param(
            frame(b"abcd", 1) + MAGIC_BYTES + struct.pack("<I", 2 << 29 | 2**28),
            r"record 1 \(byte 16\): 268435464 bytes are declared",
            id="so many in all its frames",
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_broken_framing(tail: bytes, message: str, size: int) -> None:
    data = record(b"before!") + tail
    with pytest.raises(RecordIOError, match="^/data/train_0, " + message):
        in_chunks(data, [size] * len(data))


@pytest.mark.parametrize(
    "stream", [b"\x89PNG\r\n\x1a\n", b"0\t0\n1\t5104\n"], ids=["an image", "an .idx file"]
)
def test_what_is_no_recordio_says_what_to_ask_for(stream: bytes) -> None:
    what = r'record 0 \(byte 0\).*nothing else under the prefix.*RecordWrapperType "RecordIO"'
    with pytest.raises(RecordIOError, match=what):
        Frames(NAME, STREAM).feed(stream)


@pytest.mark.parametrize(
    ("steps", "delay"),
    [
        pytest.param([BYTES], 0.0, id="at once"),
        pytest.param([BYTES], 0.3, id="the FIFO comes late"),
        pytest.param([0.3, BYTES], 0.0, id="the first byte comes late"),
        pytest.param([BYTES[:21], 0.25, BYTES[21:]], 0.0, id="a pause inside a record"),
        pytest.param([BYTES, 0.25], 0.0, id="the end comes late"),
    ],
)
def test_a_fifo_is_read_to_its_end(tmp_path: Path, steps: list[Step], delay: float) -> None:
    with Feeder(tmp_path / "train", [steps], delay) as feeder:
        assert payloads(feeder.fifo(0)) == PAYLOADS
        feeder.join()
    assert feeder.left == []


def test_more_than_the_pipe_holds(tmp_path: Path) -> None:
    data = os.urandom(5 * 2**20)
    with Feeder(tmp_path / "train", [record(data)]) as feeder:
        assert payloads(feeder.fifo(0)) == [data]


def test_an_empty_fifo_has_an_end(tmp_path: Path) -> None:
    with Feeder(tmp_path / "train", [b""]) as feeder:
        assert payloads(feeder.fifo(0)) == []


def test_a_file_in_place_of_a_fifo(tmp_path: Path) -> None:
    (tmp_path / "train_0").write_bytes(BYTES)
    assert payloads(tmp_path / "train_0") == PAYLOADS
    (tmp_path / "train_0").write_bytes(BYTES[:-4])
    with pytest.raises(RecordIOError, match=r"train_0, record 4 .* ends inside this record"):
        payloads(tmp_path / "train_0")


def test_a_writer_that_dies_inside_a_record(tmp_path: Path) -> None:
    with (
        Feeder(tmp_path / "train", [BYTES[:-100]]) as feeder,
        pytest.raises(RecordIOError, match=r"train_0, record 4 \(byte \d+\): the stream ends"),
    ):
        payloads(feeder.fifo(0))


def test_leaving_early_is_no_error_of_the_writer(tmp_path: Path) -> None:
    """The platform goes on to the next FIFO, and so does the reader."""
    large = record(bytes(100)) + record(bytes(4 * 2**20))
    with Feeder(tmp_path / "train", [large, BYTES]) as feeder:
        with closing(pipe.records(feeder.fifo(0), never)) as records:
            assert len(next(records).payload) == 100
        feeder.wait_left(0)
        assert payloads(feeder.fifo(1)) == PAYLOADS
        feeder.join()
    assert feeder.left == [0]


def no_fifo(path: Path) -> None:
    pass


def no_writer(path: Path) -> None:
    os.mkfifo(path)


SILENT = [
    pytest.param(no_fifo, "it did not appear", id="no FIFO"),
    pytest.param(no_writer, "no byte came", id="no writer"),
]


@pytest.mark.parametrize(("make", "what"), SILENT)
def test_the_time_limit(tmp_path: Path, make: Callable[[Path], None], what: str) -> None:
    make(tmp_path / "train_0")
    with pytest.raises(PlatformError, match=f"{tmp_path}/train_0: {what} within .* File mode"):
        payloads(tmp_path / "train_0", time_limit=0.3)


def test_the_time_limit_of_a_writer_that_stalls(tmp_path: Path) -> None:
    stalled = threading.Event()
    with (
        Feeder(tmp_path / "train", [[BYTES[:30], stalled]]) as feeder,
        pytest.raises(PlatformError, match="train_0: no byte came within 0 seconds"),
    ):
        payloads(feeder.fifo(0), time_limit=0.3)


def test_each_byte_begins_the_time_anew(tmp_path: Path) -> None:
    steps: list[Step] = [part for i in range(6) for part in (BYTES[i : i + 1], 0.2)]
    with Feeder(tmp_path / "train", [[*steps, BYTES[6:]]]) as feeder:
        assert payloads(feeder.fifo(0), time_limit=0.8) == PAYLOADS


@pytest.mark.parametrize(("make", "what"), SILENT)
def test_time_counts_while_somebody_waits(
    tmp_path: Path, make: Callable[[Path], None], what: str
) -> None:
    make(tmp_path / "train_0")
    asked = itertools.count()
    begun = time.monotonic()
    with pytest.raises(PlatformError, match=what):
        list(pipe.records(tmp_path / "train_0", never, lambda: next(asked) > 6, 0.2))
    assert time.monotonic() - begun > 0.6


@pytest.mark.parametrize(("make", "what"), SILENT)
def test_stop_is_heard(tmp_path: Path, make: Callable[[Path], None], what: str) -> None:
    make(tmp_path / "train_0")
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(Stopped):
        list(pipe.records(tmp_path / "train_0", stop.is_set))
    assert 0.2 <= time.monotonic() - begun < 1.0


def test_stop_is_heard_while_data_comes(tmp_path: Path) -> None:
    (tmp_path / "train_0").write_bytes(record(b"first") + record(bytes(3 * 2**20)))
    stop = threading.Event()
    found = pipe.records(tmp_path / "train_0", stop.is_set)
    assert next(found).payload == b"first"
    stop.set()
    with pytest.raises(Stopped):
        next(found)


@pytest.mark.parametrize(("make", "what"), SILENT)
def test_waiting_is_logged(
    tmp_path: Path,
    make: Callable[[Path], None],
    what: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make(tmp_path / "train_0")
    monkeypatch.setattr(pipe, "_LOG_EVERY", 0.25)
    caplog.set_level(logging.INFO)
    with pytest.raises(PlatformError):
        payloads(tmp_path / "train_0", time_limit=0.9)
    assert 2 <= len(caplog.messages) <= 3
    assert all(f"{tmp_path}/train_0: {what} for" in message for message in caplog.messages)
