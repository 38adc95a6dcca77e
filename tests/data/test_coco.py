"""COCO files: what they mean, in any order and in bounded memory, and what is refused."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagemaker_object_detection.data.sources.coco import CocoSource
from sagemaker_object_detection.platform.errors import ClientError
from tests.data.mutation import mutated

CONTENT: dict[str, Any] = {
    "info": {"description": "three images", "images": [{"id": "not one"}]},
    "images": [
        {"id": 7, "file_name": "b.jpg", "width": 100, "height": 50, "license": 1},
        {"id": 3, "file_name": "a.jpg", "width": 200, "height": 150},
        {"id": 5, "file_name": "c.jpg", "width": 10, "height": 10},
    ],
    "annotations": [
        {"id": 30, "image_id": 3, "category_id": 90, "bbox": [1.5, 2, 3, 4], "iscrowd": 0},
        {"id": 31, "image_id": 7, "category_id": 2, "bbox": [5, 6, 7, 8], "segmentation": [[1, 2]]},
        {"id": 32, "image_id": 3, "category_id": 2, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        {"id": 33, "image_id": 3, "category_id": 17, "bbox": [-1, -2, 300, 0]},
    ],
    "categories": [
        {"id": 17, "name": "cat", "supercategory": "animal"},
        {"id": 2, "name": "bicycle"},
        {"id": 90, "name": "toothbrush"},
    ],
}


def opened(tmp_path: Path, content: object, names: str = "a.jpg b.jpg c.jpg") -> CocoSource:
    for name in names.split():
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / name).write_bytes(name.encode())
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    (tmp_path / "coco.json").write_bytes(text)
    return CocoSource(tmp_path / "train", tmp_path / "coco.json")


def refused(tmp_path: Path, content: object, names: str = "a.jpg b.jpg c.jpg") -> str:
    with pytest.raises(ClientError) as caught:
        opened(tmp_path, content, names)
    return str(caught.value)


def changed(key: str, number: int, **changes: object) -> dict[str, Any]:
    """The content with other values in one entry; `...` takes a value out."""
    content = deepcopy(CONTENT)
    content[key][number].update(changes)
    for name, value in changes.items():
        if value is ...:
            del content[key][number][name]
    return content


def expect_content(source: CocoSource, folder: Path) -> None:
    names = [source.name(index) for index in range(len(source))]
    assert names == [str(folder / name) for name in ("b.jpg", "a.jpg", "c.jpg")]
    assert source.listed_names == ("bicycle", "cat", "toothbrush")
    records = [source.read(index) for index in range(len(source))]
    assert [record.image for record in records] == [b"b.jpg", b"a.jpg", b"c.jpg"]
    assert [record.declared_size for record in records] == [(100, 50), (200, 150), (10, 10)]
    assert [record.class_ids.tolist() for record in records] == [[0], [2, 1], []]
    boxes = [[5, 6, 12, 14]], [[1.5, 2, 4.5, 6], [-1, -2, 299, -2]], []
    for record, expected in zip(records, boxes, strict=True):
        np.testing.assert_array_equal(record.boxes, np.reshape(expected, (-1, 4)))
        assert record.difficult.tolist() == [False] * len(expected)
    assert (source.crowd_boxes, source.unlisted, source.unannotated) == (1, 0, ())


def test_documented_form(tmp_path: Path) -> None:
    expect_content(opened(tmp_path, CONTENT), tmp_path / "train")


SAME = [
    pytest.param(json.dumps(dict(reversed(CONTENT.items()))).encode(), id="lists in another order"),
    pytest.param(json.dumps(CONTENT, indent=2).encode("utf-8-sig"), id="byte order mark, indented"),
    pytest.param(
        json.dumps(changed("images", 0, id=7.0, width="100")).encode(), id="7.0 and '100'"
    ),
    pytest.param(json.dumps(changed("annotations", 0, image_id="3")).encode(), id="id as text"),
    pytest.param(
        json.dumps(changed("annotations", 0, bbox=["1.5", 2, "3", 4.0])).encode(),
        id="numbers of a box as text",
    ),
    pytest.param(json.dumps(changed("annotations", 0, iscrowd=None)).encode(), id="iscrowd null"),
    pytest.param(json.dumps(changed("annotations", 0, iscrowd=False)).encode(), id="iscrowd false"),
    pytest.param(json.dumps(changed("annotations", 0, iscrowd="false")).encode(), id="as text"),
    pytest.param(json.dumps(changed("annotations", 2, iscrowd="1")).encode(), id="iscrowd '1'"),
    pytest.param(json.dumps(changed("annotations", 2, bbox=[])).encode(), id="a crowd without box"),
    pytest.param(json.dumps(changed("annotations", 2, image_id=99)).encode(), id="a crowd of none"),
    pytest.param(json.dumps(changed("annotations", 0, id=...)).encode(), id="a box without id"),
    pytest.param(
        json.dumps(changed("images", 0, file_name="train2017/b.jpg")).encode(), id="prefix folder"
    ),
    pytest.param(
        json.dumps(changed("annotations", 1, segmentation={"counts": [[[]], {"a": []}]})).encode(),
        id="nested values that nobody asks for",
    ),
]


@pytest.mark.parametrize("text", SAME)
def test_what_is_written_differently_and_means_the_same(tmp_path: Path, text: bytes) -> None:
    expect_content(opened(tmp_path, text), tmp_path / "train")


def test_images_in_sub_folders_and_such_that_are_not_listed(tmp_path: Path) -> None:
    source = opened(tmp_path, CONTENT, "s/a.jpg b.jpg s/t/c.jpg more.jpg s/more.PNG notes.txt")
    assert [Path(source.name(index)).name for index in range(3)] == ["b.jpg", "a.jpg", "c.jpg"]
    assert source.read(2).image == b"s/t/c.jpg"
    assert source.unlisted == 2


def test_no_objects_at_all(tmp_path: Path) -> None:
    source = opened(tmp_path, {**CONTENT, "annotations": []})
    assert [source.read(index).boxes.shape for index in range(3)] == [(0, 4)] * 3


def test_no_categories_at_all(tmp_path: Path) -> None:
    with pytest.raises(ClientError, match=r"coco\.json, categories: \[\] is not a list with all"):
        opened(tmp_path, {**CONTENT, "annotations": [], "categories": []})


def test_classes_are_numbered_anew(tmp_path: Path) -> None:
    source = opened(tmp_path, CONTENT)
    source.renumber(["toothbrush", "owl", "cat", "bicycle"])
    assert [source.read(index).class_ids.tolist() for index in range(3)] == [[3], [0, 2], []]
    source.renumber(["bicycle", "cat", "owl", "toothbrush"])
    assert [source.read(index).class_ids.tolist() for index in range(3)] == [[0], [3, 1], []]


@pytest.mark.parametrize("count", [127, 128, 200, 40_000])
def test_class_ids_of_many_categories(tmp_path: Path, count: int) -> None:
    """The first and the last of them, and a crowd."""
    categories = [{"id": number, "name": f"class {number}"} for number in range(1, count + 1)]
    boxes = [
        {"id": row, "image_id": 3, "category_id": category, "bbox": [1, 2, 3, 4], "iscrowd": crowd}
        for row, (category, crowd) in enumerate([(count, 0), (2, 1), (1, 0)])
    ]
    source = opened(tmp_path, {**CONTENT, "annotations": boxes, "categories": categories})
    assert source.read(1).class_ids.tolist() == [count - 1, 0]
    assert source.crowd_boxes == 1


UNREADABLE = [
    pytest.param(b"", "line 1, column 1: not valid JSON", id="empty"),
    pytest.param(b'{"images": [\n{"id": 1,}]}', "line 2, column 10: not valid JSON", id="syntax"),
    pytest.param(b'{"images": [{"id": 1}', "line 1, column 22: not valid JSON", id="cut off"),
    pytest.param(b'{"images": "\xe9"}', "byte 12 is not UTF-8 text", id="Latin-1"),
    pytest.param(b"\xff\xfe{\x00}\x00", "byte 0 is not UTF-8 text", id="UTF-16"),
    pytest.param(
        b'{"a": ' + b"9" * 10_000 + b"}",
        "a whole number of thousands of digits",
        id="10,000 digits",
    ),
    pytest.param(b'{"images": ' + b"[" * 300_000, "nested too deeply", id="nesting bomb, cut off"),
    pytest.param(b"{}{}", "line 1, column 3: not valid JSON (Extra data)", id="two objects"),
    pytest.param(b"[1]", "it has no list", id="a list at the top"),
    pytest.param(b"3", "it has no list", id="a number at the top"),
    pytest.param(
        b"{}", 'it has no list "images" and "annotations" and "categories". A COCO', id="no lists"
    ),
    pytest.param(
        b'{"images": [], "categories": [{"id": 1, "name": "a"}], "annotations": {"a": []}}',
        "annotations: {'a': []} is not a list",
        id="an object instead of a list",
    ),
]


@pytest.mark.parametrize(("text", "what"), UNREADABLE)
def test_unreadable_file(tmp_path: Path, text: bytes, what: str) -> None:
    fault = refused(tmp_path, text)
    assert fault.startswith(f"{tmp_path}/coco.json")
    assert what in fault


FAULTS = [
    pytest.param(
        changed("images", 1, id=7), "images[1] (id 7): images[0] has that id too", id="id twice"
    ),
    pytest.param(changed("images", 1, id=None), "images[1]: id is None. Give it", id="no id"),
    pytest.param(
        changed("images", 1, id=True), "images[1] (id True): id is True.", id="true as id"
    ),
    pytest.param(changed("images", 1, id="x"), "images[1] (id 'x'): id is 'x'.", id="a word as id"),
    pytest.param(
        changed("images", 1, file_name="b.jpg"),
        "images[1] (id 3): file_name 'b.jpg' is the file of images[0] too",
        id="file twice",
    ),
    pytest.param(
        changed("images", 1, file_name="x/b.jpg"),
        "images[1] (id 3): file_name 'x/b.jpg' is the file of images[0] too",
        id="file twice, by other paths",
    ),
    pytest.param(
        changed("images", 0, file_name="x.jpg"),
        "images[0] (id 7): there is no file 'x.jpg' in ",
        id="file missing",
    ),
    pytest.param(
        changed("images", 0, file_name="../../etc/passwd"),
        "images[0] (id 7): there is no file '../../etc/passwd' in ",
        id="file outside",
    ),
    pytest.param(
        changed("images", 0, file_name="\x00"), r"there is no file '\x00' in ", id="NUL as file"
    ),
    pytest.param(
        changed("images", 0, file_name=...), "file_name is missing. Write", id="no file_name"
    ),
    pytest.param(changed("images", 0, file_name=5), "file_name is 5. Write", id="number as file"),
    pytest.param(
        changed("images", 0, file_name="a" * 999), "there is no file 'aaaaaaa", id="long file_name"
    ),
    pytest.param(
        changed("images", 0, width=0), "images[0] (id 7): width is 0. Write", id="width 0"
    ),
    pytest.param(changed("images", 0, height=-5), "height is -5. Write", id="height -5"),
    pytest.param(changed("images", 0, height=...), "height is missing. Write", id="no height"),
    pytest.param(changed("images", 0, height=1.5), "height is 1.5. Write", id="half a pixel"),
    pytest.param(changed("images", 0, width=2**40), "width is 1099511627776.", id="width 2^40"),
    pytest.param(
        changed("annotations", 1, image_id=99),
        "annotations[1] (id 31): no image has the id 99 that its image_id says",
        id="image_id of no image",
    ),
    pytest.param(
        changed("annotations", 1, id=..., image_id=99),
        "annotations[1]: no image has the id 99 that its image_id says",
        id="image_id of no image, an annotation without id",
    ),
    pytest.param(
        changed("annotations", 3, category_id=18),
        "annotations[3] (id 33): no category has the id 18 that its category_id says",
        id="category_id of no category",
    ),
    pytest.param(
        changed("annotations", 0, category_id="dog"), "category_id is 'dog'. Write", id="a name"
    ),
    pytest.param(
        changed("annotations", 0, image_id=...), "image_id is missing. Write", id="no image"
    ),
    pytest.param(
        changed("annotations", 0, iscrowd="no"),
        "annotations[0] (id 30): iscrowd is 'no'. Write 1 for a crowd, or else 0.",
        id="a word as iscrowd",
    ),
    pytest.param(changed("annotations", 0, iscrowd={}), "iscrowd is {}. Write", id="no iscrowd"),
    pytest.param(changed("annotations", 0, iscrowd=2), "iscrowd is 2. Write", id="iscrowd 2"),
    pytest.param(
        changed("annotations", 0, bbox=[1, 2, 3]),
        "annotations[0] (id 30): bbox is [1, 2, 3]. Write [left, top,",
        id="three numbers",
    ),
    pytest.param(changed("annotations", 0, bbox=[1, 2, 3, 4, 5]), "5]. Write", id="five numbers"),
    pytest.param(changed("annotations", 0, bbox=...), "bbox is missing. Write", id="no bbox"),
    pytest.param(
        changed("annotations", 0, bbox={"x": 1}), "bbox is {'x': 1}. Write", id="an object"
    ),
    pytest.param(changed("annotations", 0, bbox="1,2,3,4"), "bbox is '1,2,3,4'. Write", id="text"),
    pytest.param(
        changed("annotations", 0, bbox=[1, 2, 3, True]), "bbox is [1, 2, 3, True]. Write", id="true"
    ),
    pytest.param(
        changed("annotations", 0, bbox=[[1], 2, 3, 4]),
        "bbox is [[1], 2, 3, 4]. Write",
        id="nested",
    ),
    pytest.param(changed("annotations", 0, bbox=[1, 2, 3, 2e7]), "20000000.0]. Write", id="huge"),
    pytest.param(
        changed("categories", 1, id=17),
        "2 categories have the id 17. Give every",
        id="category id twice",
    ),
    pytest.param(
        changed("categories", 1, name="cat"),
        "2 categories have the name 'cat'. Give",
        id="category name twice",
    ),
    pytest.param(changed("categories", 1, name=" "), "name is ' '. Give the", id="blank name"),
    pytest.param(changed("categories", 1, name=...), "name is missing. Give the", id="no name"),
    pytest.param(changed("categories", 1, id=1.5), "id is 1.5. Give it", id="half a category"),
    pytest.param({**CONTENT, "images": [[]]}, "images[0] is [], not an object", id="no object"),
]


@pytest.mark.parametrize(("content", "what"), FAULTS)
def test_faults_are_named(tmp_path: Path, content: object, what: str) -> None:
    heading, *lines = refused(tmp_path, content).splitlines()
    assert heading.startswith(f"{tmp_path}/coco.json and {tmp_path}/train do not match (1 ")
    assert len(lines) == 1
    assert lines[0].startswith(f"{tmp_path}/coco.json")
    assert what in lines[0]
    assert len(lines[0]) < len(str(tmp_path)) * 2 + 300


def test_a_file_that_two_images_may_be(tmp_path: Path) -> None:
    fault = refused(tmp_path, CONTENT, "s/a.jpg t/a.jpg b.jpg c.jpg")
    assert "images[1] (id 3): file_name 'a.jpg' can be several images: s/a.jpg, t/a.jpg." in fault


def test_ten_offenders_are_listed(tmp_path: Path) -> None:
    content = deepcopy(CONTENT)
    content["annotations"] = [
        {"id": i, "image_id": 99, "category_id": 2, "bbox": [1, 1, 1, 1]} for i in range(13)
    ]
    heading, *lines = refused(tmp_path, content).splitlines()
    assert "(13 in all)" in heading
    assert [line.split(", ")[1].split(":")[0] for line in lines[:10]] == [
        f"annotations[{i}] (id {i})" for i in range(10)
    ]
    assert lines[10:] == ["... and 3 more."]


def test_faults_of_all_lists_come_together(tmp_path: Path) -> None:
    content = changed("images", 0, width=0)
    content["categories"][0]["name"] = ""
    content["annotations"][0]["bbox"] = None
    assert "(3 in all)" in refused(tmp_path, content)


def test_many_boxes_are_sorted_to_their_images(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    owners = random.choice([7, 3, 5], 100)
    content = {
        **CONTENT,
        "annotations": [
            {
                "image_id": int(owner),
                "category_id": 2,
                "bbox": [place, 0, 1, 1],
                "iscrowd": place % 5 == 0,
            }
            for place, owner in enumerate(owners)
        ],
    }
    source = opened(tmp_path, content)
    for index, owner in enumerate([7, 3, 5]):
        places = [place for place in range(100) if owners[place] == owner and place % 5]
        assert source.read(index).boxes[:, 0].tolist() == places
    assert source.crowd_boxes == 20


def test_half_a_character_is_named(tmp_path: Path) -> None:
    text = json.dumps(changed("images", 1, width="\ud800"))
    assert "images[1] (id 3): width is" in refused(tmp_path, text.encode())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Bits flipped, parts cut out, doubled and replaced: records or one ClientError."""
    folder = tmp_path_factory.getbasetemp() / "mutated_coco"
    text = mutated(data, json.dumps(CONTENT).encode())
    try:
        source = opened(folder, text)
    except ClientError as error:
        fault = str(error)
    else:
        for index in range(len(source)):
            record = source.read(index)
            assert record.boxes.shape == (len(record.class_ids), 4)
            assert np.isfinite(record.boxes).all()
            assert (record.class_ids < len(source.listed_names)).all()
            assert Path(source.name(index)).parent == folder / "train"
        return
    assert fault.startswith(f"{folder}/coco.json")
    assert len(fault) < 5000
