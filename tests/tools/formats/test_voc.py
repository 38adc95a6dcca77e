"""Pascal VOC: what is read, and that every fault is named by file and place."""

from pathlib import Path

import numpy as np
import pytest

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools.formats.data_set import DataSet, Images
from sagemaker_object_detection.tools.formats.record import LabelledImage
from sagemaker_object_detection.tools.formats.voc import VocSplit
from tests.tools.voc_tree import annotation, jpeg, write_voc

CAT = ("cat", (1, 1, 100, 80), False)
DOG = ("dog", (11, 21.5, 31, 41), True)


def read(folder: Path) -> list[LabelledImage]:
    """All images of the split `train`; raises what the first pass of a conversion raises."""
    images = Images([VocSplit(folder, "train")])
    DataSet.build({"train": images}, None)
    return list(images)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_voc(tmp_path / "voc", {"train": {"b": [CAT, DOG], "sub/a": []}})


def test_reads_a_split_in_its_order(folder: Path) -> None:
    first, second = read(folder)
    assert (first.name, second.name) == ("b.jpg", "sub/a.jpg")
    assert first.read_image() == (folder / "JPEGImages" / "b.jpg").read_bytes()
    assert first.size == (100, 80)
    assert first.classes == ("cat", "dog")
    assert first.difficult == (False, True)
    assert second.boxes_px.shape == (0, 4)


def test_one_is_taken_from_all_four_coordinates(folder: Path) -> None:
    image = read(folder)[0]
    np.testing.assert_array_equal(image.boxes_px, [[0, 0, 99, 79], [10, 20.5, 30, 40]])


def test_boxes_without_area_are_kept(tmp_path: Path) -> None:
    folder = write_voc(tmp_path, {"train": {"a": [("cat", (5, 5, 5, 9), False)]}})
    np.testing.assert_array_equal(read(folder)[0].boxes_px, [[4, 4, 4, 8]])


def test_parts_of_an_object_are_not_objects(folder: Path) -> None:
    xml = folder / "Annotations" / "b.xml"
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>"
    xml.write_text(annotation([CAT]).replace("</object>", part))
    image = read(folder)[0]
    assert image.classes == ("cat",)
    np.testing.assert_array_equal(image.boxes_px, [[0, 0, 99, 79]])


@pytest.mark.parametrize("suffix", [".png", ".jpeg", ".JPG"])
def test_other_suffixes(folder: Path, suffix: str) -> None:
    path = folder / "JPEGImages" / "b.jpg"
    path.rename(path.with_suffix(suffix))
    assert read(folder)[0].name == f"b{suffix}"


@pytest.mark.parametrize(
    ("width", "height"),
    [
        pytest.param("", "", id="empty"),
        pytest.param(0, 0, id="zero, as some tools write"),
        pytest.param("wide", "high", id="no numbers"),
    ],
)
def test_size_of_the_picture_when_none_is_declared(
    folder: Path, width: object, height: object
) -> None:
    (folder / "Annotations" / "b.xml").write_text(annotation([CAT], width, height))
    assert read(folder)[0].size == (100, 80)


def test_undecodable_picture_is_kept_at_its_declared_size(folder: Path) -> None:
    (folder / "JPEGImages" / "b.jpg").write_bytes(jpeg()[:-400])
    assert read(folder)[0].size == (100, 80)


def break_split(folder: Path) -> None:
    (folder / "ImageSets" / "Main" / "train.txt").write_bytes(b"caf\xe9\n")


def empty_split(folder: Path) -> None:
    (folder / "ImageSets" / "Main" / "train.txt").write_text("\n \n")


def remove_split(folder: Path) -> None:
    (folder / "ImageSets" / "Main" / "train.txt").rename(folder / "ImageSets" / "Main" / "val.txt")


def leave_folder(folder: Path) -> None:
    (folder / "ImageSets" / "Main" / "train.txt").write_text("\n../../secret\n")


def remove_annotation(folder: Path) -> None:
    (folder / "Annotations" / "b.xml").unlink()


def remove_picture(folder: Path) -> None:
    (folder / "JPEGImages" / "b.jpg").unlink()


def rewrite(text: str) -> object:
    return lambda folder: (folder / "Annotations" / "b.xml").write_text(text)


def lose_both_sizes(folder: Path) -> None:
    (folder / "Annotations" / "b.xml").write_text(annotation([CAT], 0, 0))
    (folder / "JPEGImages" / "b.jpg").write_bytes(b"GIF8")


FAULTS = [
    pytest.param(remove_split, r"train\.txt does not exist.*found: val", id="no such split"),
    pytest.param(break_split, r"train\.txt: byte 3 is not UTF-8", id="split is not UTF-8"),
    pytest.param(empty_split, r"train\.txt names no images", id="empty split"),
    pytest.param(leave_folder, r"train\.txt, line 2: '\.\./\.\./secret' leads out", id="escape"),
    pytest.param(remove_annotation, r"train\.txt, line 1: .*b\.xml does not", id="no annotation"),
    pytest.param(remove_picture, r"train\.txt, line 1: .*b\.jpg does not exist", id="no picture"),
    pytest.param(
        rewrite("<a>\n <b></a>"), r"b\.xml, line 2, column 7: not valid XML .mismatched", id="XML"
    ),
    pytest.param(
        rewrite('<?xml version="1.0" encoding="klingon"?><annotation/>'),
        r"b\.xml: .*encoding that cannot be read \(unknown encoding: klingon\)",
        id="unknown encoding",
    ),
    pytest.param(rewrite(""), r"b\.xml, line 1, column 1: not valid XML", id="empty XML"),
    pytest.param(
        rewrite(annotation([CAT, ("", (1, 1, 2, 2), False)])),
        r"b\.xml, object 1: no class <name>",
        id="no class name",
    ),
    pytest.param(
        rewrite(annotation([CAT]).replace("<xmax>100</xmax>", "")),
        r"b\.xml, object 0: <xmax> is missing",
        id="no corner",
    ),
    pytest.param(
        rewrite(annotation([CAT]).replace("<xmax>100<", "<xmax>wide<")),
        r"b\.xml, object 0: <xmax> is 'wide'",
        id="corner is no number",
    ),
    pytest.param(
        rewrite(annotation([CAT]).replace("<xmax>100<", "<xmax>inf<")),
        r"b\.xml, object 0: <xmax> is 'inf'",
        id="corner is not finite",
    ),
    pytest.param(
        rewrite(annotation([CAT], 80, 100)),
        r"b\.xml: <size> is 80 x 100, but .*b\.jpg has 100 x 80 pixels",
        id="turned picture",
    ),
    pytest.param(lose_both_sizes, r"b\.jpg .* and .*b\.xml declares no size", id="no size at all"),
]


@pytest.mark.parametrize(("damage", "what"), FAULTS)
def test_faults(folder: Path, damage: object, what: str) -> None:
    assert callable(damage)
    damage(folder)
    with pytest.raises(ClientError, match=what):
        read(folder)


def test_all_faults_of_a_split_together(folder: Path) -> None:
    remove_annotation(folder)
    (folder / "JPEGImages" / "sub" / "a.jpg").unlink()
    with pytest.raises(ClientError, match=r"cannot be converted \(2 in all\)"):
        read(folder)
