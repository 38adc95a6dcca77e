"""The formats that training reads itself: where a split is, class names, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.formats import (
    READERS,
    manifest,
    recordio,
    sagemaker_json,
)
from sagemaker_object_detection.tools.formats.data_set import DataSet, Images
from sagemaker_object_detection.tools.formats.record import LabelledImage
from tests.tools import format_trees
from tests.tools.format_trees import NAMES, annotation, picture, sample, write, write_tree

ONE = sample("a.jpg", (40, 30), ("dog", (1, 2, 30, 20), False))
TWO = sample("b.png", (30, 40), ("cat", (1, 2, 30, 20), False))


def read(form: str, folder: Path, split: str = "train") -> list[LabelledImage]:
    """All images of a split; raises what the first pass of a conversion raises."""
    images = Images([READERS[form](folder, split)])
    DataSet.build({"train": images}, None)
    return list(images)


def test_several_recordio_files_below_a_folder(tmp_path: Path) -> None:
    (tmp_path / "train" / "deep").mkdir(parents=True)
    format_trees.recordio(tmp_path / "train", "2", [TWO])
    format_trees.recordio(tmp_path / "train" / "deep", "1", [ONE])
    found = read("recordio", tmp_path)
    assert [image.name for image in found] == ["000000.png", "000001.jpg"]
    assert [image.size for image in found] == [(30, 40), (40, 30)]


def test_a_manifest_in_the_folder_of_its_images(tmp_path: Path) -> None:
    line = {"source-ref": "s3://bucket/a.jpg", "label": annotation(ONE)}
    write(tmp_path / "train" / "any.jsonl", json.dumps(line))
    write(tmp_path / "train" / "a.jpg", ONE.data)
    assert [image.name for image in read("manifest", tmp_path)] == ["a.jpg"]


def test_a_manifest_with_several_annotations(tmp_path: Path) -> None:
    line = {"source-ref": "s3://b/a.jpg", "first": annotation(TWO), "second": annotation(ONE)}
    write(tmp_path / "train.manifest", json.dumps(line))
    write(tmp_path / "a.jpg", ONE.data)
    with pytest.raises(ClientError, match="several attributes have annotations: 'first', 'second'"):
        manifest.read(tmp_path, "train")
    split = manifest.read(tmp_path, "train", ("source-ref", "second"))
    assert split.read(0).size == (40, 30)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("train", "a.jpg"),
        ("images/train", "a.jpg"),
        ("images", "a.jpg"),
        ("prefix", "prefix/a.jpg"),
        ("some/prefix", "some/prefix/a.jpg"),
    ],
)
def test_where_the_images_of_a_manifest_are(tmp_path: Path, folder: str, name: str) -> None:
    line = {"source-ref": "s3://bucket/some/prefix/a.jpg", "label": annotation(ONE)}
    write(tmp_path / "train.manifest", json.dumps(line))
    write(tmp_path / folder / "a.jpg", ONE.data)
    assert [image.name for image in read("manifest", tmp_path)] == [name]


def test_images_without_annotation_are_told(tmp_path: Path) -> None:
    folder = write_tree("sagemaker-json", tmp_path)
    for name in "1234":
        write(folder / "val" / f"{name}.jpg", picture(10, 10))
    (sentence,) = sagemaker_json.read(folder, "val").left_out
    assert "4 images were left out, nothing annotates them, such as" in sentence
    assert "val/3.jpg." in sentence
    assert "4.jpg" not in sentence


@pytest.mark.parametrize("form", ["recordio", "manifest", "sagemaker-json"])
@pytest.mark.parametrize("place", ["", "train/"], ids=["of the data set", "of the split"])
def test_names_from_a_file(tmp_path: Path, form: str, place: str) -> None:
    folder = write_tree(form, tmp_path, {"train": [ONE]})
    (folder / "classes.txt").unlink(missing_ok=True)
    write(folder / f"{place}classes.txt", "Katze\nHund\n")
    data = DataSet.build({"train": Images([READERS[form](folder, "train")])}, None)
    assert data.class_names == ("Katze", "Hund")
    assert data.boxes_per_class("train") == {"Hund": 1}


def test_recordio_without_names(tmp_path: Path) -> None:
    folder = write_tree("recordio", tmp_path, {"train": [ONE]})
    (folder / "classes.txt").unlink()
    split = recordio.read(folder, "train")
    data = DataSet.build({"train": Images([split])}, None)
    assert data.class_names == ("class_0", "class_1")
    assert DataSet.build({"train": Images([split])}, NAMES).class_names == NAMES


def set_class(class_id: int) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        note = annotation(ONE)
        note["annotations"][0]["class_id"] = class_id
        write(folder / "train_annotation/a.json", json.dumps(note))

    return change


def turn(folder: Path) -> None:
    write(folder / "train/a.jpg", picture(30, 40))


def name_one_class(folder: Path) -> None:
    write(folder / "classes.txt", "cat\n")


def remove_notes(folder: Path) -> None:
    (folder / "train_annotation").rename(folder / "labels")


IMAGE_FAULTS = [
    pytest.param(set_class(-1), r"a\.jpg: class_id -1 is not in 0\.\.9999\. Correct", id="below 0"),
    pytest.param(set_class(10_000), r"class_id 10000 is not in 0\.\.9999", id="stray class id"),
    pytest.param(
        name_one_class,
        r"a\.jpg: class_id 1 is not in 0\.\.0\. Add the class to .*classes\.txt, or correct",
        id="more classes than names",
    ),
    pytest.param(
        turn, r"a\.jpg: the annotation says 40 x 30, the stored picture is 30 x 40", id="turned"
    ),
    pytest.param(
        remove_notes,
        r"no split 'train': there is no .*train_annotation\. Choose .*\(found: val\)",
        id="no annotations",
    ),
]


@pytest.mark.parametrize(("damage", "what"), IMAGE_FAULTS)
def test_faults_of_images(tmp_path: Path, damage: Callable[[Path], None], what: str) -> None:
    write_tree("sagemaker-json", tmp_path, {"train": [ONE], "val": [TWO]})
    damage(tmp_path)
    with pytest.raises(ClientError, match=what):
        read("sagemaker-json", tmp_path)


@pytest.mark.parametrize(
    ("form", "what"),
    [
        ("recordio", r"no split 'test': there is no .*test\.rec, and no .rec file in .*test\. .*"),
        ("manifest", r"no split 'test': there is no .*test\.manifest or \.jsonl, and none in .*"),
    ],
)
def test_no_such_split(tmp_path: Path, form: str, what: str) -> None:
    folder = write_tree(form, tmp_path)
    with pytest.raises(ClientError, match=what + r"\(found: train, val\)"):
        READERS[form](folder, "test")


def test_an_undecodable_image_is_passed_on_if_its_size_is_declared(tmp_path: Path) -> None:
    folder = write_tree("sagemaker-json", tmp_path, {"train": [ONE]})
    write(folder / "train/a.jpg", b"not a picture")
    (image,) = read("sagemaker-json", folder)
    assert (image.size, image.read_image()) == ((40, 30), b"not a picture")


def test_an_undecodable_record_has_no_size(tmp_path: Path) -> None:
    broken = format_trees.Sample("a.jpg", b"not a picture", (40, 30), ONE.objects)
    folder = write_tree("recordio", tmp_path, {"train": [ONE, broken]})
    with pytest.raises(ClientError, match=r"train\.rec, record 1 \(byte \d+\): the image is"):
        read("recordio", folder)


def test_boxes_in_pixels_of_another_size_than_the_stored_one(tmp_path: Path) -> None:
    """Resized after it was labelled: boxes keep their size, and go to 0..1 by it."""
    folder = write_tree("sagemaker-json", tmp_path, {"train": [ONE]})
    write(folder / "train/a.jpg", picture(20, 15))
    (image,) = read("sagemaker-json", folder)
    assert image.size == (40, 30)
    np.testing.assert_allclose(image.boxes_px, [[1, 2, 30, 20]])
