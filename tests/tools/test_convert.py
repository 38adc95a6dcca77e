"""The converter as a whole: what lands in the channels, that it is repeatable, what it refuses."""

import json
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from sagemaker_object_detection.data import annotations, labels, recordio
from sagemaker_object_detection.data.sources.record_files import RecordIOSource
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.tools import cli
from sagemaker_object_detection.tools.channel_writers import WRITERS
from sagemaker_object_detection.tools.conversion import convert, summary
from sagemaker_object_detection.tools.findings import Settings, ValidationShare
from tests.tools.format_trees import sample, write_tree
from tests.tools.voc_tree import Object, write_voc

CAT: Object = ("cat", (1, 1, 51, 41), False)
DOG: Object = ("dog", (11, 21.3, 31.1, 41), False)
HARD_DOG: Object = ("dog", (11, 21, 31, 41), True)
FLAT: Object = ("cat", (5, 5, 5, 9), False)
SPLITS = [("train", "train"), ("val", "validation")]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_voc(
        tmp_path / "voc",
        {"train": {"b": [DOG, CAT], "a": [CAT]}, "val": {"c": [], "s/d": [DOG]}},
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


def run(*options: object) -> tuple[int, str]:
    """Exit code and output of the command."""
    result = CliRunner().invoke(cli.main, ["convert", *map(str, options)])
    return result.exit_code, result.output


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
    (second, _), (first, image) = records(output / "train" / "train.rec")
    assert image == (source / "JPEGImages" / "b.jpg").read_bytes()
    assert first.class_ids.tolist() == [1, 0]
    expected = np.array([[10, 20.3, 30.1, 40], [0, 0, 50, 40]]) / [100, 80, 100, 80]
    np.testing.assert_allclose(first.boxes, expected, rtol=1e-6)
    np.testing.assert_allclose(second.boxes, expected[1:], rtol=1e-6)


def test_recordio_has_labels_of_one_width(tmp_path: Path) -> None:
    """One difficult object anywhere gives all objects of the channel the sixth number."""
    source = write_voc(tmp_path / "voc", {"train": {"a": [CAT], "b": [HARD_DOG]}})
    convert(source, tmp_path / "out", SPLITS[:1])
    (first, _), (second, _) = records(tmp_path / "out" / "train" / "train.rec")
    assert [first.difficult.tolist(), second.difficult.tolist()] == [[False], [True]]
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
    image = output / "validation" / "s" / "d.jpg"
    assert image.read_bytes() == (source / "JPEGImages" / "s" / "d.jpg").read_bytes()
    text = (output / "validation_annotation" / "s" / "d.json").read_text()
    assert json.loads(text) == {
        "file": "s/d.jpg",
        "image_size": [{"width": 100, "height": 80, "depth": 3}],
        "annotations": [{"class_id": 1, "left": 10, "top": 20.3, "width": 20.1, "height": 19.7}],
        "categories": [{"class_id": 0, "name": "cat"}, {"class_id": 1, "name": "dog"}],
    }
    one = annotations.parse((output / "train_annotation" / "a.json").read_bytes(), "a")
    np.testing.assert_array_equal(one.boxes_px, [[0, 0, 50, 40]])


def test_what_training_would_drop_is_named_and_not_written(tmp_path: Path) -> None:
    source = write_voc(tmp_path / "voc", {"train": {"b": [DOG, CAT], "a": [FLAT, CAT]}})
    options = ("--from", "voc", "--split", "train", source, tmp_path / "out")
    code, output = run(*options)
    assert code == 2
    assert "a.jpg: zero_area, box 0, class 0, [4.0, 4.0, 4.0, 8.0] px" in output
    assert "--max-dropped-boxes" in output
    code, output = run("--max-dropped-boxes", "0.25", *options)
    assert code == 0, output
    assert "a.jpg: box 0, class 0, [4.0, 4.0, 4.0, 8.0] px" in output
    assert [len(label.boxes) for label, _ in records(tmp_path / "out/train/train.rec")] == [1, 2]


def test_too_many_unusable_images_refuse_the_conversion(source: Path, tmp_path: Path) -> None:
    (source / "JPEGImages" / "b.jpg").write_bytes(b"\xff\xd8 not an image")
    options = ("--from", "voc", "--split", "train", source, tmp_path / "out")
    code, output = run(*options)
    assert code == 2
    assert "b.jpg" in output
    assert not (tmp_path / "out" / "train").exists()
    code, output = run("--max-dropped-images", "0.5", *options)
    assert code == 0, output
    assert len(records(tmp_path / "out/train/train.rec")) == 1


def test_boxes_of_the_stored_image_are_turned(tmp_path: Path) -> None:
    """The size of the stored image, where a tag turns it: the boxes are those of that image."""
    image = cv2.imread(
        str(write_voc(tmp_path / "voc", {"train": {"a": [CAT]}}) / "JPEGImages/a.jpg")
    )
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    tagged = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    (tmp_path / "voc/JPEGImages/a.jpg").write_bytes(tagged)
    findings, _ = convert(tmp_path / "voc", tmp_path / "out", SPLITS[:1])
    ((label, image_bytes),) = records(tmp_path / "out/train/train.rec")
    assert image_bytes == tagged
    # (0, 0, 50, 40) of 100 x 80, a quarter turn clockwise: 80 x 100.
    np.testing.assert_allclose(label.boxes, [[0.5, 0, 1, 0.5]], atol=1e-6)
    assert findings.class_names == ("cat",)


def test_several_splits_into_one_channel(source: Path, tmp_path: Path) -> None:
    convert(source, tmp_path / "out", [("train", "train"), ("val", "train")])
    listed = (tmp_path / "out/train/train.lst").read_text().splitlines()
    assert [line.split("\t")[-1] for line in listed] == ["a.jpg", "b.jpg", "c.jpg", "s/d.jpg"]


def test_one_split_at_a_time_with_the_same_classes(source: Path, tmp_path: Path) -> None:
    for split in SPLITS:
        convert(source, tmp_path, [split], settings=Settings(class_names=("dog", "cat")))
    assert (tmp_path / "classes.txt").read_text() == "dog\ncat\n"


def test_classes_that_differ_from_those_there(source: Path, tmp_path: Path) -> None:
    """Validation has no cat, so that a dog would be 0 there and 1 in training."""
    convert(source, tmp_path, SPLITS[:1])
    with pytest.raises(ClientError, match=r"lists the classes cat, dog, this conversion has dog\."):
        convert(source, tmp_path, SPLITS[1:])
    assert not (tmp_path / "validation").exists()


def test_classes_that_are_not_given(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ClientError, match=r"classes dog, which are not in --classes \(cat\)"):
        convert(source, tmp_path, SPLITS, settings=Settings(class_names=("cat",)))


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


def test_images_without_objects_need_class_names(tmp_path: Path) -> None:
    """num_classes=0 would be refused by training only."""
    source = write_voc(tmp_path / "voc", {"train": {"a": []}})
    with pytest.raises(ClientError, match=r"no image has an object, .* Give --classes"):
        convert(source, tmp_path / "out", SPLITS[:1])
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_of_a_conversion_that_fails(tmp_path: Path) -> None:
    """Two images that share an annotation: seen only while the second is written."""
    box = ("cat", (1.0, 2.0, 30.0, 20.0), False)
    write_tree(
        "coco", tmp_path / "coco", {"train": [sample(n, (40, 30), box) for n in ("a.jpg", "a.png")]}
    )
    with pytest.raises(ClientError, match=r"both would be annotated by a\.json. Rename one"):
        convert(
            tmp_path / "coco", tmp_path / "out", SPLITS[:1], reader="coco", writer="sagemaker-json"
        )
    assert list((tmp_path / "out").iterdir()) == []


def test_nothing_is_left_of_a_conversion_that_is_told_to_stop(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(folder: Path, *_: object) -> None:
        (folder / "half").write_text("a file")
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setitem(WRITERS, "recordio", write)
    code, _ = run("--from", "voc", "--split", "train", source, tmp_path / "output")
    assert code == 128 + signal.SIGTERM
    assert list((tmp_path / "output").iterdir()) == []


@pytest.mark.parametrize(
    ("split", "channel"), [("val", "validation"), ("val=val", "val"), ("train", "train")]
)
def test_the_channel_of_a_split(source: Path, tmp_path: Path, split: str, channel: str) -> None:
    """Training knows no channel `val`, so that has to be asked for."""
    code, output = run("--from", "voc", "--split", split, source, tmp_path / "output")
    assert code == 0, output
    assert (tmp_path / "output" / channel / f"{channel}.rec").is_file()


def test_a_validation_channel_of_a_share_of_train(tmp_path: Path) -> None:
    """The same images with the same seed, others with another; each image in one channel."""
    images = [
        sample(f"{i}.jpg", (40, 30), ("cat", (1, 2, 30, 20), False), seed=i) for i in range(10)
    ]
    write_tree("coco", tmp_path / "coco", {"train": images})

    def held_out(output: str, *options: str) -> list[str]:
        arguments = ("--from", "coco", "--split", "train", *options, tmp_path / "coco")
        code, text = run("--validation-share", "0.3", *arguments, tmp_path / output)
        assert code == 0, text
        names = []
        for channel in ("train", "validation"):
            lines = (tmp_path / output / channel / f"{channel}.lst").read_text().splitlines()
            names.append([line.split("\t")[-1] for line in lines])
        assert sorted(names[0] + names[1]) == [one.name for one in images]
        assert len(names[1]) == 3
        return names[1]

    assert held_out("a") == held_out("b", "--seed", "0")
    assert held_out("a1", "--seed", "1") != held_out("a2", "--seed", "2")


def test_a_share_needs_a_channel_train_and_no_validation(source: Path, tmp_path: Path) -> None:
    for splits, said in ((SPLITS, "a channel validation already"), (SPLITS[1:], "none")):
        with pytest.raises(ClientError, match=said):
            convert(source, tmp_path / "out", splits, validation=ValidationShare(0.2))


def test_records_keep_the_names_of_their_images(source: Path, tmp_path: Path) -> None:
    """What a message, a report or a gallery says of a record is the file that a user can open."""
    convert(source, tmp_path / "output", SPLITS[:1])
    (path,) = (tmp_path / "output" / "train").glob("*.rec")
    found = RecordIOSource([path])
    expected = [f"{path}, record {i} ({name})" for i, name in enumerate(("a.jpg", "b.jpg"))]
    assert [found.name(index) for index in range(len(found))] == expected
    path.with_suffix(".lst").unlink()
    assert RecordIOSource([path]).name(0).endswith("record 0 (byte 0)")


def test_a_record_that_is_too_large(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordio, "LENGTH_MASK", 1000)
    with pytest.raises(ClientError, match=r"a\.jpg: a record must be under 1001 bytes.*smaller\."):
        convert(source, tmp_path / "output", SPLITS)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_images_of_records_get_the_suffix_that_training_reads(tmp_path: Path, suffix: str) -> None:
    one = sample(f"a{suffix}", (40, 30), ("dog", (1, 2, 30, 20), False))
    folder = write_tree("recordio", tmp_path / "rec", {"train": [one]})
    convert(folder, tmp_path / "out", SPLITS[:1], reader="recordio", writer="sagemaker-json")
    assert (tmp_path / "out" / "train" / f"000000{suffix}").read_bytes() == one.data


def test_images_that_training_would_not_find_beside_json(tmp_path: Path) -> None:
    box = ("cat", (1.0, 2.0, 30.0, 20.0), False)
    folder = write_tree("coco", tmp_path / "coco", {"train": [sample("s/a.jpg", (40, 30), box)]})
    odd = folder / "train2017" / "s" / "a.picture"
    (folder / "train2017" / "s" / "a.jpg").rename(odd)
    notes = folder / "annotations" / "instances_train2017.json"
    notes.write_text(notes.read_text().replace("a.jpg", "a.picture"))
    with pytest.raises(ClientError, match=r"s/a\.picture"):
        convert(folder, tmp_path / "out", SPLITS[:1], reader="coco", writer="sagemaker-json")
    assert not list((tmp_path / "out").glob("*"))


def test_summary(source: Path, tmp_path: Path) -> None:
    text = summary(*convert(source, tmp_path / "out", SPLITS), tmp_path / "out")
    assert f"classes ({tmp_path / 'out' / 'classes.txt'}): 0 cat, 1 dog" in text
    assert "num_classes=2 num_training_samples=2" in text
