"""Augmented manifests in File mode: what real ones hold, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagemaker_object_detection.data.annotations import AnnotationError
from sagemaker_object_detection.data.sources.manifest import ManifestSource
from sagemaker_object_detection.platform.errors import ClientError
from tests.data.memory import measured
from tests.data.mutation import mutated

OBJECT = {"class_id": 5, "left": 1.5, "top": 2.25, "width": 3, "height": 4}
NOTE: dict[str, Any] = {
    "image_size": [{"width": 50, "height": 40, "depth": 3}],
    "annotations": [OBJECT],
}
LINE: dict[str, Any] = {
    "source-ref": "s3://bucket/some/a.jpg",
    "bounding-box": NOTE,
    "bounding-box-metadata": {
        "class-map": {"5": "dog"},
        "type": "groundtruth/object-detection",
        "objects": [{"confidence": 0.09}],
    },
}
SECOND = {**LINE, "source-ref": "s3://bucket/some/b.jpg"}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in LINE.items() if name != key}


def opened(
    tmp_path: Path,
    lines: Sequence[object] | bytes,
    *attribute_names: str,
    names: str = "a.jpg b.jpg",
) -> ManifestSource:
    for name in names.split():
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / name).write_bytes(name.encode())
    if not isinstance(lines, bytes):
        lines = "".join(json.dumps(line) + "\n" for line in lines).encode()
    (tmp_path / "a.manifest").write_bytes(lines)
    return ManifestSource(tmp_path / "train", tmp_path / "a.manifest", attribute_names)


def test_documented_form(tmp_path: Path) -> None:
    source = opened(tmp_path, [SECOND, LINE])
    assert len(source) == 2
    assert source.name(0) == f"{tmp_path}/a.manifest, line 1 ({tmp_path}/train/b.jpg)"
    record = source.read(1)
    assert record.image == source.read_image(1) == b"a.jpg"
    assert record.boxes.dtype == np.float64
    np.testing.assert_array_equal(record.boxes, [[1.5, 2.25, 4.5, 6.25]])
    assert record.class_ids.tolist() == [5]
    assert record.declared_size == (50, 40)
    assert set(source.found_names.places) == {(5, "dog")}
    assert source.unannotated == ()


TEXT = json.dumps(LINE).encode()
SAME = [
    pytest.param(TEXT, id="no line end"),
    pytest.param(TEXT + b"\r\n", id="line end of Windows"),
    pytest.param(b"\xef\xbb\xbf" + TEXT + b"\n", id="byte order mark"),
    pytest.param(b"\n  \n" + TEXT + b"\n\n", id="blank lines"),
    pytest.param(json.dumps(dict(reversed(LINE.items()))).encode(), id="keys in another order"),
    pytest.param(
        json.dumps({**LINE, "workerId": 3, "x": {"y": 1}, "z": [NOTE]}).encode(), id="further keys"
    ),
    pytest.param(json.dumps({**LINE, "source-ref": "a.jpg"}).encode(), id="relative path"),
    pytest.param(json.dumps(LINE, ensure_ascii=False).encode() + b" \t\n", id="blanks at the end"),
]


@pytest.mark.parametrize("text", SAME)
def test_what_is_written_differently_and_means_the_same(tmp_path: Path, text: bytes) -> None:
    source = opened(tmp_path, text)
    assert len(source) == 1
    assert source.read(0).image == b"a.jpg"
    assert source.read(0).class_ids.tolist() == [5]
    assert set(source.found_names.places) == {(5, "dog")}


def test_line_numbers_count_blank_lines(tmp_path: Path) -> None:
    source = opened(tmp_path, b"\n\n" + TEXT)
    assert source.name(0).startswith(f"{tmp_path}/a.manifest, line 3 (")


def test_no_objects_and_no_names(tmp_path: Path) -> None:
    line = {**LINE, "bounding-box": {**NOTE, "annotations": []}}
    source = opened(tmp_path, [{**line, "bounding-box-metadata": {"class-map": {}}}])
    assert source.read(0).boxes.shape == (0, 4)
    assert source.found_names.places == {}


def test_names_of_all_lines_are_collected(tmp_path: Path) -> None:
    second = {**SECOND, "bounding-box-metadata": {"class-map": {"5": "hound", "0": "cat"}}}
    source = opened(tmp_path, [LINE, second])
    source.read(0)
    assert set(source.found_names.places) == {(5, "dog")}
    source.read(1)
    assert set(source.found_names.places) == {(5, "dog"), (5, "hound"), (0, "cat")}


def test_images_in_sub_folders(tmp_path: Path) -> None:
    lines = [LINE, {**LINE, "source-ref": "s3://bucket/other/a.jpg"}]
    source = opened(tmp_path, lines, names="some/a.jpg other/a.jpg")
    assert [source.read_image(index) for index in (0, 1)] == [b"some/a.jpg", b"other/a.jpg"]


ATTRIBUTES = [
    pytest.param({"x": NOTE}, (), id="the one that has annotations"),
    pytest.param({"x": NOTE, "y": {"class-map": {}}}, (), id="others are none"),
    pytest.param({"x": NOTE, "y": NOTE}, ("source-ref", "x"), id="named, of several"),
    pytest.param({"x": NOTE, "z": 0}, ("source-ref", "x", "x-metadata"), id="three names"),
    pytest.param({"x": NOTE}, ("source-ref",), id="only the image's is named"),
]


@pytest.mark.parametrize(("values", "attribute_names"), ATTRIBUTES)
def test_attributes(
    tmp_path: Path, values: dict[str, Any], attribute_names: tuple[str, ...]
) -> None:
    line = {"source-ref": "a.jpg", **values, "x-metadata": {"class-map": {"5": "cow"}}}
    source = opened(tmp_path, [line], *attribute_names)
    assert source.read(0).class_ids.tolist() == [5]
    assert set(source.found_names.places) == {(5, "cow")}


def test_another_attribute_names_the_image(tmp_path: Path) -> None:
    source = opened(tmp_path, [{"picture": "a.jpg", "x": NOTE}], "picture", "x")
    assert source.read(0).image == b"a.jpg"


def test_images_that_a_job_failed_to_label(tmp_path: Path) -> None:
    failed = {"source-ref": "b.jpg", "job-metadata": {"failure-reason": "ClientError: no image"}}
    source = opened(tmp_path, [LINE, failed])
    assert len(source) == 1
    assert source.unannotated == (f"{tmp_path}/a.manifest, line 2 ({tmp_path}/train/b.jpg)",)


NOTHING = [
    pytest.param((), "no line has annotations; the attributes are 'source-ref', 'x'.", id="none"),
    pytest.param(
        ("source-ref", "boxes"), "no line has an attribute 'boxes'; the attributes", id="misspelt"
    ),
]


@pytest.mark.parametrize(("attribute_names", "what"), NOTHING)
def test_no_line_is_annotated(tmp_path: Path, attribute_names: tuple[str, ...], what: str) -> None:
    with pytest.raises(ClientError) as caught:
        opened(tmp_path, [{"source-ref": "a.jpg", "x": 1}], *attribute_names)
    assert what in str(caught.value)
    assert 'as the channel\'s "AttributeNames" in inputdataconfig.json' in str(caught.value)


FAULTS = [
    pytest.param(b"{", "line 2, column 2: not valid JSON", id="no JSON"),
    pytest.param(b'{"a": "\xe9"}', "line 2: byte 7 is not UTF-8", id="Latin-1"),
    pytest.param(b"[1]", "line 2: holds a JSON list, not an object", id="a list"),
    pytest.param(b"[" * 100_000, "line 2: lists or objects nested too deeply", id="nesting bomb"),
    pytest.param(b"9" * 10_000, "line 2: holds a whole number of thousands", id="10,000 digits"),
    pytest.param(
        without("source-ref"), "'source-ref', which names the image, is missing", id="no image"
    ),
    pytest.param({**LINE, "source-ref": 3}, "which names the image, is 3.", id="number as image"),
    pytest.param(
        {**LINE, "source-ref": None}, "which names the image, is None.", id="null as image"
    ),
    pytest.param(
        {**LINE, "source-ref": "s3://b/c.jpg"},
        "line 2: there is no image 's3://b/c.jpg' in",
        id="image missing",
    ),
    pytest.param(
        {**LINE, "source-ref": "../../../etc/passwd"},
        "line 2: there is no image '../../../etc/passwd' in",
        id="image outside",
    ),
    pytest.param({**LINE, "source-ref": "/etc/passwd"}, "no image '/etc/passwd' in", id="absolute"),
    pytest.param({**LINE, "source-ref": "\x00"}, r"no image '\x00' in", id="NUL"),
    pytest.param({**LINE, "source-ref": "\ud800"}, r"no image '\ud800' in", id="half a character"),
    pytest.param(SECOND, "b.jpg is that of line 1 too. Keep one line", id="image twice"),
    pytest.param(
        {**LINE, "source-ref": "b.jpg"}, "b.jpg is that of line 1 too.", id="twice, other words"
    ),
    pytest.param(
        {**LINE, "y": NOTE},
        "line 2: several attributes have annotations: 'bounding-box', 'y'. Name the image's",
        id="several annotations",
    ),
]


@pytest.mark.parametrize(("line", "what"), FAULTS)
def test_faults_are_named_when_it_is_opened(tmp_path: Path, line: object, what: str) -> None:
    text = line if isinstance(line, bytes) else json.dumps(line).encode()
    with pytest.raises(ClientError) as caught:
        opened(tmp_path, json.dumps(SECOND).encode() + b"\n" + text)
    heading, *lines = str(caught.value).splitlines()
    assert heading == f"{tmp_path}/a.manifest cannot be used (1 in all):"
    assert len(lines) == 1
    assert lines[0].startswith(f"{tmp_path}/a.manifest, line 2")
    assert what in lines[0]


def test_an_image_of_a_failed_line_counts_as_named(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match=r"a\.jpg is that of line 1 too"):
        opened(tmp_path, [{"source-ref": "a.jpg"}, LINE])


def test_several_images_may_be_meant(tmp_path: Path) -> None:
    line = {**LINE, "source-ref": "a.jpg"}
    with pytest.raises(ClientError, match=r"can be several images: s/a\.jpg, t/a\.jpg\."):
        opened(tmp_path, [line], names="s/a.jpg t/a.jpg")


def test_ten_offenders_are_listed(tmp_path: Path) -> None:
    with pytest.raises(ClientError) as caught:
        opened(tmp_path, [{**LINE, "source-ref": f"{i}.jpg"} for i in range(13)])
    heading, *lines = str(caught.value).splitlines()
    assert "(13 in all)" in heading
    assert [line.split(": ")[0] for line in lines[:10]] == [
        f"{tmp_path}/a.manifest, line {i}" for i in range(1, 11)
    ]
    assert lines[10:] == ["... and 3 more."]


UNREADABLE = [
    pytest.param({**NOTE, "annotations": 3}, "annotations is 3", id="annotations no list"),
    pytest.param({"annotations": []}, "image_size is missing", id="no size"),
    pytest.param(
        {**NOTE, "annotations": [{**OBJECT, "left": float("nan")}]}, "left is nan", id="NaN"
    ),
    pytest.param("text", "holds a JSON str, not an object", id="text"),
]


@pytest.mark.parametrize(("note", "what"), UNREADABLE)
def test_faults_of_an_annotation_are_named_when_it_is_read(
    tmp_path: Path, note: object, what: str
) -> None:
    source = opened(tmp_path, [SECOND, {**LINE, "x": note}], "source-ref", "x")
    (unannotated,) = source.unannotated
    assert "line 1" in unannotated
    with pytest.raises(AnnotationError) as caught:
        source.read(0)
    assert str(caught.value).startswith(f"{tmp_path}/a.manifest, line 2, 'x': ")
    assert what in str(caught.value)


def test_file_changed_since_it_was_opened(tmp_path: Path) -> None:
    source = opened(tmp_path, [LINE, SECOND])
    text = (tmp_path / "a.manifest").read_bytes()
    for changed in (b"", text[:-30], text[3:]):
        (tmp_path / "a.manifest").write_bytes(changed)
        with pytest.raises(AnnotationError, match=r"a\.manifest, line 2"):
            source.read(1)
    (tmp_path / "a.manifest").write_bytes(text.replace(b"annotations", b"rectangles?"))
    with pytest.raises(AnnotationError, match=r"line 2: its annotation was there .* Do not change"):
        source.read(1)


def test_many_threads_read_one_source(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(50)]
    lines = [
        {**LINE, "source-ref": name, "x": {**NOTE, "annotations": [{**OBJECT, "class_id": number}]}}
        for number, name in enumerate(names)
    ]
    source = opened(tmp_path, lines, "source-ref", "x", names=" ".join(names))
    with ThreadPoolExecutor(8) as pool:
        records = list(pool.map(source.read, list(range(50)) * 4))
    assert [int(record.class_ids[0]) for record in records] == list(range(50)) * 4


def test_the_file_is_closed_with_the_source(tmp_path: Path) -> None:
    def opens() -> int:
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return sum(link.readlink() == tmp_path / "a.manifest" for link in links)

    source = opened(tmp_path, [LINE])
    assert opens() == 1
    del source
    assert opens() == 0


def test_memory_is_bounded(tmp_path: Path) -> None:
    """100 bytes for each line, however long it is."""
    count = 1000
    note = {**NOTE, "annotations": [OBJECT] * 20}
    lines = [{"source-ref": f"s3://b/{i:020}.jpg", "x": note} for i in range(count)]
    opened(tmp_path, lines, names=" ".join(f"{i:020}.jpg" for i in range(count)))
    del lines
    source, size, peak = measured(
        lambda: ManifestSource(tmp_path / "train", tmp_path / "a.manifest", ())
    )
    assert len(source) == count
    assert size < 100 * count + 2**16
    assert peak < 200 * count + 3 * 2**20


LINES = (json.dumps(LINE) + "\n" + json.dumps(SECOND) + "\n").encode()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Bits flipped, parts cut out, doubled and replaced: records or ClientErrors."""
    folder = tmp_path_factory.getbasetemp() / "mutated_manifest"
    faults = []
    try:
        source = opened(folder, mutated(data, LINES))
    except ClientError as error:
        faults.append(str(error))
    else:
        for index in range(len(source)):
            try:
                record = source.read(index)
            except ClientError as error:
                faults.append(str(error))
                continue
            assert record.boxes.shape == (len(record.class_ids), 4)
            assert np.isfinite(record.boxes).all()
            assert record.image in (b"a.jpg", b"b.jpg")
    assert all(fault.startswith(f"{folder}/a.manifest") for fault in faults)
    assert all(len(fault) < 5000 for fault in faults)
