"""The converter as a whole: what lands in the channels, that it is repeatable, what it refuses."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sagemaker_object_detection.tools.formats import READERS, WRITERS

from sagemaker_object_detection.data import annotations, labels, recordio
from sagemaker_object_detection.data.sources import RecordIOSource
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools import cli
from sagemaker_object_detection.tools.conversion import convert, summary
from tests.tools.format_trees import sample, write_tree
from tests.tools.split import MemorySplit, image
from tests.tools.voc_tree import Object, write_voc

CAT: Object = ("cat", (1, 1, 51, 41), False)
DOG: Object = ("dog", (11, 21.3, 31.1, 41), False)
HARD_DOG: Object = ("dog", (11, 21, 31, 41), True)
FLAT: Object = ("cat", (5, 5, 5, 9), False)
SPLITS = [("train", "train"), ("val", "validation")]
BCCD = Path(__file__).resolve().parents[3] / "shared" / "data" / "bccd" / "BCCD"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_voc(
        tmp_path / "voc", {"train": {"b": [DOG, CAT], "a": [FLAT]}, "val": {"c": [], "s/d": [DOG]}}
    )


def records(path: Path) -> list[tuple[labels.DetectionLabel, bytes]]:
    index = recordio.scan(path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        unpacked = [
            recordio.unpack(recordio.read(descriptor, index, k), index.name(k))
            for k in range(len(index))
        ]
    finally:
        os.close(descriptor)
    return [(labels.parse_label(u.label, "a"), u.image) for u in unpacked]


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_recordio(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "deep" / "output"
    convert(source, output, SPLITS)
    assert sorted(content(output)) == [
        "classes.txt",
        "train/classes.txt",
        "train/train.idx",
        "train/train.lst",
        "train/train.rec",
        "validation/classes.txt",
        "validation/validation.idx",
        "validation/validation.lst",
        "validation/validation.rec",
    ]
    for folder in (output, output / "train", output / "validation"):
        assert (folder / "classes.txt").read_text() == "cat\ndog\n"
    (first, picture), (second, _) = records(output / "train" / "train.rec")
    assert picture == (source / "JPEGImages" / "b.jpg").read_bytes()
    assert first.class_ids.tolist() == [1, 0]
    expected = np.array([[10, 20.3, 30.1, 40], [0, 0, 50, 40]]) / [100, 80, 100, 80]
    np.testing.assert_allclose(first.boxes, expected, rtol=1e-6)
    np.testing.assert_allclose(second.boxes, [[0.04, 0.05, 0.04, 0.1]], rtol=1e-6)


def test_recordio_has_labels_of_one_width(tmp_path: Path) -> None:
    """One difficult object anywhere gives all objects the sixth number."""
    source = write_voc(tmp_path / "voc", {"train": {"a": [CAT]}, "val": {"b": [HARD_DOG]}})
    convert(source, tmp_path / "out", SPLITS)
    ((label, _),) = records(tmp_path / "out" / "validation" / "validation.rec")
    assert label.difficult.tolist() == [True]
    payload = (tmp_path / "out" / "train" / "train.rec").read_bytes()[8:]
    assert recordio.unpack(payload, "a").label[:2].tolist() == [2, 6]


def test_sagemaker_json(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    convert(source, output, SPLITS, writer="sagemaker-json")
    assert sorted(content(output)) == [
        "classes.txt",
        "train/a.jpg",
        "train/b.jpg",
        "train_annotation/a.json",
        "train_annotation/b.json",
        "validation/c.jpg",
        "validation/s/d.jpg",
        "validation_annotation/c.json",
        "validation_annotation/s/d.json",
    ]
    picture = output / "validation" / "s" / "d.jpg"
    assert picture.read_bytes() == (source / "JPEGImages" / "s" / "d.jpg").read_bytes()
    text = (output / "validation_annotation" / "s" / "d.json").read_text()
    assert json.loads(text) == {
        "file": "s/d.jpg",
        "image_size": [{"width": 100, "height": 80, "depth": 3}],
        "annotations": [{"class_id": 1, "left": 10, "top": 20.3, "width": 20.1, "height": 19.7}],
        "categories": [{"class_id": 0, "name": "cat"}, {"class_id": 1, "name": "dog"}],
    }
    flat = annotations.parse((output / "train_annotation" / "a.json").read_bytes(), "a")
    np.testing.assert_array_equal(flat.boxes_px, [[4, 4, 4, 8]])


def test_several_splits_into_one_channel(source: Path, tmp_path: Path) -> None:
    data = convert(source, tmp_path / "out", [("train", "train"), ("val", "train")])
    assert [found.name for found in data.channels["train"]] == [
        "b.jpg",
        "a.jpg",
        "c.jpg",
        "s/d.jpg",
    ]


def test_one_split_at_a_time_with_the_same_classes(source: Path, tmp_path: Path) -> None:
    for split in SPLITS:
        convert(source, tmp_path, [split], class_names=["dog", "cat"])
    assert (tmp_path / "classes.txt").read_text() == "dog\ncat\n"


def test_classes_that_differ_from_those_there(source: Path, tmp_path: Path) -> None:
    """The validation split has no cat, so that dog would be 0 there and 1 in training."""
    convert(source, tmp_path, SPLITS[:1])
    with pytest.raises(ClientError, match=r"lists the classes cat, dog, this conversion has dog\."):
        convert(source, tmp_path, SPLITS[1:])
    assert not (tmp_path / "validation").exists()


def test_classes_that_an_editor_saved_are_the_same(source: Path, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_bytes(b"\xef\xbb\xbfcat\r\ndog")
    convert(source, tmp_path, SPLITS)
    assert (tmp_path / "classes.txt").read_bytes() == b"cat\ndog\n"


def test_classes_there_that_cannot_be_read(source: Path, tmp_path: Path) -> None:
    classes = tmp_path / "classes.txt"
    classes.write_bytes(b"k\xe4fer\n")
    with pytest.raises(ClientError, match=r"classes\.txt: byte 1 is not UTF-8 text\. Save"):
        convert(source, tmp_path, SPLITS)
    classes.unlink()
    classes.mkdir()
    with pytest.raises(ClientError, match=r"classes\.txt is a folder\. Remove it"):
        convert(source, tmp_path, SPLITS)
    assert [path.name for path in tmp_path.iterdir() if path != source] == ["classes.txt"]


@pytest.mark.parametrize("there", ["train", "train_annotation"])
def test_channels_are_not_overwritten(source: Path, tmp_path: Path, there: str) -> None:
    (tmp_path / there).mkdir()
    with pytest.raises(ClientError, match=f"{there} is there already. Remove it"):
        convert(source, tmp_path, SPLITS)


@pytest.mark.parametrize(
    "channel", ["", "..", "a/b", "classes.txt", "a b", "a_annotation", "x" * 65]
)
def test_names_that_no_channel_can_have(source: Path, tmp_path: Path, channel: str) -> None:
    with pytest.raises(ClientError, match="cannot be the name of a channel"):
        convert(source, tmp_path / "out", [("train", channel)])


def test_a_split_without_images(tmp_path: Path) -> None:
    for name in ("train", "train_annotation"):
        (tmp_path / "data" / name).mkdir(parents=True)
    with pytest.raises(ClientError, match=r"data: the split 'train' has no annotated images\. Add"):
        convert(tmp_path / "data", tmp_path / "out", SPLITS[:1], reader="sagemaker-json")
    assert not (tmp_path / "out").exists()


def test_images_without_objects_need_class_names(tmp_path: Path) -> None:
    """num_classes=0 would be refused by training only."""
    source = write_voc(tmp_path / "voc", {"train": {"a": []}})
    with pytest.raises(ClientError, match=r"no image has an object, .* Give --classes"):
        convert(source, tmp_path / "out", SPLITS[:1])
    assert not (tmp_path / "out").exists()
    assert convert(source, tmp_path / "out", SPLITS[:1], class_names=["cat"]).class_names == (
        "cat",
    )


def test_nothing_is_left_of_a_conversion_that_fails(tmp_path: Path) -> None:
    """Two pictures that share an annotation: seen only while the second is written."""
    images = [image("b.jpg", "cat"), image("a.jpg"), image("a.png")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(READERS, "voc", lambda *_: MemorySplit(images))
        with pytest.raises(ClientError, match=r"both would be annotated by a\.json. Rename one"):
            convert(tmp_path, tmp_path / "output", SPLITS[:1], writer="sagemaker-json")
    assert list((tmp_path / "output").iterdir()) == []


def test_nothing_is_left_of_a_conversion_that_is_told_to_stop(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(folder: Path, *_: object) -> None:
        (folder / "half").write_text("a file")
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setitem(WRITERS, "recordio", write)
    options = ("--from", "voc", "--split", "train", str(source), str(tmp_path / "output"))
    result = CliRunner().invoke(cli.main, ("convert", *options))
    assert result.exit_code == 128 + signal.SIGTERM
    assert list((tmp_path / "output").iterdir()) == []


@pytest.mark.parametrize(
    ("split", "channel"),
    [
        ("val", "validation"),
        ("val=val", "val"),
        ("train", "train"),
    ],
)
def test_the_channel_of_a_split(source: Path, tmp_path: Path, split: str, channel: str) -> None:
    """Training knows no channel `val`, so that has to be asked for."""
    options = ("--from", "voc", "--split", split, str(source), str(tmp_path / "output"))
    result = CliRunner().invoke(cli.main, ("convert", *options))
    assert result.exit_code == 0, result.output
    assert (tmp_path / "output" / channel / f"{channel}.rec").is_file()


def test_records_keep_the_names_of_their_images(source: Path, tmp_path: Path) -> None:
    """What a message, a report or a gallery says of a record is the file that a user can open."""
    data = convert(source, tmp_path / "output", SPLITS[:1])
    (records,) = (tmp_path / "output" / "train").glob("*.rec")
    names = [str(image.name) for image in data.channels["train"]]
    found = RecordIOSource([records])
    expected = [f"{records}, record {index} ({name})" for index, name in enumerate(names)]
    assert [found.name(index) for index in range(len(found))] == expected
    records.with_suffix(".lst").unlink()
    assert RecordIOSource([records]).name(0).endswith("record 0 (byte 0)")


def test_a_record_that_is_too_large(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordio, "LENGTH_MASK", 1000)
    with pytest.raises(ClientError, match=r"b\.jpg: a record must be under 1001 bytes.*smaller\."):
        convert(source, tmp_path / "output", SPLITS)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
@pytest.mark.parametrize("writer", ["coco", "sagemaker-json"])
def test_images_of_records_get_the_suffix_that_training_reads(
    tmp_path: Path, writer: str, suffix: str
) -> None:
    one = sample(f"a{suffix}", (40, 30), ("dog", (1, 2, 30, 20), False))
    folder = write_tree("recordio", tmp_path / "rec", {"train": [one]})
    convert(folder, tmp_path / "out", SPLITS[:1], reader="recordio", writer=writer)
    data = convert(tmp_path / "out", tmp_path / "again", SPLITS[:1], reader=writer)
    assert [found.name for found in data.channels["train"]] == [f"000000{suffix}"]
    assert next(iter(data.channels["train"])).read_image() == one.data


def test_images_that_training_would_not_find_beside_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = MemorySplit([image("b.JPG", "cat"), image("s/a.tif", "cat")])
    monkeypatch.setitem(READERS, "voc", lambda *_: split)
    with pytest.raises(ClientError, match=r"would be called s/a\.tif\. Store it"):
        convert(tmp_path, tmp_path / "out", SPLITS[:1], writer="sagemaker-json")
    assert list((tmp_path / "out").iterdir()) == []


def test_summary_of_what_is_not_written(tmp_path: Path) -> None:
    split = MemorySplit([image("a.jpg", "cat", difficult=True)], left_out=["Nobody saw b.jpg."])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(READERS, "voc", lambda *_: split)
        text = summary(convert(tmp_path, tmp_path / "output", SPLITS[:1]), tmp_path)
    assert (
        "1 boxes are marked as difficult; only recordio keeps the mark.\nNobody saw b.jpg." in text
    )


def test_summary(source: Path, tmp_path: Path) -> None:
    text = summary(convert(source, tmp_path / "out", SPLITS), tmp_path / "out")
    assert "train            2      3  cat 2, dog 1" in text
    assert "validation       2      1  cat 0, dog 1" in text
    assert "1 images have no objects; training takes them as background." in text
    assert "1 boxes have no area; they were kept" in text
    assert "classes.txt): 0 cat, 1 dog" in text
    assert "num_classes=2 num_training_samples=2" in text


@pytest.mark.skipif(not BCCD.is_dir(), reason="the BCCD data set is not beside the checkout")
def test_real_photographs(tmp_path: Path) -> None:
    """364 pictures of blood cells, 4888 boxes, two of them without area."""
    splits = [(name, name) for name in ("train", "val", "test")]
    data = convert(BCCD, tmp_path / "0", splits)
    assert data.class_names == ("Platelets", "RBC", "WBC")
    packed = bccd_records(tmp_path / "0")
    assert len(packed) == 364
    boxes = np.concatenate([label.boxes for label, _ in packed])
    class_ids = np.concatenate([label.class_ids for label, _ in packed])
    assert np.bincount(class_ids).tolist() == [361, 4155, 372]
    flat = (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
    assert flat.sum() == 2
    assert boxes.min() >= -1 / 480
    assert boxes.max() <= 1


@pytest.mark.skipif(not BCCD.is_dir(), reason="the BCCD data set is not beside the checkout")
def test_real_photographs_by_way_of_other_formats(tmp_path: Path) -> None:
    """VOC to COCO to JSON to RecordIO gives what VOC to RecordIO gives, images in another order."""
    splits = [(name, name) for name in ("train", "val", "test")]
    convert(BCCD, tmp_path / "direct", splits)
    convert(BCCD, tmp_path / "coco", splits, writer="coco")
    convert(tmp_path / "coco", tmp_path / "json", splits, reader="coco", writer="sagemaker-json")
    convert(tmp_path / "json", tmp_path / "rec", splits, reader="sagemaker-json")
    direct, rec = (bccd_records(tmp_path / name) for name in ("direct", "rec"))
    by_image = {picture: label for label, picture in rec}
    assert len(rec) == len(direct) == len(by_image)
    for label, picture in direct:
        other = by_image[picture]
        np.testing.assert_array_equal(other.class_ids, label.class_ids)
        np.testing.assert_allclose(other.boxes, label.boxes, atol=1e-6)


def bccd_records(folder: Path) -> list[tuple[labels.DetectionLabel, bytes]]:
    return [record for path in sorted(folder.glob("*/*.rec")) for record in records(path)]
