"""YOLO: where images and labels are looked for, what a line says, and what no box is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.formats.data_set import DataSet, Images
from sagemaker_object_detection.tools.formats.record import LabelledImage
from sagemaker_object_detection.tools.formats.yolo import YoloSplit
from tests.tools.format_trees import picture, write

JPEG = picture(100, 80)
LINE = "1 0.5 0.25 0.2 0.1\n"


def read(folder: Path, split: str = "train") -> list[LabelledImage]:
    """All images of a split; raises what the first pass of a conversion raises."""
    images = Images([YoloSplit(folder, split)])
    DataSet.build({"train": images}, None)
    return list(images)


def write_all(folder: Path, *paths: str) -> Path:
    """Pictures, labels and other texts, each by its path and what its name says it is."""
    for path in paths:
        write(folder / path, JPEG if path.endswith(".jpg") else LINE)
    return folder


def test_boxes_and_classes(tmp_path: Path) -> None:
    write_all(tmp_path, "images/train/a.jpg")
    write(tmp_path / "labels/train/a.txt", "1 0.5 0.25 0.2 0.1\n\n 0.0 .05 1 0.1 0\r\n")
    (image,) = read(tmp_path)
    assert (image.name, image.size, image.classes) == ("a.jpg", (100, 80), (1, 0))
    np.testing.assert_allclose(image.boxes_px, [[40, 16, 60, 24], [0, 80, 10, 80]], atol=1e-9)
    assert image.read_image() == JPEG


def test_images_without_objects(tmp_path: Path) -> None:
    write_all(tmp_path, *(f"images/train/{name}.jpg" for name in "abc"), "labels/train/a.txt")
    write(tmp_path / "labels/train/b.txt", "")
    assert [len(image.classes) for image in read(tmp_path)] == [1, 0, 0]


DATA = "data.yaml"
LAYOUTS = [
    pytest.param(
        {},
        ["images/train/b/a.jpg", "labels/train/b/a.txt", "images/val/x.jpg"],
        "train",
        ["b/a.jpg"],
        id="images/train and labels/train",
    ),
    pytest.param({}, ["train/images/a.jpg", "train/labels/a.txt"], "train", ["a.jpg"], id="inside"),
    pytest.param({}, ["train/a.jpg", "train/a.txt"], "train", ["a.jpg"], id="side by side"),
    pytest.param(
        {DATA: "train: ../train/images\nval: ../valid/images\n"},
        ["valid/images/a.jpg", "valid/labels/a.txt", "train/images/b.jpg"],
        "val",
        ["a.jpg"],
        id="as Roboflow exports: paths that lead one folder too high",
    ),
    pytest.param(
        {DATA: "train: train/images\nval: valid/images\n"},
        ["valid/images/a.jpg", "valid/labels/a.txt"],
        "validation",
        ["a.jpg"],
        id="other words for val",
    ),
    pytest.param(
        {DATA: "path: pictures\ntrain: images/first\n"},
        ["pictures/images/first/a.jpg", "pictures/labels/first/a.txt"],
        "train",
        ["a.jpg"],
        id="below a path",
    ),
    pytest.param(
        {DATA: "path: /on/another/machine\ntrain: images/first\n"},
        ["images/first/a.jpg", "labels/first/a.txt"],
        "train",
        ["a.jpg"],
        id="below a path of another machine",
    ),
    pytest.param(
        {DATA: "train: [one/images, two/images]\n"},
        ["one/images/b.jpg", "one/labels/b.txt", "two/images/a.jpg"],
        "train",
        ["b.jpg", "a.jpg"],
        id="several folders",
    ),
    pytest.param(
        {DATA: "train: train2017.txt\n", "train2017.txt": "./images/t/b.jpg\n\n./images/t/a.jpg\n"},
        ["images/t/b.jpg", "images/t/a.jpg", "images/t/c.jpg", "labels/t/a.txt"],
        "train",
        ["t/b.jpg", "t/a.jpg"],
        id="a list, in its order",
    ),
    pytest.param(
        {"train.txt": "obj_train_data/a.jpg\n", "obj.names": "cat\ndog\n"},
        ["obj_train_data/a.jpg", "obj_train_data/a.txt"],
        "train",
        ["obj_train_data/a.jpg"],
        id="as Darknet has it",
    ),
    pytest.param(
        {DATA: "val: images/val\n", "labels/train/classes.txt": "cat\ndog\n"},
        ["images/train/a.jpg", "labels/train/a.txt"],
        "train",
        ["a.jpg"],
        id="a split that data.yaml does not tell; a list of classes among the labels",
    ),
]


@pytest.mark.parametrize(("texts", "paths", "split", "names"), LAYOUTS)
def test_layouts(
    tmp_path: Path, texts: dict[str, str], paths: list[str], split: str, names: list[str]
) -> None:
    folder = write_all(tmp_path / "images" / "set", *paths)
    for name, text in texts.items():
        write(folder / name, text)
    found = read(folder, split)
    assert [image.name for image in found] == names
    assert sum(len(image.classes) for image in found) == 1


NAMES = [
    pytest.param({DATA: "names: [cat, dog]\n", "classes.txt": "x\ny\n"}, id="data.yaml is first"),
    pytest.param({"classes.txt": "cat\ndog\n"}, id="classes.txt"),
    pytest.param({"obj.names": "cat\ndog\n"}, id="obj.names"),
    pytest.param({"labels/classes.txt": "cat\n\ndog\n"}, id="as labelImg leaves it"),
]


@pytest.mark.parametrize("texts", NAMES)
def test_class_names(tmp_path: Path, texts: dict[str, str]) -> None:
    write_all(tmp_path, "images/train/a.jpg", "labels/train/a.txt")
    for name, text in texts.items():
        write(tmp_path / name, text)
    split = YoloSplit(tmp_path, "train")
    assert split.class_names == {0: {"cat"}, 1: {"dog"}}


def label(text: str | bytes) -> Callable[[Path], None]:
    return lambda folder: write(folder / "labels/train/a.txt", text)


def config(text: str) -> Callable[[Path], None]:
    return lambda folder: write(folder / DATA, text)


def no_labels(folder: Path) -> None:
    (folder / "labels").rename(folder / "annotations")


def no_split(folder: Path) -> None:
    (folder / "images" / "train").rename(folder / "images" / "all")


def no_images(folder: Path) -> None:
    (folder / "images/train/a.jpg").rename(folder / "images/train/a.heic")


def lonely_label(folder: Path) -> None:
    write(folder / "labels/train/b.txt", LINE)


def no_picture(folder: Path) -> None:
    write(folder / "images/train/a.jpg", b"what is this")


def list_of_missing(folder: Path) -> None:
    write(folder / DATA, "train: t.txt\n")
    write(folder / "t.txt", "./images/train/a.jpg\n\nimages/b.jpg\n")


def empty_list(folder: Path) -> None:
    write(folder / DATA, "train: t.txt\n")
    write(folder / "t.txt", "\n")


POLYGON = "0 " + " ".join(["0.1"] * 10)
FAULTS = [
    pytest.param(
        label(LINE + POLYGON),
        r"labels/train/a\.txt, line 2: 11 numbers: a polygon or a.*A line is 'class_id",
        id="polygon",
    ),
    pytest.param(label("0 1 1 1 1 0.9"), r"line 1: 6 numbers: a detection with its", id="score"),
    pytest.param(label("0 1 1 1"), r"line 1: 4 numbers are too few", id="too few"),
    pytest.param(label("0 1 1 1 x"), r"line 1: could not convert .*'x'", id="no number"),
    pytest.param(label("cat 1 1 1 1"), r"line 1: could not convert .*'cat'", id="name"),
    pytest.param(label("0.5 1 1 1 1"), r"line 1: the class id is 0\.5, it", id="half an id"),
    pytest.param(label("-1 1 1 1 1"), r"line 1: the class id is -1, it", id="below 0"),
    pytest.param(label("nan 1 1 1 1"), r"line 1: the class id is nan, it", id="id is nan"),
    pytest.param(label("1e99 1 1 1 1"), r"line 1: the class id is 1e99", id="huge id"),
    pytest.param(label("0 1 1 inf 1"), r"line 1: the box is 1 1 inf 1", id="not finite"),
    pytest.param(
        label("0 320 240 64 48"), r"the box is 320 240.*divide pixels by the", id="pixels"
    ),
    pytest.param(label(b"\xff\xfe0"), r"a\.txt: byte 0 is not UTF-8", id="no text"),
    pytest.param(
        config("names: [cat]"), r"the class id is 1, but 1 classes are named", id="unnamed"
    ),
    pytest.param(
        no_labels,
        r"none of the 1 images of split 'train' has a label file; .*train/a\.txt",
        id="none",
    ),
    pytest.param(
        no_split,
        r"no split 'train': there is no .*images/train, .*train/images or .*train\.txt.*found: all",
        id="no such split",
    ),
    pytest.param(
        config("train: pictures\n"),
        r"data\.yaml: 'pictures' leads to no folder",
        id="path of nothing",
    ),
    pytest.param(no_images, r"images/train holds no images \(\.bmp, \.jpeg", id="other suffixes"),
    pytest.param(
        lonely_label,
        r"labels/train/b\.txt: there is no image b in .*images/train",
        id="lonely label",
    ),
    pytest.param(
        no_picture, r"a\.jpg: .*is not an image.*and no size is declared", id="no picture"
    ),
    pytest.param(
        list_of_missing, r"t\.txt, line 3: .*images/b\.jpg does not exist", id="missing in a list"
    ),
    pytest.param(empty_list, r"split 'train' has no images", id="empty list"),
]


@pytest.mark.parametrize(("damage", "what"), FAULTS)
def test_faults(tmp_path: Path, damage: Callable[[Path], None], what: str) -> None:
    write_all(tmp_path, "images/train/a.jpg", "labels/train/a.txt")
    damage(tmp_path)
    with pytest.raises(ClientError, match=f"(?s){what}"):
        read(tmp_path)
