"""YOLO: where images and labels are looked for, what a row says, and which rows are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sagemaker_object_detection.data.sources.yolo import YoloSource, open_yolo, yolo_splits
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.files import split_names
from tests.data.samples import write_files

ROW = "1 0.5 0.25 0.2 0.1\n"
BOX = [0.4, 0.2, 0.6, 0.3]
NAMES = "owl\nfox\n"
YAML = "names: [owl, fox]\n"
PAIR = {"images/train/a.jpg": "", "labels/train/a.txt": ROW}


def opened(folder: Path, images: str, texts: dict[str, str], split: str | None) -> YoloSource:
    return open_yolo(write_files(folder, images, texts), split)


LAYOUTS = [
    pytest.param(
        "images/train/a.jpg images/train/b.jpg labels/train/a.txt -images/val/c.jpg",
        {"data.yaml": f"path: ../datasets/set\ntrain: images/train\nval: images/val\n{YAML}"},
        ("", "train"),
        "a.jpg b.jpg",
        id="Ultralytics: the path is that of another machine",
    ),
    pytest.param(
        "set/images/x/images/a.jpg set/images/x/labels/a.txt -images/b.jpg",
        {"data.yaml": f"path: set\ntrain: images/x/images\n{YAML}"},
        ("data.yaml", "train"),
        "a.jpg",
        id="data.yaml as the source; the last folder images counts",
    ),
    pytest.param(
        "valid/images/a.jpg valid/images/b.png valid/labels/a.txt -train/images/c.jpg",
        {"data.yaml": f"train: ../train/images\nval: ../valid/images\n{YAML}"},
        ("", "validation"),
        "a.jpg b.png",
        id="Roboflow: paths lead one folder too high",
    ),
    pytest.param(
        "data/obj/a.jpg data/obj/a.txt -data/obj/c.jpg",
        {"data/obj.data": "train = data/train.txt", "data/train.txt": "data/obj/a.jpg\n"}
        | {"data/obj.names": NAMES},
        ("", "train"),
        "data/obj/a.jpg",
        id="darknet: the folder above data",
    ),
    pytest.param(
        "data/obj/a.jpg data/obj/a.txt -data/obj/c.jpg",
        {"data/obj.names": NAMES, "data/train.txt": "data/obj/a.jpg\n"},
        ("data", "train"),
        "obj/a.jpg",
        id="darknet: the folder data",
    ),
    pytest.param(
        "obj_train_data/b/a.jpg obj_train_data/d.jpg obj_train_data/b/a.txt -obj_train_data/a.jpg",
        {"train.txt": "data/obj_train_data/b/a.jpg\ndata/obj_train_data/d.jpg\n"}
        | {"obj.names": NAMES, "obj.data": "train = data/train.txt\nnames = data/obj.names\n"},
        ("", "train"),
        "obj_train_data/b/a.jpg obj_train_data/d.jpg",
        id="CVAT 1.1: listed paths begin with a folder data that is not there",
    ),
    pytest.param(
        "images/a.jpg images/b.jpg labels/a.txt",
        {"classes.txt": NAMES, "notes.json": "{}", "labels/b.txt": "\n"},
        ("", None),
        "a.jpg b.jpg",
        id="Label Studio: images and labels, not split",
    ),
    pytest.param(
        "a.jpg b.jpg a.txt",
        {"classes.txt": NAMES},
        ("", None),
        "a.jpg b.jpg",
        id="LabelImg: labels and classes.txt next to the images",
    ),
    pytest.param(
        "valid/a.jpg valid/a.txt -train/c.jpg train/c.txt",
        {"valid/classes.txt": NAMES},
        ("", "val"),
        "a.jpg",
        id="a folder for each split, labels next to the images",
    ),
    pytest.param(
        "images/train/day/a.JPG images/train/night/a.webp labels/train/day/a.TXT -images/val/c.jpg",
        {"labels/train/classes.txt": NAMES},
        ("", "train"),
        "day/a.JPG night/a.webp",
        id="sub-folders, suffixes in upper case, classes.txt among the labels",
    ),
    pytest.param(
        "images/d.jpg images/b.jpg labels/d.txt -images/c.jpg labels/c.txt",
        {"data.yaml": f"train:\n- images/d.jpg\n- images/b.jpg\nval: images/c.jpg\n{YAML}"},
        ("", "train"),
        "d.jpg b.jpg",
        id="data.yaml names images one by one, in its order",
    ),
    pytest.param(
        "images/d.jpg images/b.jpg labels/d.txt -images/c.jpg",
        {"data.yaml": f"train: lists/train.txt\n{YAML}"}
        | {"lists/train.txt": "/mnt/set/images/d.jpg\r\n\r\nD:\\set\\b.jpg\r\nimages/d.jpg"},
        ("", "train"),
        "d.jpg b.jpg",
        id="a list with paths of other machines: once each, in its order",
    ),
    pytest.param(
        "b/images/d.jpg a/images/e.jpg b/labels/d.txt -c/images/c.jpg",
        {"data.yaml": f"train: [b/images, a/images]\n{YAML}"},
        ("", "train"),
        "d.jpg e.jpg",
        id="several folders, in their order",
    ),
]


@pytest.mark.parametrize(("paths", "texts", "source", "names"), LAYOUTS)
def test_layouts(
    tmp_path: Path, paths: str, texts: dict[str, str], source: tuple[str, str | None], names: str
) -> None:
    """The first image has an object, a further one has none; `-` marks those of other splits."""
    labels = [path for path in paths.split() if path.lower().endswith(".txt")]
    images = [path for path in paths.split() if path not in labels and path[0] != "-"]
    folder = tmp_path / "images" / "set"
    write_files(folder, paths.replace("-", ""), texts | dict.fromkeys(labels, ROW))
    found = open_yolo(folder / source[0], source[1])
    splits = yolo_splits(folder / source[0])
    assert not splits if source[1] is None else set(split_names(source[1])) & set(splits)
    assert [found.name(n) for n in range(len(found))] == [f"{folder}/{path}" for path in images]
    assert [found.image_name(n) for n in range(len(found))] == names.split()
    assert found.listed_names == ("owl", "fox")
    records = [found.read(index) for index in range(len(found))]
    assert [record.image.decode() for record in records] == images
    assert [record.class_ids.tolist() for record in records] == [[1], []][: len(images)]
    np.testing.assert_allclose(records[0].boxes, [BOX])
    assert records[0].label_name == f"{folder}/{labels[0]}"


def test_labels_of_another_channel(tmp_path: Path) -> None:
    texts = {"notes/s/a.txt": ROW, "notes/classes.txt": NAMES, "train/s/a.txt": "0 1 1 1 1"}
    write_files(tmp_path, "train/s/a.jpg train/b.jpg", texts)
    source = open_yolo(tmp_path / "train", "train", tmp_path / "notes")
    assert [source.read(n).class_ids.tolist() for n in range(2)] == [[], [1]]
    assert source.read(1).label_name == f"{tmp_path}/notes/s/a.txt"
    assert source.listed_names == ("owl", "fox")


CLASS_NAMES = [
    pytest.param({"data.yaml": YAML, "classes.txt": "x\n"}, "owl fox", id="data.yaml goes first"),
    pytest.param(
        {"labels/train/classes.txt": NAMES, "classes.txt": "x\n"}, "owl fox", id="nearest"
    ),
    pytest.param({"images/classes.txt": NAMES, "data/obj.names": "x\n"}, "owl fox", id="images"),
    pytest.param({"labels/obj.names": "owl\n\n fox \n"}, "owl fox", id="blank line"),
    pytest.param({"data.names": "\ufeffowl\r\nfox"}, "owl fox", id="byte order mark, Windows"),
    pytest.param({"data.yaml": "nc: 2\n", "classes.txt": NAMES}, "owl fox", id="no names in YAML"),
    pytest.param({"data/obj.names": NAMES}, "owl fox", id="in data"),
    pytest.param({}, "", id="nowhere"),
]


@pytest.mark.parametrize(("texts", "names"), CLASS_NAMES)
def test_class_names(tmp_path: Path, texts: dict[str, str], names: str) -> None:
    source = opened(tmp_path, "", PAIR | texts, "train")
    assert " ".join(source.listed_names) == names
    assert source.read(0).class_ids.tolist() == [1]


def test_classes_are_numbered_anew(tmp_path: Path) -> None:
    texts = PAIR | {"classes.txt": NAMES, "labels/train/a.txt": f"{ROW}0 .5 .5 .1 .1"}
    source = opened(tmp_path, "", texts, "train")
    source.renumber(["fox", "elk", "owl"])
    assert source.read(0).class_ids.tolist() == [0, 2]
    source.renumber(["elk", "owl", "fox"])
    assert source.read(0).class_ids.tolist() == [2, 1]
    assert source.listed_names == ("elk", "owl", "fox")


SPLITS = [
    pytest.param("images/val/a.jpg images/train/a.jpg", {}, "train val", id="in images"),
    pytest.param("valid/images/a.jpg x/images/a.jpg", {}, "valid x", id="above images"),
    pytest.param("test/a.jpg b/a.jpg", {"test/a.txt": "", "b/b.txt": ""}, "test", id="pairs"),
    pytest.param(
        "a.jpg",
        {f"{name}.txt": "a.jpg" for name in ("train", "val", "valid", "validation", "test", "a")},
        "test train val valid validation",
        id="lists",
    ),
    pytest.param("", {"data/train.txt": "", "data/obj/a.txt": ""}, "train", id="lists in data"),
    pytest.param("", {"data.yaml": "train: x\nval: y\ntest:\n"}, "train val", id="data.yaml"),
    pytest.param("images/a.jpg", {"labels/a.txt": ""}, "", id="images and labels, not split"),
    pytest.param("data/images/a.jpg", {"data/labels/a.txt": ""}, "", id="data is no split"),
    pytest.param("a.jpg", {"a.txt": "", "classes.txt": ""}, "", id="side by side, not split"),
]


@pytest.mark.parametrize(("images", "texts", "splits"), SPLITS)
def test_splits(tmp_path: Path, images: str, texts: dict[str, str], splits: str) -> None:
    assert " ".join(yolo_splits(write_files(tmp_path, images, texts))) == splits


L_SHAPE = "0 .2 .1 .6 .1 .6 .3 .4 .3 .4 .7 .2 .7"
POLYGON = "1 rows in 1 labels are polygons or turned boxes; the upright box around each is used"
POSE = "1 rows in 1 labels have keypoints, which are left out"
ROWS = [
    pytest.param("", "1 0.5 .25 2e-1 0.1", BOX, "", id="forms of a number"),
    pytest.param("", "\t1.0  0.5 0.25\t0.2 0.1 \r", BOX, "", id="white space, class id 1.0"),
    pytest.param("", "0 1 1 .2 .2", [0.9, 0.9, 1.1, 1.1], "", id="over the edge: as it is"),
    pytest.param("", "0 .1 .9 .3 .2 .2 .4", [0.1, 0.2, 0.3, 0.9], POLYGON, id="triangle"),
    pytest.param("", L_SHAPE, [0.2, 0.1, 0.6, 0.7], POLYGON, id="polygon"),
    pytest.param("", "0 .5 .2 .8 .5 .5 .9 .2 .5", [0.2, 0.2, 0.8, 0.9], POLYGON, id="oriented"),
    pytest.param(
        "kpt_shape: [3, 2]", "0 .5 .5 .2 .4 0 0 .9 .9 .1 .8", [0.4, 0.3, 0.6, 0.7], POSE, id="pose"
    ),
    pytest.param(
        "kpt_shape: [2, 3]",
        "0 .5 .5 .2 .4 .1 .1 2 .9 .9 1",
        [0.4, 0.3, 0.6, 0.7],
        POSE,
        id="pose with visibility, 2 of 0..2",
    ),
    pytest.param("kpt_shape: [3, 2]", ROW, BOX, "", id="a box without keypoints among poses"),
]


@pytest.mark.parametrize(("yaml", "row", "box", "remark"), ROWS)
def test_rows(tmp_path: Path, yaml: str, row: str, box: list[float], remark: str) -> None:
    texts = {"data.yaml": f"{yaml}\n", "labels/train/a.txt": f"\n{row}\n"}
    source = opened(tmp_path, "", PAIR | texts, "train")
    record = source.read(0)
    np.testing.assert_allclose(record.boxes, [box])
    assert (record.class_ids.tolist(), record.difficult.tolist()) == ([int(row[0:2])], [False])
    wanted = [f"{remark}, such as in {tmp_path}/labels/train/a.txt."] if remark else []
    assert list(source.remarks) == wanted


def test_longer_rows_are_counted_once(tmp_path: Path) -> None:
    texts = {
        "labels/a.txt": f"{L_SHAPE}\n{ROW}{L_SHAPE}",
        "labels/b.txt": ROW,
        "labels/c.txt": L_SHAPE,
    }
    source = opened(tmp_path, "images/a.jpg images/b.jpg images/c.jpg", texts, None)
    for index in (2, 0, 1, 0, 2):
        source.read(index)
    (remark,) = source.remarks
    assert remark.startswith("3 rows in 2 labels are polygons")
    assert remark.endswith(f"such as in {tmp_path}/labels/a.txt.")


UNREADABLE = [
    pytest.param("", "0 1 1 1", "4 numbers are too few. A line is 'class_id", id="too few"),
    pytest.param("", "0 1 1 1 1 .9", "6 numbers: a detection with its score", id="score"),
    pytest.param("", "0 " + "1 " * 7, "8 numbers: if it is a box with keypoints", id="even"),
    pytest.param(
        "kpt_shape: [3, 2]", L_SHAPE, "13 numbers, by kpt_shape it is 11", id="another pose"
    ),
    pytest.param("", "0 1 1 x 1", "could not convert string to float: 'x'", id="no number"),
    pytest.param("", "fox 1 1 1 1", "could not convert string to float: 'fox'", id="a name as id"),
    pytest.param("", "0.5 1 1 1 1", "the class id is 0.5, it must be in 0..9999", id="half an id"),
    pytest.param("", "-1 1 1 1 1", "the class id is -1, it must be", id="below 0"),
    pytest.param("", "nan 1 1 1 1", "the class id is nan, it must be", id="id is nan"),
    pytest.param(
        YAML,
        "2 1 1 1 1",
        "the class id is 2, it must be in 0..1. Correct the line, or name the class",
        id="beyond the names",
    ),
    pytest.param("", "0 1 1 inf 1", "the box is 1 1 inf 1. A line is", id="not finite"),
    pytest.param(
        "", "0 320 240 64 48", "0..1: divide pixels by the image's width and height", id="pixels"
    ),
]


@pytest.mark.parametrize(("yaml", "row", "what"), UNREADABLE)
def test_unreadable_rows(tmp_path: Path, yaml: str, row: str, what: str) -> None:
    texts = {"data.yaml": f"{yaml}\n", "labels/train/a.txt": f"{ROW}\n{row}\n"}
    source = opened(tmp_path, "", PAIR | texts, "train")
    with pytest.raises(ClientError) as caught:
        source.read(0)
    assert str(caught.value).startswith(f"{tmp_path}/labels/train/a.txt, line 3: ")
    assert what in str(caught.value)


FAULTS = [
    pytest.param(
        {"labels/train/b.txt": ROW},
        "{0}/labels/train/b.txt: there is no image b in "
        "{0}/images/train. Add the image or remove the label.",
        id="label without image",
    ),
    pytest.param(
        {"data.yaml": "train: frames"},
        "{0}/data.yaml: 'frames' leads to no folder, "
        "list or image (looked for {0}/frames). Correct the path.",
        id="path to nothing",
    ),
    pytest.param(
        {"data.yaml": "train: t.txt", "t.txt": "images/train/a.jpg\n\nb.jpg\n"},
        "{0}/t.txt, line 3: b.jpg is no image in {0}. Correct the path.",
        id="not there",
    ),
    pytest.param(
        {"data.yaml": "train: t.txt", "t.txt": "c/a.jpg", "x/c/a.jpg": "", "y/c/a.jpg": ""},
        "{0}/t.txt, line 1: c/a.jpg can be several images: x/c/a.jpg, y/c/a.jpg.",
        id="ambiguous",
    ),
    pytest.param(
        {"data.yaml": "train: t.txt", "t.txt": "\n \n"},
        "{0}/t.txt lists no images. Write one path a line.",
        id="empty list",
    ),
    pytest.param(
        {"data.yaml": "train: new", "new/a.heic": ""},
        "{0}/new holds no images (.bmp, .jpeg, .jpg, .png, .webp).",
        id="other suffixes",
    ),
    pytest.param(
        {"data.yaml": "train: x/images", "x/images/a.jpg": ""},
        "{0}: none of 1 images has "
        "a label, a .txt of its name. They were looked for in {0}/x/labels",
        id="no label",
    ),
    pytest.param({"a.yaml": "", "b.yaml": ""}, "{0} holds several YAML files", id="two YAML files"),
    pytest.param({"classes.txt": b"caf\xe9"}, "classes.txt: byte 3 is not UTF-8", id="not UTF-8"),
]


@pytest.mark.parametrize(("texts", "what"), FAULTS)
def test_faults(tmp_path: Path, texts: dict[str, str], what: str) -> None:
    with pytest.raises(ClientError) as caught:
        opened(tmp_path, "", PAIR | texts, "train")
    assert what.format(tmp_path) in str(caught.value)
