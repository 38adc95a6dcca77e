"""What the records of a stream are taken for, and what their samples say."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from sagemaker_object_detection.data import labels, pipe, recordio
from sagemaker_object_detection.data.class_names import FoundNames
from sagemaker_object_detection.data.pipe import Sample
from sagemaker_object_detection.data.recordio import Frames, Record
from sagemaker_object_detection.data.stream import parse
from sagemaker_object_detection.platform.errors import ClientError
from tests.data.samples import BOX, HEIGHT, JPEG, NOISE, PNG, WIDTH, encode
from tests.data.samples import Sample as Picture
from tests.fifo import manifest_stream

FIFO = Path("/data/train_0")
NOTE = json.dumps(Picture().annotation()).encode()
MAP = json.dumps({"class-map": {"0": "dog", "3": "cat"}, "objects": [{"confidence": 0.1}]}).encode()


def records(payloads: Sequence[bytes]) -> list[Record]:
    return [Record(number, 100 * number, payload) for number, payload in enumerate(payloads)]


def samples(payloads: Sequence[bytes]) -> list[Sample]:
    return list(pipe.samples(FIFO, records(payloads)))


def read_all(found: Sequence[Sample], names: FoundNames) -> None:
    for sample in found:
        parse(sample, names)


def packed(count: int = 1, image: bytes = PNG, record_id: int = 0) -> bytes:
    return recordio.pack(labels.pack_label([BOX] * count, [0] * count), record_id, image)


IMAGES = [
    pytest.param(PNG, id="PNG"),
    pytest.param(JPEG, id="JPEG"),
    pytest.param(encode(NOISE, ".webp"), id="WEBP"),
    pytest.param(encode(NOISE, ".bmp"), id="BMP"),
    pytest.param(encode(NOISE, ".tiff"), id="TIFF"),
    pytest.param(b"GIF89a" + bytes(20), id="GIF"),
]


@pytest.mark.parametrize("image", IMAGES)
def test_a_manifest_begins_with_an_image(image: bytes) -> None:
    assert [sample.parts for sample in samples([image, NOTE, JPEG, NOTE])] == [
        (image, NOTE),
        (JPEG, NOTE),
    ]


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("boxes", [0, 1, 6, 10, 18])
def test_an_image_of_im2rec_is_none_of_a_manifest(image: bytes, boxes: int) -> None:
    payloads = [packed(boxes, image), packed(boxes, image, 1)]
    assert [sample.parts for sample in samples(payloads)] == [(p,) for p in payloads]


@pytest.mark.parametrize("first", [*b'[{"0123456789-tfn \n', 0xEF, 0xFF])
def test_any_count_of_labels_is_im2rec(first: int) -> None:
    """The payload begins with the count; its first byte may be a letter that begins JSON."""
    for count in (first, first | 0x20 << 8, first | 0x7B7B << 8):
        label = np.full(count, 5, np.float32)
        label[:2] = 2, 5
        (sample,) = samples([recordio.pack(label, 0, PNG)])
        assert len(sample.parts) == 1


def test_a_long_label_that_looks_like_a_bmp() -> None:
    label = np.full(int.from_bytes(b"BM\x00\x00", "little"), 2, np.float32)
    (sample,) = samples([recordio.pack(label, 7, PNG)])
    assert len(sample.parts) == 1


def test_a_stream_without_records_has_no_samples() -> None:
    assert samples([]) == []


def test_samples_are_numbered_and_named() -> None:
    of_im2rec = samples([packed(), packed()])
    assert [s.position for s in of_im2rec] == [0, 1]
    assert [s.name for s in of_im2rec] == [
        "/data/train_0, record 0 (byte 0)",
        "/data/train_0, record 1 (byte 100)",
    ]
    of_manifest = samples([PNG, NOTE, MAP, JPEG, NOTE, PNG, MAP, NOTE])
    assert [s.position for s in of_manifest] == [0, 1, 2]
    assert [s.name for s in of_manifest] == [
        "/data/train_0, sample 0 (records 0 to 2)",
        "/data/train_0, sample 1 (records 3 to 4)",
        "/data/train_0, sample 2 (records 5 to 7)",
    ]
    assert [s.nbytes for s in of_manifest[:2]] == [
        len(PNG + NOTE + MAP),
        len(JPEG + NOTE),
    ]


def test_a_sample_comes_with_the_next_image() -> None:
    seen = []

    def source() -> Iterator[Record]:
        for record in records([PNG, NOTE, JPEG, NOTE]):
            seen.append(record.number)
            yield record

    assert next(pipe.samples(FIFO, source())).position == 0
    assert seen == [0, 1, 2]


@pytest.mark.parametrize(
    "bytes_", [b"", b"<html>not found</html>", b"\0\0\0\0", b"nothing"], ids=repr
)
def test_what_is_no_image_is_left_to_the_gate(bytes_: bytes) -> None:
    found = samples([PNG, NOTE, bytes_, NOTE, JPEG, NOTE])
    assert [sample.parts[0] for sample in found] == [PNG, bytes_, JPEG]
    found = samples([bytes_, NOTE, JPEG, NOTE])
    assert [sample.parts for sample in found] == [(bytes_, NOTE), (JPEG, NOTE)]


@pytest.mark.parametrize(
    ("payloads", "message"),
    [
        pytest.param(
            [NOTE, PNG],
            r"/data/train_0, record 0 \(byte 0\): the stream begins with JSON",
            id="JSON first",
        ),
        pytest.param([b"7", PNG], "the stream begins with JSON", id="a number first"),
        pytest.param([b" \n[1]", PNG], "the stream begins with JSON", id="a list first"),
        pytest.param(
            [PNG, NOTE, PNG, JPEG, NOTE],
            r"/data/train_0, record 3 \(byte 300\): here must be the annotation of the image in "
            r"record 2, as JSON; it begins with b'\\xff\\xd8",
            id="two images in a row",
        ),
        pytest.param([PNG, packed()], "record 1 .* must be the annotation", id="no JSON"),
        pytest.param(
            [PNG, NOTE, JPEG], "/data/train_0, record 2: the stream ends after", id="cut off"
        ),
        pytest.param([PNG], "record 0: the stream ends after", id="one image alone"),
    ],
)
def test_wrong_attributes(payloads: list[bytes], message: str) -> None:
    with pytest.raises(ClientError, match=message) as caught:
        samples(payloads)
    assert "AttributeNames must name the image first" in str(caught.value)


def test_a_record_of_im2rec() -> None:
    label = labels.pack_label([BOX, (0, 0, 1, 1)], [2, 0], [True, False])
    (sample,) = samples([recordio.pack(label, 5, JPEG)])
    read = parse(sample, FoundNames())
    assert read.image == JPEG
    np.testing.assert_allclose(read.boxes, [BOX, (0, 0, 1, 1)])
    assert read.class_ids.tolist() == [2, 0]
    assert read.difficult.tolist() == [True, False]
    assert read.declared_size is None


@pytest.mark.parametrize("parts", [[NOTE], [NOTE, MAP], [MAP, NOTE]], ids=["2", "3", "other order"])
def test_a_sample_of_a_manifest(parts: list[bytes]) -> None:
    (sample,) = samples([PNG, *parts])
    read = parse(sample, FoundNames())
    assert read.image == PNG
    np.testing.assert_allclose(read.boxes, [np.array(BOX) * [WIDTH, HEIGHT, WIDTH, HEIGHT]])
    assert read.class_ids.tolist() == [0]
    assert read.declared_size == (WIDTH, HEIGHT)


def test_fractions_of_pixels_and_keys_in_any_order() -> None:
    note = (
        b'\xef\xbb\xbf {"annotations":[{"height":1.5,"width":"2.25","top":0,"left":0.5,'
        b'"class_id":"4"}],"image_size":[{"depth":3,"height":48,"width":64}]}'
    )
    (sample,) = samples([PNG, note])
    read = parse(sample, FoundNames())
    assert read.boxes.tolist() == [[0.5, 0, 2.75, 1.5]]
    assert read.class_ids.tolist() == [4]


def test_an_image_without_objects() -> None:
    (sample,) = samples(
        [
            PNG,
            json.dumps({**Picture().annotation(), "annotations": []}).encode(),
            b'{"class-map":{}}',
        ]
    )
    assert parse(sample, FoundNames()).boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        pytest.param([b"{"], "sample 0 .records 0 to 1., line 1, column 2: not valid JSON", id="{"),
        pytest.param([b'"a.jpg"'], "holds the JSON 'a.jpg', which is neither", id="a text"),
        pytest.param([b"0"], "holds the JSON 0, which is neither", id="the label of a classifier"),
        pytest.param([NOTE, b"null"], "holds the JSON None, which is neither", id="null"),
        pytest.param([b'{"a": 1}'], "neither an annotation", id="some object"),
        pytest.param([NOTE, NOTE], "2 of its attributes hold annotations", id="two annotations"),
        pytest.param([MAP], "0 of its attributes hold annotations", id="metadata alone"),
        pytest.param([b'{"annotations": []}'], "image_size is missing", id="no size"),
        pytest.param([b"[" * 10**5], "nested too deeply", id="deep"),
        pytest.param([b'"\xff'], "not UTF-8", id="not UTF-8"),
    ],
)
def test_what_cannot_be_understood(parts: list[bytes], message: str) -> None:
    (sample,) = samples([PNG, *parts])
    with pytest.raises(ClientError, match=message) as caught:
        parse(sample, FoundNames())
    assert str(caught.value).startswith("/data/train_0, sample 0 (records 0 to ")


def test_a_broken_record_of_im2rec_is_named() -> None:
    with pytest.raises(ClientError, match=r"^/data/train_0, record 1 \(byte 100\): .*too few"):
        read_all(samples([packed(), b"\0\0\0"]), FoundNames())


def test_class_names_from_all_threads() -> None:
    names = FoundNames()
    maps = [json.dumps({"class-map": {str(i % 7): f"n{i % 14}"}}).encode() for i in range(200)]
    found = samples([part for one in maps for part in (PNG, NOTE, one)])
    threads = [threading.Thread(target=read_all, args=(found[i::4], names)) for i in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert {i for i, _ in names.so_far().places} <= set(range(7))
    assert set(names.so_far().places) == {(i % 7, f"n{i}") for i in range(14)}


def test_class_names_of_categories_as_in_file_mode() -> None:
    """What the metadata says counts before what the annotation says."""
    categories = [{"class_id": i, "name": name} for i, name in enumerate(("dog", "cat"))]
    note = json.dumps({**Picture().annotation(), "categories": categories}).encode()
    names = FoundNames()
    read_all(samples([PNG, note, JPEG, note, b'{"class-map": {"1": "cat"}}']), names)
    assert set(names.so_far().places) == {(0, "dog"), (1, "cat")}
    read_all(samples([PNG, note, b'{"class-map": {"0": "hound"}}']), names)
    assert set(names.so_far().places) == {(0, "dog"), (0, "hound"), (1, "cat")}


def test_no_class_names_without_a_class_map() -> None:
    names = FoundNames()
    read_all(samples([PNG, NOTE, JPEG, NOTE]), names)
    assert names.so_far().places == {}


def test_the_streams_of_the_tests_are_what_they_say() -> None:
    pictures = [Picture(), replace(Picture(), image=JPEG)]
    frames = Frames(FIFO)
    with_map = frames.feed(manifest_stream(pictures, {"class-map": {"0": "dog"}}))
    found = list(pipe.samples(FIFO, with_map))
    assert [len(sample.parts) for sample in found] == [3, 3]
    assert cv2.imdecode(np.frombuffer(found[1].parts[0], np.uint8), 1).shape == (HEIGHT, WIDTH, 3)
