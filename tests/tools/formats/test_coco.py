"""COCO: which file and which folder a split is, and the document that is written."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from sagemaker_object_detection.data.coco import CocoSource
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.formats import coco
from sagemaker_object_detection.tools.formats.data_set import DataSet, Images
from tests.tools.format_trees import SPLITS, coco_document, sample, write
from tests.tools.split import MemorySplit, image

ONE = sample("a.jpg", (40, 30), ("dog", (1, 2, 30, 20), False))
DOCUMENT = json.dumps(coco_document([ONE], (3, 18, 90)))

INSTANCES = "annotations/instances_train2017.json"
LAYOUTS = [
    pytest.param(INSTANCES, "train2017", "train", id="as COCO has it"),
    pytest.param(INSTANCES, "train2017", "train2017", id="with year"),
    pytest.param(
        "annotations/instances_train2017.json", "images/train2017", "train", id="in images"
    ),
    pytest.param("annotations/train.json", "train", "train", id="plain names"),
    pytest.param("annotations/train.json", "images", "train", id="one folder for all splits"),
    pytest.param("annotations/my_train.json", "images/train", "train", id="another prefix"),
    pytest.param("train.json", "images/train", "train", id="beside the images"),
    pytest.param("train.json", "pictures/here", "train", id="images anywhere below"),
    pytest.param("valid/_annotations.coco.json", "valid", "valid", id="as Roboflow exports"),
    pytest.param("train_annotation/x.json", "train", "train", id="as channels"),
]


@pytest.mark.parametrize(("file", "folder", "split"), LAYOUTS)
def test_layouts(tmp_path: Path, file: str, folder: str, split: str) -> None:
    write(tmp_path / file, DOCUMENT)
    write(tmp_path / folder / "a.jpg", ONE.data)
    found = coco.read(tmp_path, split)
    assert len(found) == 1
    assert found.class_order == ("cat", "dog", "Übergröße 猫")
    assert found.read(0).classes == ("dog",)
    assert found.read(0).name in ("a.jpg", f"{folder}/a.jpg")


def test_other_tasks_beside(tmp_path: Path) -> None:
    for name in ("captions", "person_keypoints"):
        write(tmp_path / f"annotations/{name}_train2017.json", "{}")
    write(tmp_path / "annotations/instances_train2017.json", DOCUMENT)
    write(tmp_path / "train2017/a.jpg", ONE.data)
    assert len(coco.read(tmp_path, "train")) == 1


FAULTS = [
    pytest.param(
        ["annotations/instances_val2017.json", "test.json", "valid/_annotations.coco.json"],
        r"no split 'train': there is no annotations/\*train\*\.json, .*: test, val2017, valid\)",
        id="no such split",
    ),
    pytest.param(["train_annotation/a.txt"], r"\(found: none\)", id="a folder without its file"),
    pytest.param([], r"\(found: none\), or give the folder that holds the splits", id="nothing"),
    pytest.param(
        ["annotations/a_train.json", "annotations/b_train.json"],
        r"annotations: which of a_train\.json, b_train\.json is split 'train'\?",
        id="several",
    ),
]


@pytest.mark.parametrize(("files", "what"), FAULTS)
def test_faults(tmp_path: Path, files: Sequence[str], what: str) -> None:
    for file in files:
        write(tmp_path / file, DOCUMENT)
    with pytest.raises(ClientError, match=what):
        coco.read(tmp_path, "train")


def test_categories_whose_names_differ_by_white_space(tmp_path: Path) -> None:
    document = json.loads(DOCUMENT)
    for number, name in enumerate(("cat", "dog", "dog ")):
        document["categories"][number]["name"] = name
    write(tmp_path / "train.json", json.dumps(document))
    write(tmp_path / "train/a.jpg", ONE.data)
    with pytest.raises(ClientError, match=r"train\.json: several categories are called 'dog'"):
        coco.read(tmp_path, "train")


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    document = json.loads(DOCUMENT)
    document["annotations"].append(document["annotations"][0] | {"id": 99, "iscrowd": 1})
    write(tmp_path / "train.json", json.dumps(document))
    for name in "ab":
        write(tmp_path / f"train/{name}.jpg", ONE.data)
    crowd, unlisted = coco.read(tmp_path, "train").left_out
    assert "train.json: left out 1 boxes of crowds" in crowd
    assert "left out 1 images that" in unlisted


def written(folder: Path, data: DataSet) -> dict[str, object]:
    coco.write(folder, "train", data, data.channels["train"])
    content: dict[str, object] = json.loads((folder / "train_annotation/train.json").read_bytes())
    return content


def test_the_document(tmp_path: Path) -> None:
    boxes = [[1, 2.5, 4.1, 4], [5, 5, 5, 9], [4, 4, 2, 8]]
    images = [image("b.jpg", "dog", "cat", "dog", boxes=boxes, size=(20, 10)), image("s/a.jpg")]
    data = DataSet.build({"train": Images([MemorySplit(images)])}, None)
    content = written(tmp_path, data)
    assert content == {
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "images": [
            {"id": 1, "file_name": "b.jpg", "width": 20, "height": 10},
            {"id": 2, "file_name": "s/a.jpg", "width": 10, "height": 10},
        ],
        "annotations": [
            {
                "id": number,
                "image_id": 1,
                "category_id": category_id,
                "bbox": bbox,
                "area": area,
                "iscrowd": 0,
            }
            for number, category_id, bbox, area in (
                (1, 2, [1, 2.5, 3.1, 1.5], 4.65),
                (2, 1, [5, 5, 0, 4], 0),
                (3, 2, [4, 4, -2, 4], 0),
            )
        ],
    }
    assert (tmp_path / "train/s/a.jpg").read_bytes() == b"\xff\xd8"
    assert sorted(path.name for path in (tmp_path / "train_annotation").iterdir()) == ["train.json"]


@pytest.mark.parametrize("images", [[], [image("a.jpg")]], ids=["no image", "no box"])
def test_empty_lists(tmp_path: Path, images: list[object]) -> None:
    data = DataSet.build({"train": Images([MemorySplit(images)])}, ["cat"])  # type: ignore[arg-type]
    content = written(tmp_path, data)
    assert len(content["images"]) == len(images)  # type: ignore[arg-type]
    assert content["annotations"] == []


def test_training_reads_the_class_ids_of_the_table(tmp_path: Path) -> None:
    """More than ten classes, so that ids in the order of their digits would be others."""
    names = [f"class {number:02d}" for number in range(12)]
    images = [image("a.jpg", *names)]
    data = DataSet.build({"train": Images([MemorySplit(images)])}, None)
    written(tmp_path, data)
    source = CocoSource(tmp_path / "train", tmp_path / "train_annotation/train.json")
    assert source.category_names == tuple(names)
    np.testing.assert_array_equal(source.read(0).class_ids, range(12))


def test_splits_that_number_their_categories_differently(tmp_path: Path) -> None:
    for split, ids in (("train", (1, 2, 3)), ("val", (3, 2, 1))):
        write(tmp_path / f"{split}.json", json.dumps(coco_document(SPLITS[split], ids)))
        for one in SPLITS[split]:
            write(tmp_path / split / one.name, one.data)
    channels = {split: Images([coco.read(tmp_path, split)]) for split in SPLITS}
    data = DataSet.build(channels, None)
    assert data.class_names == ("cat", "dog", "Übergröße 猫")
    (last,) = data.channels["val"]
    assert data.class_ids(last) == [1]
