"""Annotation JSON: what real files hold is read, what is wrong is named."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagemaker_object_detection.data.annotations import (
    AnnotationError,
    class_map_names,
    from_object,
    parse,
    shown,
)
from tests.data.mutation import mutated

OBJECT = {"class_id": 0, "left": 111, "top": 134, "width": 61, "height": 128}
DOCUMENT = {
    "file": "sample_image/sample_image1.jpg",
    "image_size": [{"width": 500, "height": 400, "depth": 3}],
    "annotations": [OBJECT, {**OBJECT, "class_id": 4}],
    "categories": [{"class_id": 0, "name": "dog"}, {"class_id": 4, "name": "cow"}],
}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in DOCUMENT.items() if name != key}


def with_object(**changes: object) -> dict[str, Any]:
    return {**DOCUMENT, "annotations": [OBJECT, {**OBJECT, **changes}]}


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_documented_form() -> None:
    annotation = parse(json.dumps(DOCUMENT), "a.json")
    assert annotation.size == (500, 400)
    assert annotation.boxes_px.dtype == np.float32
    np.testing.assert_array_equal(annotation.boxes_px, [[111, 134, 172, 262]] * 2)
    assert annotation.class_ids.tolist() == [0, 4]
    assert annotation.categories == {0: "dog", 4: "cow"}


LOOSE = [
    pytest.param({**DOCUMENT, "annotations": []}, [], id="no objects"),
    pytest.param(with_object(class_id="4"), [0, 4], id="class id as text"),
    pytest.param(with_object(class_id=4.0), [0, 4], id="class id as whole float"),
    pytest.param(with_object(left="1.5"), [0, 0], id="pixels as text"),
    pytest.param(with_object(left=-3.25, width=0), [0, 0], id="overhanging, no area: for the gate"),
    pytest.param(with_object(class_id=-7), [0, -7], id="class id out of range: for the gate"),
    pytest.param(with_object(iscrowd=0, score=0.5), [0, 0], id="further keys of an object"),
    pytest.param({**DOCUMENT, "version": 3}, [0, 4], id="further keys of the file"),
    pytest.param(dict(reversed(DOCUMENT.items())), [0, 4], id="any order of keys"),
    pytest.param(without("file"), [0, 4], id="no file: a line of a manifest"),
    pytest.param(without("categories"), [0, 4], id="no categories"),
    pytest.param(
        {**DOCUMENT, "image_size": [{"width": "500", "height": 400.0}]}, [0, 4], id="no depth"
    ),
]


@pytest.mark.parametrize(("document", "class_ids"), LOOSE)
def test_looseness_of_real_files(document: dict[str, Any], class_ids: list[int]) -> None:
    annotation = parse(json.dumps(document).encode(), "a.json")
    assert annotation.class_ids.tolist() == class_ids
    assert annotation.boxes_px.shape == (len(class_ids), 4)
    assert annotation.size == (500, 400)


CATEGORIES = [
    pytest.param(None, {}, id="null"),
    pytest.param("dog", {}, id="not a list"),
    pytest.param([{"class_id": "1", "name": "dog"}], {1: "dog"}, id="id as text"),
    pytest.param(
        [{"class_id": 1, "name": "dog"}, {"class_id": 1, "name": "cat"}], {1: "dog"}, id="twice"
    ),
    pytest.param(
        [3, {"name": "dog"}, {"class_id": None, "name": "a"}, {"class_id": 1, "name": 2}],
        {},
        id="entries without sense",
    ),
    pytest.param([{"id": 17, "class_id": 90, "name": "a"}], {90: "a"}, id="ids nobody uses"),
    pytest.param(
        [
            {"class_id": 10**400, "name": "a"},
            {"class_id": "9" * 10_000, "name": "b"},
            {"class_id": 0, "name": "\ud800"},
        ],
        {},
        id="numbers that are no id, half a character",
    ),
]


@pytest.mark.parametrize(("categories", "names"), CATEGORIES)
def test_categories_never_fail(categories: object, names: dict[int, str]) -> None:
    document = json.dumps({**DOCUMENT, "categories": categories})
    assert parse(document, "a.json").categories == names


CLASS_MAPS = [
    pytest.param({"class-map": {"0": "dog", "5": "cow"}}, {0: "dog", 5: "cow"}, id="documented"),
    pytest.param({"class-map": {}}, {}, id="no object in the image"),
    pytest.param({"type": "groundtruth/object-detection"}, {}, id="no class map"),
    pytest.param({"class-map": {"a": "b", "1": 2, "-1": "c", "9" * 5000: "d"}}, {}, id="senseless"),
    pytest.param({"class-map": ["dog"]}, {}, id="a list"),
    pytest.param("dog", {}, id="not an object"),
    pytest.param(None, {}, id="null"),
]


@pytest.mark.parametrize(("metadata", "names"), CLASS_MAPS)
def test_class_maps_never_fail(metadata: object, names: dict[int, str]) -> None:
    assert class_map_names(metadata) == names


def test_an_object_is_read_as_its_text() -> None:
    one, other = from_object(DOCUMENT, "a.json"), parse(json.dumps(DOCUMENT), "a.json")
    np.testing.assert_array_equal(one.boxes_px, other.boxes_px)
    assert (one.size, one.categories) == (other.size, other.categories)
    with pytest.raises(AnnotationError, match=r"a\.manifest, line 3: annotations is missing"):
        from_object(without("annotations"), "a.manifest, line 3")


def test_byte_order_mark() -> None:
    assert parse(json.dumps(DOCUMENT).encode("utf-8-sig"), "a.json").size == (500, 400)


UNREADABLE = [
    pytest.param(b'{"file": 1,\n "a": }', "a.json, line 2, column 7: not valid JSON", id="syntax"),
    pytest.param(b"", "a.json, line 1, column 1: not valid JSON", id="empty"),
    pytest.param(b'{"file": "\xe9"}', "a.json: byte 10 is not UTF-8", id="Latin-1"),
    pytest.param(b"[" * 100_000, "a.json: .* nested too deeply", id="nesting bomb"),
    pytest.param(b"[]", "a.json: holds a JSON list, not an object", id="a list"),
    pytest.param(b"null", "a.json: holds a JSON NoneType, not an object", id="null"),
    pytest.param(
        b'{"depth": ' + b"9" * 10_000 + b"}",
        "a.json: holds a whole number of thousands of digits",
        id="more digits than Python reads",
    ),
]


@pytest.mark.parametrize(("text", "what"), UNREADABLE)
def test_unreadable_file(text: bytes, what: str) -> None:
    with pytest.raises(AnnotationError, match=what):
        parse(text, "a.json")


FAULTS = [
    pytest.param(
        without("annotations"), ["annotations is missing", '"annotations": []'], id="no annotations"
    ),
    pytest.param({**DOCUMENT, "annotations": None}, ["annotations is None"], id="null"),
    pytest.param(
        without("image_size"), ["image_size is missing", '[{"width": 500'], id="no image_size"
    ),
    pytest.param({**DOCUMENT, "image_size": []}, ["image_size is []"], id="no size"),
    pytest.param(
        {**DOCUMENT, "image_size": [{"width": 0, "height": 400}]},
        ["image_size[0].width is 0", '"image_size" is a list of one'],
        id="width zero",
    ),
    pytest.param(
        with_object(class_id="cat"),
        ["annotations[1].class_id is 'cat'", "class ids are whole numbers"],
        id="a name as class id",
    ),
    pytest.param(with_object(class_id=0.5), ["annotations[1].class_id is 0.5"], id="half a class"),
    pytest.param(with_object(class_id=True), ["annotations[1].class_id is True"], id="true"),
    pytest.param(with_object(class_id=10**30), ["annotations[1].class_id is 1000"], id="huge id"),
    pytest.param(with_object(left=True), ["annotations[1].left is True"], id="true as pixels"),
    pytest.param(with_object(top=None), ["annotations[1].top is None"], id="null as pixels"),
    pytest.param(with_object(top=float("nan")), ["annotations[1].top is nan"], id="NaN"),
    pytest.param(with_object(width=1e300), ["annotations[1].width is 1e+300"], id="huge"),
    pytest.param(with_object(width=10**400), ["[1].width is 1000"], id="more than a float holds"),
    pytest.param(
        with_object(left="1e400"), ["annotations[1].left is '1e400'"], id="text: infinite"
    ),
    pytest.param(
        with_object(class_id="9" * 10_000), ["annotations[1].class_id is '999"], id="digits as text"
    ),
    pytest.param(with_object(top="\ud800"), [r"[1].top is '\ud800'"], id="half a character"),
    pytest.param(
        with_object(top=nested(900)), ["[1].top is [[[[[[[...]]]]]]]"], id="deeply nested"
    ),
    pytest.param(
        {**DOCUMENT, "file": 3}, ["file is 3", '"file" is the path'], id="a number as file"
    ),
    pytest.param(
        {**DOCUMENT, "annotations": [{"bbox": [1, 2, 3, 4]}], "image_size": {}},
        ["image_size is {}", "annotations[0].class_id is missing", "[0].left is missing"],
        id="several faults at once",
    ),
    pytest.param(
        {**DOCUMENT, "annotations": [{}, {}]}, ["further faults: 5"], id="many faults are counted"
    ),
]


@pytest.mark.parametrize(("document", "parts"), FAULTS)
def test_faults_are_named(document: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(AnnotationError) as caught:
        parse(json.dumps(document), "dogs/a.json")
    message = str(caught.value)
    assert message.startswith("dogs/a.json: ")
    assert all(part in message for part in parts), message
    assert "Mend the file: " in message
    assert len(message) < 600


@pytest.mark.parametrize(
    "value", ["a" * 10**6, [0] * 10**6, nested(10**4), 10**4000, {"a": "b" * 999}]
)
def test_values_are_shown_shortly(value: object) -> None:
    assert 0 < len(shown(value)) < 200


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_text_is_read_or_refused(data: st.DataObject) -> None:
    """Bits flipped, parts cut out, doubled and replaced: an annotation or one ClientError."""
    text = mutated(data, json.dumps(DOCUMENT).encode())
    try:
        annotation = parse(text, "a.json")
    except AnnotationError as error:
        fault = str(error)
    else:
        assert annotation.boxes_px.shape == (len(annotation.class_ids), 4)
        assert np.isfinite(annotation.boxes_px).all()
        assert min(annotation.size) > 0
        return
    assert fault.startswith("a.json")
    assert len(fault) < 2000
