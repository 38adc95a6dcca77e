"""Splits of a data set: what they may be called, and where each format has them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from sagemaker_object_detection.data.sources.splits import SPLITS, open_split
from sagemaker_object_detection.platform.errors import ClientError
from tests.data.samples import (
    BOX,
    HEIGHT,
    WIDTH,
    Sample,
    plain,
    write_coco,
    write_images,
    write_manifest,
    write_records,
    write_voc,
    write_yolo,
)

WRITERS: Mapping[str, Callable[[Path, str, list[Sample]], object]] = {
    "recordio": lambda folder, split, one: write_records(folder / f"{split}.rec", one),
    "sagemaker-json": lambda folder, split, one: write_images(
        folder / split, folder / f"{split}_annotation", one
    ),
    "coco": lambda folder, split, one: write_coco(
        folder / split, folder / f"annotations/instances_{split}.json", one
    ),
    "manifest": lambda folder, split, one: write_manifest(
        folder / split, folder / f"{split}.manifest", one
    ),
    "voc": lambda folder, split, one: write_voc(folder / split, one),
    "yolo": lambda folder, split, one: write_yolo(folder / split, one),
}


def image(split: str) -> bytes:
    """A picture of a color that the name determines."""
    return plain((sum(map(ord, split)) % 256, len(split), 0))


def write_splits(form: str, folder: Path, splits: str) -> Path:
    """Each split has one image, which tells the splits apart, and a box."""
    for split in splits.split():
        WRITERS[form](folder, split, [Sample(image(split))])
    return folder


FORMS = pytest.mark.parametrize("form", sorted(WRITERS))
CALLED = [
    pytest.param("train val test", "train", "train", id="train"),
    pytest.param("train val test", "test", "test", id="test"),
    pytest.param("train val", "validation", "val", id="validation is val"),
    pytest.param("train valid", "validation", "valid", id="validation is valid"),
    pytest.param("dev train", "val", "dev", id="val is dev"),
    pytest.param("train validation", "valid", "validation", id="valid is validation"),
    pytest.param("dev val valid", "valid", "valid", id="the very name goes first"),
    pytest.param("dev val", "validation", "val", id="the usual name goes first"),
    pytest.param("train2017 val2017", "train", "train2017", id="a year"),
    pytest.param("train2017 val2017", "validation", "val2017", id="another name and a year"),
    pytest.param("train train2017", "train", "train", id="no year goes first"),
    pytest.param("train2014 train2017", "train2014", "train2014", id="asked for with its year"),
    pytest.param("night day", "day", "day", id="any name"),
]


@FORMS
@pytest.mark.parametrize(("there", "asked", "found"), CALLED)
def test_what_a_split_is_called(
    tmp_path: Path, form: str, there: str, asked: str, found: str
) -> None:
    write_splits(form, tmp_path, there)
    assert SPLITS[form](tmp_path) == sorted(there.split())
    source = open_split(form, tmp_path, asked)
    assert len(source) == 1
    record = source.read(0)
    assert record.image == image(found)
    size = (WIDTH, HEIGHT) if record.declared_size else (1, 1)
    np.testing.assert_allclose(record.boxes / (size * 2), [BOX], atol=1e-6)


REFUSED = [
    pytest.param(
        "train val",
        "test",
        "{0} has no split 'test'. Choose one that is there: train, val; or give the folder that",
        id="not there",
    ),
    pytest.param("test train", "validation", "Choose one that is there: test, train;", id="no val"),
    pytest.param("training", "train", "{0} has no split 'train'. Choose", id="a longer name"),
    pytest.param("train17", "train", "{0} has no split 'train'. Choose", id="two digits"),
    pytest.param(
        "train2014 train2017",
        "train",
        "{0}: which of train2014, train2017 is split 'train'? Give its name.",
        id="two years",
    ),
]


@FORMS
@pytest.mark.parametrize(("there", "asked", "what"), REFUSED)
def test_splits_that_are_refused(
    tmp_path: Path, form: str, there: str, asked: str, what: str
) -> None:
    write_splits(form, tmp_path, there)
    with pytest.raises(ClientError) as caught:
        open_split(form, tmp_path, asked)
    assert what.format(tmp_path) in str(caught.value)


@pytest.mark.parametrize(("form", "write"), [("voc", write_voc), ("yolo", write_yolo)])
def test_data_that_is_not_split(
    tmp_path: Path, form: str, write: Callable[[Path, list[Sample]], object]
) -> None:
    write(tmp_path, [Sample(image("a")), Sample(image("b"))])
    assert SPLITS[form](tmp_path) == []
    assert [open_split(form, tmp_path, "test").read_image(n) for n in (0, 1)] == [
        image("a"),
        image("b"),
    ]


def write_other(images: Path) -> None:
    """An image of the same name in the folder of another split."""
    if images.name.startswith("train"):
        (images.parent / "val").mkdir()
        (images.parent / "val" / "0000.png").write_bytes(image("val"))


COCO = [
    pytest.param("train", "annotations/train.json", id="annotations"),
    pytest.param("train2017", "annotations/instances_train2017.json", id="as COCO has it"),
    pytest.param("train", "annotations/instances_train2017.json", id="the year only in the file"),
    pytest.param("images/train", "annotations/boxes_train.json", id="below images"),
    pytest.param("images", "train.json", id="all images together"),
    pytest.param(".", "train.json", id="side by side"),
    pytest.param("train", "train/_annotations.coco.json", id="Roboflow"),
    pytest.param("train", "train_annotation/any.json", id="channels"),
]


@pytest.mark.parametrize(("images", "notes"), COCO)
def test_places_of_coco(tmp_path: Path, images: str, notes: str) -> None:
    write_coco(tmp_path / images, tmp_path / notes, [Sample(image("train"))])
    write_other(tmp_path / images)
    (tmp_path / "annotations").mkdir(exist_ok=True)
    (tmp_path / "annotations" / "captions_train2017.json").write_text("{}")
    (tmp_path / "annotations" / "train.txt").write_text("")
    source = open_split("coco", tmp_path, "train2017" if "2017" in notes else "train")
    assert source.read_image(0) == image("train")
    assert str(tmp_path / images / "0000.png") in source.name(0)


def test_several_coco_files_of_a_split(tmp_path: Path) -> None:
    for name in ("a_train", "b_train"):
        write_coco(tmp_path / "train", tmp_path / f"annotations/{name}.json", [Sample()])
    with pytest.raises(
        ClientError, match=r"which of a_train\.json, b_train\.json is split 'train'"
    ):
        open_split("coco", tmp_path, "train")


@pytest.mark.parametrize(
    ("images", "manifest"),
    [
        pytest.param("train", "train.manifest", id="a folder of the split's name"),
        pytest.param("images/train", "train.jsonl", id="below images"),
        pytest.param("images", "train.manifest", id="all images together"),
        pytest.param("a/b", "train.manifest", id="anywhere"),
        pytest.param("train", "train/output.manifest", id="the manifest among the images"),
    ],
)
def test_places_of_a_manifest(tmp_path: Path, images: str, manifest: str) -> None:
    write_manifest(tmp_path / images, tmp_path / manifest, [Sample(image("train"))])
    write_other(tmp_path / images)
    assert SPLITS["manifest"](tmp_path) == ["train"]
    source = open_split("manifest", tmp_path, "train")
    assert source.read_image(0) == image("train")
    assert source.name(0) == f"{tmp_path}/{manifest}, line 1 ({tmp_path}/{images}/0000.png)"


def test_attributes_of_a_manifest(tmp_path: Path) -> None:
    line: dict[str, object] = {}
    for class_id, attribute in enumerate(("first", "second")):
        sample = Sample(class_ids=[class_id])
        write_manifest(tmp_path / "train", tmp_path / "train.manifest", [sample], attribute)
        line |= json.loads((tmp_path / "train.manifest").read_text())
    (tmp_path / "train.manifest").write_text(json.dumps(line))
    for class_id, attribute in enumerate(("first", "second")):
        source = open_split("manifest", tmp_path, "train", ("source-ref", attribute))
        assert source.read(0).class_ids.tolist() == [class_id]


def test_folders_of_recordio(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_records(tmp_path / "train" / f"{name}.rec", [Sample(image(name))])
    write_records(tmp_path / "val" / "c.rec", [Sample(image("c"))])
    assert SPLITS["recordio"](tmp_path) == ["train", "val"]
    source = open_split("recordio", tmp_path, "train")
    assert [source.read_image(n) for n in range(len(source))] == [image("a"), image("b")]


NOTHING = [
    pytest.param(
        "recordio", "{0} holds no .rec file. Give the folder that has one.", id="RecordIO"
    ),
    pytest.param("sagemaker-json", "{0} has no folder of images with their annotations", id="JSON"),
    pytest.param("coco", "{0} holds no COCO file. Give the folder that has one.", id="COCO"),
    pytest.param("manifest", "{0} holds no .manifest or .jsonl. Give the folder", id="manifest"),
    pytest.param("voc", "{0} holds no images (JPEG, PNG, WebP, BMP). Give the folder", id="VOC"),
    pytest.param("yolo", "{0} holds no images (.bmp, .jpeg, .jpg, .png, .webp)", id="YOLO"),
]


@pytest.mark.parametrize(("form", "what"), NOTHING)
def test_empty_folders(tmp_path: Path, form: str, what: str) -> None:
    with pytest.raises(ClientError) as caught:
        open_split(form, tmp_path, "train")
    assert what.format(tmp_path) in str(caught.value)


def test_split_without_annotated_images(tmp_path: Path) -> None:
    write_images(tmp_path / "train", tmp_path / "train_annotation", [Sample()])
    (tmp_path / "train_annotation" / "0000.json").unlink()
    with pytest.raises(ClientError) as caught:
        open_split("sagemaker-json", tmp_path, "train")
    assert str(caught.value) == (
        f"{tmp_path}: the split 'train' has no annotated images. Add some."
    )
