"""RecordIO files: the framing against MXNet's own, and what damaged files are told."""

import errno
import os
import struct
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sagemaker_object_detection.data import labels, recordio
from sagemaker_object_detection.data.recordio import RecordIOError

MAGIC = struct.pack("<I", recordio.MAGIC)
LABEL = [2, 5, 1, 0.1, 0.2, 0.3, 0.4]

PAYLOADS = [
    pytest.param(b"", id="empty"),
    pytest.param(b"a", id="padded"),
    pytest.param(b"abcd", id="not padded"),
    pytest.param(MAGIC, id="nothing but the magic number"),
    pytest.param(MAGIC * 3, id="magic numbers only: empty frames"),
    pytest.param(b"abcd" + MAGIC + b"efg", id="magic inside: two frames"),
    pytest.param(b"abcd" + MAGIC + b"efgh" + MAGIC + b"i", id="twice: first, middle, last frame"),
    pytest.param(b"abc" + MAGIC + b"defg", id="magic not at a multiple of 4: not split"),
    pytest.param(b"abcd" + MAGIC, id="magic at the end: an empty last frame"),
    pytest.param(MAGIC[:2] + MAGIC + MAGIC[2:] + MAGIC, id="overlapping beginnings"),
]


def write(path: Path, payloads: Sequence[bytes]) -> None:
    with recordio.RecordIOWriter(path) as writer:
        for payload in payloads:
            writer.write(payload)


def read_all(path: Path) -> list[bytes]:
    index = recordio.scan(path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return [recordio.read(descriptor, index, record) for record in range(len(index))]
    finally:
        os.close(descriptor)


def frame(data: bytes, kind: int = 0) -> bytes:
    return MAGIC + struct.pack("<I", kind << 29 | len(data)) + data + bytes(-len(data) % 4)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_same_bytes_as_mxnet(tmp_path: Path, payload: bytes) -> None:
    mxnet_recordio = pytest.importorskip("mxnet.recordio")
    payloads = [b"before", payload, b"after"]
    write(tmp_path / "ours.rec", payloads)
    theirs = mxnet_recordio.MXIndexedRecordIO(
        str(tmp_path / "theirs.idx"), str(tmp_path / "theirs.rec"), "w"
    )
    for key, data in enumerate(payloads):
        theirs.write_idx(key, data)
    theirs.close()
    for suffix in ("rec", "idx"):
        ours = (tmp_path / f"ours.{suffix}").read_bytes()
        assert ours == (tmp_path / f"theirs.{suffix}").read_bytes()


@pytest.mark.parametrize("payload", PAYLOADS)
def test_reads_what_was_written(tmp_path: Path, payload: bytes) -> None:
    write(tmp_path / "a.rec", [b"before", payload, b"after"])
    assert read_all(tmp_path / "a.rec") == [b"before", payload, b"after"]


def test_mxnet_reads_our_records(tmp_path: Path) -> None:
    mxnet_recordio = pytest.importorskip("mxnet.recordio")
    image = b"image" + MAGIC + bytes(7)
    write(tmp_path / "a.rec", [recordio.pack(LABEL, 5, image), recordio.pack([2, 5], 6, image)])
    reader = mxnet_recordio.MXIndexedRecordIO(str(tmp_path / "a.idx"), str(tmp_path / "a.rec"), "r")
    header, data = mxnet_recordio.unpack(reader.read_idx(0))
    assert (header.id, data) == (5, image)
    np.testing.assert_array_equal(header.label, np.float32(LABEL))
    header, data = mxnet_recordio.unpack(reader.read_idx(1))
    assert (header.id, data, list(header.label)) == (6, image, [2, 5])
    reader.close()


@pytest.mark.filterwarnings("ignore:tostring:DeprecationWarning")
def test_unpacks_records_of_mxnet(tmp_path: Path) -> None:
    mxnet_recordio = pytest.importorskip("mxnet.recordio")
    path = tmp_path / "a.rec"
    header = mxnet_recordio.IRHeader(0, np.float32(LABEL), 2**40, 0)
    image = bytes(range(256)) + MAGIC
    writer = mxnet_recordio.MXRecordIO(str(path), "w")
    writer.write(mxnet_recordio.pack(header, image))
    writer.close()
    unpacked = recordio.unpack(read_all(path)[0], "a")
    np.testing.assert_array_equal(unpacked.label, np.float32(LABEL))
    assert (unpacked.record_id, unpacked.image) == (2**40, image)


def test_a_record_that_its_length_cannot_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordio, "LENGTH_MASK", 15)  # instead of half a GiB
    write(tmp_path / "a.rec", [bytes(15)])
    with pytest.raises(ValueError, match="a record must be under 16 bytes, got 16"):
        write(tmp_path / "b.rec", [bytes(16)])
    assert (tmp_path / "b.rec").read_bytes() == b""


