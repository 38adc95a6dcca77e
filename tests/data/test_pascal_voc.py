"""Pascal VOC: layouts, lists, corners that count from 0 or 1, and how faults are named."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from sagemaker_object_detection.data.sources.pascal_voc import VocSource, open_voc, voc_splits
from sagemaker_object_detection.platform.errors import ClientError
from tests.data.samples import NOISE, encode, write_files
from tests.orientation import with_tag

CORNERS = (11, 21, 31, 36)
BOX = [10, 20, 30, 35]
SIZE = "<size><width>50</width><height>40</height><depth>3</depth></size>"


def obj(*corners: object, name: str = "owl", more: str = "") -> str:
    tags = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
    return f"<object><name>{name}</name>{more}<bndbox>{box}</bndbox></object>"


def xml(*objects: str, size: str = SIZE, said: str = "") -> str:
    return f"<annotation><filename>{said}</filename>{size}{''.join(objects)}</annotation>"


XML = xml(obj(*CORNERS))


def opened(
    folder: Path, paths: str, texts: dict[str, str | bytes], split: str | None = None
) -> VocSource:
    """A tree of images, texts, and XML that is the same everywhere unless `texts` has another."""
    same = {path: XML for path in paths.split() if path.lower().endswith(".xml")}
    return open_voc(write_files(folder, paths, same | texts), split)


def names(source: VocSource) -> list[str]:
    return [source.image_name(index) for index in range(len(source))]


TWO = "JPEGImages/a.jpg JPEGImages/b.jpg Annotations/a.xml Annotations/b.xml"
TRAIN = "ImageSets/Main/train.txt"
LAYOUTS = [
    pytest.param("b.png a.jpg a.xml b.xml", {}, None, "a.jpg b.png", id="XML next to the images"),
    pytest.param(f"{TWO} x/README.md", {}, "train", "a.jpg b.jpg", id="no lists"),
    pytest.param(TWO, {TRAIN: "b"}, "train", "b.jpg", id="a list"),
    pytest.param(TWO, {TRAIN: "b"}, "test", "a.jpg b.jpg", id="no list of this split"),
    pytest.param(TWO, {"ImageSets/train.txt": "b"}, "train", "b.jpg", id="no Main"),
    pytest.param(
        TWO, {"imagesets/main/val.txt": "b"}, "validation", "b.jpg", id="another spelling"
    ),
    pytest.param("images/a.jpg annots/a.xml", {}, None, "a.jpg", id="annots and images"),
    pytest.param("Images/a.jpg ANNOTATIONS/a.xml", {}, None, "a.jpg", id="upper case"),
    pytest.param("JPEGImages-train/a.jpg xmls/a.xml", {}, None, "a.jpg", id="further words"),
    pytest.param("img/a.jpg labels/a.xml", {}, None, "a.jpg", id="img and labels"),
    pytest.param("pngs/a.png a.xml", {}, None, "pngs/a.png", id="a folder of any name"),
    pytest.param("a.BMP b.WebP a.XML b.xml", {}, None, "a.BMP b.WebP", id="suffixes"),
    pytest.param(
        "train/c.jpg train/c.xml valid/a.jpg valid/a.xml", {}, "val", "a.jpg", id="split folders"
    ),
    pytest.param(
        "train/images/a.jpg train/annotations/a.xml test/images/c.jpg test/annotations/c.xml",
        {},
        "train",
        "a.jpg",
        id="folders inside of split folders",
    ),
    pytest.param(
        "images/val/a.jpg images/train/b.jpg annotations/val/a.xml annotations/train/b.xml",
        {},
        "validation",
        "a.jpg",
        id="split folders inside of folders",
    ),
    pytest.param(
        "images/s/a.jpg images/t/a.jpg annotations/s/a.xml annotations/t/a.xml",
        {TRAIN: "t/a"},
        "train",
        "t/a.jpg",
        id="sub-folders that the list names",
    ),
    pytest.param(
        "images/s/a.jpg images/t/b.jpg annotations/a.xml annotations/b.xml",
        {TRAIN: "b"},
        "train",
        "t/b.jpg",
        id="sub-folders that the list does not name",
    ),
    pytest.param(
        "images/b.jpg images/a.jpg annotations/01.xml",
        {"annotations/01.xml": xml(obj(*CORNERS), said="C:\\photos\\b.jpg"), TRAIN: "01"},
        "train",
        "b.jpg",
        id="the filename in the XML decides",
    ),
]


@pytest.mark.parametrize(("paths", "texts", "split", "expected"), LAYOUTS)
def test_layouts(
    tmp_path: Path, paths: str, texts: dict[str, str | bytes], split: str | None, expected: str
) -> None:
    source = opened(tmp_path, paths, texts, split)
    assert (names(source), source.unannotated) == (expected.split(), ())
    assert source.listed_names == ("owl",)
    for index, name in enumerate(expected.split()):
        record = source.read(index)
        assert record.image == source.read_image(index)
        assert source.name(index) == f"{tmp_path}/{record.image.decode()}"
        assert record.image.decode().endswith(name)
        assert record.label_name is not None
        assert record.label_name.lower().endswith(".xml")
        assert (record.class_ids.tolist(), record.declared_size) == ([0], (50, 40))
        np.testing.assert_array_equal(record.boxes, [BOX])


def test_images_without_xml(tmp_path: Path) -> None:
    source = opened(tmp_path, "a.jpg b.jpg c.jpg b.xml", {})
    assert names(source) == ["b.jpg"]
    assert source.unannotated == (f"{tmp_path}/a.jpg", f"{tmp_path}/c.jpg")


SPLITS = [
    pytest.param(TWO, {TRAIN: "a", "ImageSets/Main/val.txt": "b"}, "train val", id="lists"),
    pytest.param(TWO, {"ImageSets/owl_val.txt": "a 1"}, "owl_val", id="a list of a class, no Main"),
    pytest.param("train/a.xml valid/b.xml c/d.jpg", {}, "train valid", id="folders with XML"),
    pytest.param(
        "images/dev/a.jpg images/train2017/a.jpg xmls/dev/a.xml xmls/train2017/a.xml",
        {},
        "dev train2017",
        id="folders in both",
    ),
    pytest.param("images/day/a.jpg annots/day/a.xml", {}, "", id="other folders in both"),
    pytest.param("images/a.jpg annots/a.xml", {}, "", id="not split"),
    pytest.param("a.jpg a.xml", {}, "", id="side by side, not split"),
]


@pytest.mark.parametrize(("paths", "texts", "splits"), SPLITS)
def test_splits(tmp_path: Path, paths: str, texts: dict[str, str | bytes], splits: str) -> None:
    assert " ".join(voc_splits(write_files(tmp_path, paths, texts))) == splits


MARKED = "1 images are marked -1; they are used with all objects."
LISTS = [
    pytest.param("b\n\na\n", "a b", "", id="in any order, blank lines"),
    pytest.param("\ufeffa.jpg\r\nb.JPG\r\n", "a b", "", id="suffixes, byte order mark, Windows"),
    pytest.param("# first batch\na\n", "a", "", id="comment"),
    pytest.param("a  1\nb 0\n", "a b", "", id="marks 1 and 0"),
    pytest.param("a 1\nb -1\n", "a b", MARKED, id="a list of one class"),
    pytest.param("a.jpg 1\nb.jpg\t-1\n", "a b", MARKED, id="suffixes and marks"),
    pytest.param("a\nb\na.jpg\n", "a b", "line 1 and line 3 name a; it is used once.", id="twice"),
    pytest.param("night 1\n", "night 1", "", id="a number that is part of the name"),
    pytest.param("night 1.jpg -1\n", "night 1", MARKED, id="a number, a suffix and a mark"),
    pytest.param("v1.2 1\n", "v1.2", "", id="a name with a dot, and a mark"),
    pytest.param("cafe\u0301\n", "café", "", id="accents as macOS writes them"),
]


@pytest.mark.parametrize(("text", "expected", "remark"), LISTS)
def test_lists(tmp_path: Path, text: str, expected: str, remark: str) -> None:
    stems = ("a", "b", "c", "night 1", "v1", "v1.2", "café")
    texts: dict[str, str | bytes] = {f"Annotations/{stem}.xml": XML for stem in stems}
    texts |= {f"JPEGImages/{stem}.jpg": stem for stem in stems}
    source = opened(tmp_path, "", {TRAIN: text, **texts}, "train")
    found = [
        unicodedata.normalize("NFC", source.read(n).image.decode()) for n in range(len(source))
    ]
    assert found == ([expected] if expected in stems else expected.split())
    wanted = [f"{tmp_path}/{TRAIN}: {remark}"] if remark else []
    assert list(source.remarks[:-1]) == wanted


COUNTED = [
    pytest.param([CORNERS, (1, 1, 50, 40)], 1, id="from 1"),
    pytest.param([CORNERS, (0, 1, 50, 40)], 0, id="a corner at 0"),
    pytest.param([CORNERS, (1, " 0.00 ", 50, 40)], 0, id="0.00"),
    pytest.param([(10, 20, 30, 40), (100, 0.5, 200, 10)], 1, id="0 is part of a number"),
    pytest.param([CORNERS, (-3, 1, 0, 0)], 1, id="below 0, or 0 at the other end"),
    pytest.param([CORNERS, ("", 1, 50, 40)], 1, id="a corner that is empty is not 0"),
]


@pytest.mark.parametrize(("corners", "first"), COUNTED)
def test_what_corners_count_from(
    tmp_path: Path, corners: list[tuple[object, ...]], first: int
) -> None:
    """The second file tells for both, though it is not in the list."""
    texts = {f"Annotations/{n}.xml": xml(obj(*c)) for n, c in zip("ab", corners, strict=True)}
    source = opened(tmp_path, TWO, {TRAIN: "a", **texts}, "train")
    assert source.counted_from == first
    np.testing.assert_array_equal(
        source.read(0).boxes, [np.subtract(np.array(corners[0], float), first)]
    )
    assert source.remarks == (f"{tmp_path}/Annotations: corners are counted from {first}.",)


PNG = encode(NOISE)
SIZES = [
    pytest.param(
        "<size><width>50.0</width><height> 40 </height></size>", PNG, (50, 40), id="given"
    ),
    pytest.param("", PNG, (64, 48), id="none: that of the image"),
    pytest.param("", with_tag(encode(NOISE, ".jpg"), 6), (48, 64), id="as displayed"),
    pytest.param("<size><width>0</width><height>0</height></size>", PNG, (64, 48), id="0"),
    pytest.param("<size><width>50</width></size>", PNG, (64, 48), id="no height"),
    pytest.param("<size><width>w</width><height>h</height></size>", PNG, (64, 48), id="words"),
    pytest.param("<size><width>inf</width><height>9</height></size>", PNG, (64, 48), id="inf"),
    pytest.param("", encode(NOISE, ".bmp"), (64, 48), id="BMP"),
    pytest.param("", b"no image", (1, 1), id="neither, the image is dropped later"),
]


@pytest.mark.parametrize(("size", "image", "expected"), SIZES)
def test_declared_size(tmp_path: Path, size: str, image: bytes, expected: tuple[int, int]) -> None:
    source = opened(tmp_path, "", {"a.png": image, "a.xml": xml(obj(*CORNERS), size=size)})
    assert source.read(0).declared_size == expected


def test_classes_and_flags(tmp_path: Path) -> None:
    objects = (
        obj(1, 1, 2, 2, name="owl", more="<difficult>1</difficult>"),
        obj(3, 3, 4, 4, name=" red fox\n", more="<difficult>0</difficult>"),
        obj(5, 5, 6, 6, name="Owl", more="<difficult>?</difficult><part><bndbox/></part>"),
    )
    source = opened(tmp_path, "a.jpg b.jpg", {"a.xml": xml(*objects), "b.xml": xml()})
    assert source.listed_names == ("Owl", "owl", "red fox")
    record = source.read(0)
    assert (record.class_ids.tolist(), record.difficult.tolist()) == (
        [1, 2, 0],
        [True, False, False],
    )
    np.testing.assert_array_equal(record.boxes, [[0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5]])
    assert source.read(1).boxes.shape == (0, 4)
    source.renumber(["red fox", "elk", "owl", "Owl"])
    assert source.read(0).class_ids.tolist() == [2, 0, 3]


RECORDS = [
    pytest.param(
        xml(obj(1, 2, 3, 4), "<object><name>owl</name></object>"),
        "a.xml, object 1: <xmin> is missing, it must be a number",
        id="no bndbox",
    ),
    pytest.param(xml(obj(1, 2, "", 4)), "a.xml, object 0: <xmax> is '', it must", id="empty"),
    pytest.param(xml(obj(1, 2, 3, "4px")), "a.xml, object 0: <ymax> is '4px'", id="no number"),
    pytest.param(xml(obj(1, "inf", 3, 4)), "a.xml, object 0: <ymin> is 'inf'", id="not finite"),
    pytest.param(
        xml(obj(1, 2, 3, 4), obj(1, 2, 3, 4, name=" ")),
        "a.xml, object 1: no class <name>. Add it, or remove the object.",
        id="no name",
    ),
    pytest.param(
        "<annotation>\n <object></annotation>",
        "a.xml, line 2, column 12: not valid XML (mismatched tag).",
        id="broken",
    ),
    pytest.param("", "a.xml, line 1, column 1: not valid XML (no element found).", id="empty file"),
    pytest.param(
        '<?xml version="1.0" encoding="klingon"?><annotation/>',
        "a.xml: the XML is in an encoding that cannot be read (unknown encoding: klingon). Save",
        id="encoding",
    ),
]


@pytest.mark.parametrize(("text", "what"), RECORDS)
def test_unreadable_records(tmp_path: Path, text: str, what: str) -> None:
    """They are refused when they are read, and the others are not."""
    source = opened(tmp_path, "a.jpg b.jpg b.xml", {"a.xml": text})
    with pytest.raises(ClientError) as caught:
        source.read(0)
    assert str(caught.value).startswith(f"{tmp_path}/{what}")
    np.testing.assert_array_equal(source.read(1).boxes, [BOX])


FAULTS = [
    pytest.param(
        "a.xml b.jpg",
        {},
        "{0}/a.xml: there is no image a (.bmp, .jpeg, .jpg, .png, .webp) "
        "in {0}. Add the image or remove the annotation.",
        id="XML without an image",
    ),
    pytest.param(
        "images/s/a.jpg images/t/a.jpg annots/a.xml",
        {},
        "{0}/annots/a.xml: several images "
        "have that name: s/a.jpg, t/a.jpg. Give them different names, or put",
        id="ambiguous",
    ),
    pytest.param(
        "a.jpg a.png a.xml",
        {},
        "{0}/a.xml: several images have that name: a.jpg, a.png.",
        id="two suffixes",
    ),
    pytest.param("a.xml", {}, "{0} holds no images (JPEG, PNG, WebP, BMP). Give", id="no images"),
    pytest.param(
        "a.jpg", {}, "{0} holds no XML (.xml). Give the folder that has them.", id="no XML"
    ),
    pytest.param(
        "images/a.jpg imgs/b.jpg a.xml",
        {},
        "{0}: several folders could be meant: images, imgs. Keep one of them.",
        id="two folders of images",
    ),
    pytest.param(
        TWO,
        {TRAIN: "a\n\nd\n../b\nd"},
        "{0}/ImageSets/Main/train.txt names images without XML "
        "(2 in all):\n{0}/ImageSets/Main/train.txt, line 3: there is no d.xml in "
        "{0}/Annotations. Add it, or remove the line.\n{0}/ImageSets/Main/train.txt, line 4: "
        "there is no ../b.xml",
        id="listed, but no XML",
    ),
    pytest.param(
        "images/a.jpg annots/a.xml annots/b.xml",
        {TRAIN: "a\nb"},
        "{0}/annots/b.xml: there is no image b (",
        id="listed, but no image",
    ),
    pytest.param(
        TWO,
        {TRAIN: "# none\n"},
        "train.txt names no images. Write one name a line",
        id="empty list",
    ),
    pytest.param(TWO, {TRAIN: b"caf\xe9"}, "train.txt: byte 3 is not UTF-8", id="list in Latin-1"),
]


@pytest.mark.parametrize(("paths", "texts", "what"), FAULTS)
def test_faults(tmp_path: Path, paths: str, texts: dict[str, str | bytes], what: str) -> None:
    with pytest.raises(ClientError) as caught:
        opened(tmp_path, paths, texts, "train")
    assert what.format(tmp_path) in str(caught.value)