def test_random_payloads_come_back(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    payloads = []
    for _ in range(200):
        words = generator.integers(0, 2**32, generator.integers(0, 12), dtype=np.uint32)
        words[generator.random(len(words)) < 0.4] = recordio.MAGIC
        payloads.append(words.astype("<u4").tobytes() + b"xyz"[: generator.integers(0, 4)])
    write(tmp_path / "a.rec", payloads)
    assert read_all(tmp_path / "a.rec") == payloads


def test_scan_is_fast_and_reads_headers_only(tmp_path: Path) -> None:
    """10,000 records over 1 GB (a sparse file): the data between headers is never touched."""
    path = tmp_path / "large.rec"
    length = 100_000
    with path.open("wb") as file:
        for record in range(10_000):
            file.seek(record * (length + 8))
            file.write(MAGIC + struct.pack("<I", length))
        file.truncate(10_000 * (length + 8))
    start = time.process_time()
    index = recordio.scan(path)
    assert time.process_time() - start < 1
    assert len(index) == 10_000
    assert index.offsets[-1] == 9_999 * (length + 8)
    assert (index.lengths == length + 8).all()


GOOD = frame(b"good")
FRAMING_FAULTS = [
    pytest.param(b"", "", "empty", id="empty file"),
    pytest.param(
        b"\xff\xd8\xff\xe0" * 4,
        "record 0 (byte 0)",
        "0xe0ffd8ff. Is it a RecordIO file",
        id="a JPEG is no RecordIO file",
    ),
    pytest.param(
        GOOD + b"junkjunk", "record 1 (byte 12)", "0x6b6e756a. Copy", id="junk after a record"
    ),
    pytest.param(GOOD + MAGIC, "record 1 (byte 12)", "ends inside", id="cut off in a header"),
    pytest.param(
        GOOD + frame(b"0123456789")[:-3],
        "record 1 (byte 12)",
        "at byte 29 of at least 32",
        id="cut off in data",
    ),
    pytest.param(
        GOOD + frame(b"01234", 1),
        "record 1 (byte 12)",
        "ends inside",
        id="cut off between the frames of a record",
    ),
    pytest.param(
        GOOD + frame(b"a", 3), "record 1 (byte 12)", "kind 3 at the beginning", id="lost beginning"
    ),
    pytest.param(
        frame(b"a", 1) + GOOD, "record 0 (byte 12)", "kind 0 inside a split", id="lost end"
    ),
    pytest.param(frame(b"a", 5), "record 0 (byte 0)", "kind 5", id="kind unknown to the format"),
]


@pytest.mark.parametrize(("data", "place", "what"), FRAMING_FAULTS)
def test_broken_framing_is_refused(tmp_path: Path, data: bytes, place: str, what: str) -> None:
    path = tmp_path / "broken.rec"
    path.write_bytes(data)
    with pytest.raises(RecordIOError) as caught:
        recordio.scan(path)
    assert str(path) in str(caught.value)
    assert place in str(caught.value)
    assert what in str(caught.value)


def test_a_file_that_the_system_fails_to_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int, length: int, offset: int) -> bytes:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    path = tmp_path / "a.rec"
    path.write_bytes(GOOD)
    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(OSError, match=r"a\.rec"):
        recordio.scan(path)


def test_every_cut_is_found(tmp_path: Path) -> None:
    path = tmp_path / "cut.rec"
    whole = GOOD + frame(b"first", 1) + frame(b"", 2) + frame(b"last", 3)
    for end in range(len(GOOD) + 1, len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(RecordIOError, match=r"record 1 \(byte 12\)"):
            recordio.scan(path)


def test_file_changed_since_the_scan(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    path.write_bytes(GOOD + GOOD)
    index = recordio.scan(path)
    for data in (GOOD, GOOD + frame(b"longer data")[: len(GOOD)], GOOD + bytes(12)):
        path.write_bytes(data)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            with pytest.raises(RecordIOError, match=r"record 1 \(byte 12\).*Do not change"):
                recordio.read(descriptor, index, 1)
        finally:
            os.close(descriptor)


PAYLOAD_FAULTS = [
    pytest.param(b"short", "5 bytes are too few", id="no header"),
    pytest.param(
        struct.pack("<IfQQ", 0, 7.0, 0, 0) + b"image",
        r"one number \(7\) as label: this is classification data.*--pack-label",
        id="scalar label",
    ),
    pytest.param(
        struct.pack("<IfQQ", 1000, 0, 0, 0) + bytes(40),
        "1000 label numbers are declared, the 64 bytes",
        id="more label than payload",
    ),
    pytest.param(recordio.pack(LABEL, 0, b""), "no image bytes", id="no image"),
    pytest.param(
        frame(recordio.pack(LABEL, 0, b"image")),
        r"a whole RecordIO file, wrapped once more\. Leave the channel's RecordWrapperType out",
        id="RecordWrapperType RecordIO for .rec files",
    ),
]


@pytest.mark.parametrize(("payload", "what"), PAYLOAD_FAULTS)
def test_bad_payload_is_refused(payload: bytes, what: str) -> None:
    with pytest.raises(RecordIOError, match=f"the name: .*{what}"):
        recordio.unpack(payload, "the name")


LABELS = [
    pytest.param([2, 5], [], [], [], id="no objects"),
    pytest.param([2, 5, 3, 0, 0.5, 1, 1], [[0, 0.5, 1, 1]], [3], [False], id="one object"),
    pytest.param([4, 5, 640, 480, 0, 0, 0, 1, 1], [[0, 0, 1, 1]], [0], [False], id="long header"),
    pytest.param(
        [2, 6, 1, 0, 0, 1, 1, 1, 2, 0, 0, 0.5, 1, 0],
        [[0, 0, 1, 1], [0, 0, 0.5, 1]],
        [1, 2],
        [True, False],
        id="difficult flag",
    ),
    pytest.param(
        [2, 7, 1, 0, 0, 1, 1, 0, 9], [[0, 0, 1, 1]], [1], [False], id="more numbers are ignored"
    ),
    pytest.param([2, 5, -1, 0, 0, 0, 0], [], [], [], id="padding that stands for no object"),
    pytest.param(
        [2, 5, 0, 0, 0, 1, 1, -1, -1, -1, -1, -1],
        [[0, 0, 1, 1]],
        [0],
        [False],
        id="padding after objects",
    ),
    pytest.param(
        [2, 5, -1, 0, 0, 1, 1], [[0, 0, 1, 1]], [-1], [False], id="class -1 with an area stays"
    ),
    pytest.param(
        [2, 5, 0, 0.5, 0.5, 0.5, 0.9],
        [[0.5, 0.5, 0.5, 0.9]],
        [0],
        [False],
        id="a box without area is for the gate to drop",
    ),
]


@pytest.mark.parametrize(("label", "boxes", "class_ids", "difficult"), LABELS)
def test_labels(
    label: list[float], boxes: list[list[float]], class_ids: list[int], difficult: list[bool]
) -> None:
    parsed = labels.parse_label(np.float32(label), "a")
    assert (parsed.boxes.dtype, parsed.class_ids.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(parsed.boxes, np.float32(boxes).reshape(-1, 4))
    assert parsed.class_ids.tolist() == class_ids
    assert parsed.difficult.tolist() == difficult


LABEL_FAULTS = [
    pytest.param([], "has 0 numbers", id="empty"),
    pytest.param([2], "has 1 numbers", id="one width only"),
    pytest.param([0, 0.1, 0.1, 0.5, 0.5], "header_width is 0", id="objects without a header"),
    pytest.param([1, 5], "header_width is 1", id="header cannot hold the widths"),
    pytest.param([2.5, 5], "header_width is 2.5", id="width not whole"),
    pytest.param([np.nan, 5], "header_width is nan", id="width not a number"),
    pytest.param([2, 4, 0, 0, 1, 1], "object_width is 4", id="too narrow for an object"),
    pytest.param([2, 1e9], "object_width is 1e.09", id="absurd width"),
    pytest.param([1001, 5], "is 1001, .* whole number from 2 to 1000", id="too wide a header"),
    pytest.param([9, 5, 0, 0, 0, 1, 1], "7 numbers cannot be a header of 9", id="header too long"),
    pytest.param([2, 5, 0, 0, 0, 1], "6 numbers cannot be .* objects of 5", id="half an object"),
    pytest.param([2, 5, 0.5, 0, 0, 1, 1], r"object 0 is \[0.5, 0, 0, 1, 1\]", id="half a class"),
    pytest.param([2, 5, 1e30, 0, 0, 1, 1], r"object 0 is \[1e\+30, 0,", id="absurd class"),
    pytest.param([2, 5, 0, 0, 0, 3e38, 1], r"object 0 is \[0, 0, 0, 3e\+38", id="absurd corner"),
    pytest.param([2, 5, np.nan, 0, 0, 1, 1], r"object 0 is \[nan, 0, 0", id="class not a number"),
    pytest.param(
        [2, 5, 0, 0, 0, 1, 1, 0, 0, 0, np.inf, 1], r"object 1 is \[0, 0, 0, inf", id="infinite"
    ),
]


@pytest.mark.parametrize(("label", "what"), LABEL_FAULTS)
def test_bad_label_is_refused(label: list[float], what: str) -> None:
    with pytest.raises(RecordIOError, match=f"the name: .*{what}.*Pack it as detection data"):
        labels.parse_label(np.array(label, np.float32), "the name")


@pytest.mark.parametrize("difficult", [None, [True, False]], ids=["width 5", "width 6"])
def test_pack_label(difficult: list[bool] | None) -> None:
    boxes = np.float32([[0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]])
    label = labels.pack_label(boxes, [4, 0], difficult)
    assert label[:2].tolist() == [2, 5 if difficult is None else 6]
    parsed = labels.parse_label(label, "a")
    np.testing.assert_array_equal(parsed.boxes, boxes)
    assert parsed.class_ids.tolist() == [4, 0]
    assert parsed.difficult.tolist() == (difficult or [False, False])


def test_name_of_a_record(tmp_path: Path) -> None:
    path = tmp_path / "a.rec"
    path.write_bytes(GOOD * 3)
    assert recordio.scan(path).name(2) == f"{path}, record 2 (byte 24)"


def write_listed(path: Path, names: Sequence[str]) -> None:
    with recordio.RecordIOWriter(path, listed=True) as writer:
        for number, name in enumerate(names):
            writer.write(recordio.pack(LABEL, number, b"image"), name)


NAMES = ["images/a.jpg", "b c.jpg", "\u00fc.png"]


def test_a_list_is_written_and_read(tmp_path: Path) -> None:
    write_listed(tmp_path / "a.rec", NAMES)
    lines = (tmp_path / "a.lst").read_text("utf-8").splitlines()
    assert lines[1] == "1\t2\t5\t1\t0.1\t0.2\t0.3\t0.4\tb c.jpg"
    assert recordio.names_from_list(tmp_path / "a.rec", 3) == NAMES
    index = replace(recordio.scan(tmp_path / "a.rec"), files=NAMES)
    assert index.name(2) == f"{tmp_path}/a.rec, record 2 (\u00fc.png)"


def test_a_name_stays_in_its_column(tmp_path: Path) -> None:
    write_listed(tmp_path / "a.rec", ["a\tb\nc.jpg", "d.jpg"])
    assert recordio.names_from_list(tmp_path / "a.rec", 2) == ["a b c.jpg", "d.jpg"]


def test_a_list_is_what_im2rec_reads(tmp_path: Path) -> None:
    """As im2rec's read_list does: index, labels, path."""
    write_listed(tmp_path / "a.rec", NAMES)
    for number, line in enumerate((tmp_path / "a.lst").read_text("utf-8").splitlines()):
        parts = [part.strip() for part in line.strip().split("\t")]
        assert [int(parts[0]), parts[-1]] == [number, NAMES[number]]
        np.testing.assert_array_equal(
            np.float32([float(p) for p in parts[1:-1]]), np.float32(LABEL)
        )


@pytest.mark.parametrize(
    ("listed", "index", "names"),
    [
        pytest.param("7\t0\ta\n3\t0\tb\n", None, ["a", "b"], id="by place"),
        pytest.param("7.0\t0\ta\r\n3\t0\tb\r\n", None, ["a", "b"], id="as Windows writes it"),
        pytest.param("7\t0\ta\n3\t0\tb\n", "3\t0\n7\t40\n", ["b", "a"], id="by key"),
        pytest.param(
            "7\t0\ta\n5\t0\tgone\n3\t0\tb\n", "7\t0\n3\t40\n", ["a", "b"], id="im2rec skipped one"
        ),
        pytest.param("3\t0\ta\n7\t0\tb\n", "7\t40\n3\t0\n", ["a", "b"], id="keys out of order"),
    ],
)
def test_names_of_a_list(tmp_path: Path, listed: str, index: str | None, names: list[str]) -> None:
    (tmp_path / "a.lst").write_bytes(listed.encode())
    if index is not None:
        (tmp_path / "a.idx").write_text(index)
    assert recordio.names_from_list(tmp_path / "a.rec", 2) == names


@pytest.mark.parametrize(
    ("listed", "index", "reason"),
    [
        pytest.param("0\t0\ta\n", None, "1 entries for 2 records", id="too short"),
        pytest.param("0\t0\ta\n0\t0\tb\n", None, "1 entries", id="one index twice"),
        pytest.param("0\t0\ta\n1\t0\tb\n", "0\t0\n", "1 entries", id="a short .idx"),
        pytest.param("0\t0\ta\n1\t0\tb\n", "0\t0\n5\t9\n", "is not listed", id="another .idx"),
        pytest.param("0\t0\ta\n1\t0\tb\n", "what\n", "not im2rec's", id="no .idx"),
        pytest.param("0\n1\n", None, "not im2rec's", id="one column"),
        pytest.param("a.jpg\tx\nb.jpg\ty\n", None, "not im2rec's", id="no index"),
        pytest.param("inf\tx\nb.jpg\ty\n", None, "not im2rec's", id="an infinite index"),
        pytest.param("", None, "0 entries", id="empty"),
    ],
)
def test_a_list_that_does_not_fit(
    tmp_path: Path, listed: str, index: str | None, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.lst").write_text(listed)
    if index is not None:
        (tmp_path / "a.idx").write_text(index)
    assert recordio.names_from_list(tmp_path / "a.rec", 2) is None
    (warning,) = caplog.messages
    assert "a.lst does not name the records of a.rec: " in warning
    assert reason in warning


def test_a_file_without_a_list(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert recordio.names_from_list(tmp_path / "a.rec", 2) is None
    assert caplog.messages == []
