"""Sources: records over several files, and which annotation belongs to which image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sagemaker_object_detection.data import labels, recordio
from sagemaker_object_detection.data.annotations import AnnotationError
from sagemaker_object_detection.data.recordio import RecordIOError
from sagemaker_object_detection.data.sources import (
    ImageSource,
    Pair,
    RecordIOSource,
    open_source,
    pair_files,
)
from sagemaker_object_detection.platform.channels import Channel
from sagemaker_object_detection.platform.errors import ClientError
from tests.data.samples import BOX, HEIGHT, WIDTH, Sample, plain, write_images, write_records


def numbered(levels: Sequence[int]) -> list[Sample]:
    """Records that can be told apart by image and class."""
    return [Sample(plain((level, 0, 0)), [BOX], [level]) for level in levels]


def channel(name: str, path: Path) -> Channel:
    return Channel(name, path, None, "File", "FullyReplicated")


def test_records_of_several_files(tmp_path: Path) -> None:
    paths = [
        write_records(tmp_path / "a.rec", numbered([0, 1])),
        write_records(tmp_path / "b.rec", numbered([2])),
        write_records(tmp_path / "c.rec", numbered([3, 4])),
    ]
    source = RecordIOSource(paths)
    assert len(source) == 5
    for index in range(5):
        record = source.read(index)
        assert record.class_ids.tolist() == [index]
        assert record.image == source.read_image(index) == plain((index, 0, 0))
        np.testing.assert_allclose(record.boxes, [BOX])
        assert record.declared_size is None
    names = [source.name(index) for index in range(5)]
    assert [name.split(" (")[0] for name in names] == [
        f"{tmp_path}/a.rec, record 0",
        f"{tmp_path}/a.rec, record 1",
        f"{tmp_path}/b.rec, record 0",
        f"{tmp_path}/c.rec, record 0",
        f"{tmp_path}/c.rec, record 1",
    ]


def test_many_threads_read_one_source(tmp_path: Path) -> None:
    source = RecordIOSource([write_records(tmp_path / "a.rec", numbered(range(50)))])
    with ThreadPoolExecutor(8) as pool:
        records = list(pool.map(source.read, list(range(50)) * 4))
    assert [int(record.class_ids[0]) for record in records] == list(range(50)) * 4


def test_difficult_flags_are_read(tmp_path: Path) -> None:
    with recordio.RecordIOWriter(tmp_path / "a.rec") as writer:
        label = labels.pack_label([BOX, BOX], [0, 1], [True, False])
        writer.write(recordio.pack(label, 0, plain((0, 0, 0))))
    assert RecordIOSource([tmp_path / "a.rec"]).read(0).difficult.tolist() == [True, False]


def test_broken_framing_is_found_when_the_source_is_opened(tmp_path: Path) -> None:
    good = write_records(tmp_path / "a.rec", numbered([0, 1]))
    bad = write_records(tmp_path / "b.rec", numbered([0, 1, 2]))
    bad.write_bytes(bad.read_bytes()[:-9])
    with pytest.raises(RecordIOError, match=r"b\.rec, record 2 \(byte \d+\): the file ends"):
        RecordIOSource([good, bad])


def test_label_that_is_none_names_its_record(tmp_path: Path) -> None:
    with recordio.RecordIOWriter(tmp_path / "a.rec") as writer:
        writer.write(recordio.pack([2, 5, 0, *BOX], 0, b"image"))
        writer.write(recordio.pack([2, 5, 0.5, *BOX], 1, b"image"))
    source = RecordIOSource([tmp_path / "a.rec"])
    source.read(0)
    with pytest.raises(RecordIOError, match=r"a\.rec, record 1 \(byte \d+\): object 0 is \[0\.5"):
        source.read(1)


def test_a_read_only_channel_gains_no_file(tmp_path: Path) -> None:
    path = write_records(tmp_path / "train" / "a.rec", numbered([0]))
    path.with_suffix(".idx").unlink()
    path.parent.chmod(0o555)
    try:
        source, lonely = open_source({"train": channel("train", path.parent)}, "train", "recordio")
        assert source.read(0).class_ids.tolist() == [0]
    finally:
        path.parent.chmod(0o755)
    assert lonely == ()
    assert [one.name for one in path.parent.iterdir()] == ["a.rec"]


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    images, notes = tmp_path / "train", tmp_path / "train_annotation"
    images.mkdir()
    notes.mkdir()
    return images, notes


def touch(folder: Path, names: str) -> None:
    for name in names.split():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def described(folders: tuple[Path, Path]) -> tuple[list[str], list[str]]:
    """`image=annotation` of every pair and the lonely images, relative to their folders."""
    images, notes = folders
    pairs, lonely = pair_files(images, notes)
    assert [pair.image for pair in pairs] == [images / pair.image_name for pair in pairs]
    return (
        [f"{pair.image_name}={pair.annotation.relative_to(notes)}" for pair in pairs],
        [str(Path(one).relative_to(images)) for one in lonely],
    )


PAIRED = [
    pytest.param("a.jpg", "a.json", "a.jpg=a.json", "", id="same name"),
    pytest.param(
        "b.png a.jpg c.jpeg d.JPG",
        "a.json d.JSON c.json b.json",
        "a.jpg=a.json b.png=b.json c.jpeg=c.json d.JPG=d.JSON",
        "",
        id="every suffix, in any case; ordered by image",
    ),
    pytest.param("s/a.jpg", "s/a.json", "s/a.jpg=s/a.json", "", id="the same sub-folder"),
    pytest.param(
        "s/a.jpg t/u/b.jpg",
        "a.json b.json",
        "s/a.jpg=a.json t/u/b.jpg=b.json",
        "",
        id="images in sub-folders, annotations flat",
    ),
    pytest.param("a.jpg", "s/a.json", "a.jpg=s/a.json", "", id="annotations in a sub-folder"),
    pytest.param(
        "s/a.jpg t/a.jpg",
        "s/a.json t/a.json",
        "s/a.jpg=s/a.json t/a.jpg=t/a.json",
        "",
        id="one name in two sub-folders",
    ),
    pytest.param(
        "a.jpg s/a.jpg", "a.json", "a.jpg=a.json", "s/a.jpg", id="the same place goes first"
    ),
    pytest.param(
        "2020.01.jpg 2020.02.jpg",
        "2020.01.json 2020.02.json",
        "2020.01.jpg=2020.01.json 2020.02.jpg=2020.02.json",
        "",
        id="dots in the name",
    ),
    pytest.param("a.jpg c.jpg b.jpg", "b.json", "b.jpg=b.json", "a.jpg c.jpg", id="lonely images"),
    pytest.param("a.jpg a.png", "", "", "a.jpg a.png", id="one name, but nothing to share"),
    pytest.param(
        "a.jpg .DS_Store", "a.json .a.json", "a.jpg=a.json", "", id="hidden files do not count"
    ),
    pytest.param(
        "a.jpg", "a.json README.md a.txt", "a.jpg=a.json", "", id="other files do not count"
    ),
    pytest.param("", "", "", "", id="nothing"),
]


@pytest.mark.parametrize(("images", "notes", "pairs", "lonely"), PAIRED)
def test_pairing(
    folders: tuple[Path, Path], images: str, notes: str, pairs: str, lonely: str
) -> None:
    touch(folders[0], images)
    touch(folders[1], notes)
    assert described(folders) == (pairs.split(), lonely.split())


UNPAIRED = [
    pytest.param(
        "a.jpg", "a.json b.json", "b.json: there is no image b (", id="annotation without image"
    ),
    pytest.param(
        "b.jpg", "a.json b.json", "a.json: there is no image a (", id="whatever the order"
    ),
    pytest.param(
        "a.jpg a.png",
        "a.json",
        "a.json: several images have that name: a.jpg, a.png.",
        id="two images of one name",
    ),
    pytest.param(
        "s/a.jpg t/a.jpg",
        "a.json",
        "a.json: several images have that name: s/a.jpg, t/a.jpg.",
        id="a flat annotation of two images",
    ),
    pytest.param(
        "s/a.jpg",
        "s/a.json a.json",
        "/a.json: the image",
        id="annotated twice, the flat one is odd",
    ),
    pytest.param(
        "t/a.jpg",
        "s/a.json t/a.json",
        "s/a.json: the image",
        id="annotated twice, the other folder's is odd",
    ),
]


@pytest.mark.parametrize(("images", "notes", "fault"), UNPAIRED)
def test_pairing_is_refused(
    folders: tuple[Path, Path], images: str, notes: str, fault: str
) -> None:
    touch(folders[0], images)
    touch(folders[1], notes)
    with pytest.raises(ClientError) as caught:
        pair_files(*folders)
    heading, line, *others = str(caught.value).splitlines()
    assert heading == "Annotations and images of train do not match (1 in all):"
    assert line.startswith(str(folders[1]))
    assert fault in line
    assert others == []


def test_ten_offenders_are_listed(folders: tuple[Path, Path]) -> None:
    touch(folders[1], " ".join(f"{number:02}.json" for number in range(13)))
    with pytest.raises(ClientError) as caught:
        pair_files(*folders)
    heading, *lines = str(caught.value).splitlines()
    assert "(13 in all)" in heading
    assert [line.split(": ")[0] for line in lines[:10]] == [
        str(folders[1] / f"{number:02}.json") for number in range(10)
    ]
    assert lines[10:] == ["... and 3 more."]


def test_images_with_annotations(folders: tuple[Path, Path]) -> None:
    images, notes = folders
    samples = [
        Sample(plain((9, 0, 0)), [BOX, (0, 0, 1, 1)], [3, 1]),
        Sample(boxes=[], class_ids=[]),
    ]
    write_images(images, notes, samples)
    channels = {
        "train": channel("train", images),
        "train_annotation": channel("train_annotation", notes),
    }
    source, lonely = open_source(channels, "train", "image")
    assert isinstance(source, ImageSource)
    assert lonely == ()
    assert len(source) == 2
    assert source.name(0) == str(images / "0000.png")
    record = source.read(0)
    assert record.declared_size == (WIDTH, HEIGHT)
    np.testing.assert_allclose(record.boxes, [(16, 12, 48, 24), (0, 0, WIDTH, HEIGHT)])
    assert record.class_ids.tolist() == [3, 1]
    assert record.difficult.tolist() == [False, False]
    assert record.image == source.read_image(0) == plain((9, 0, 0))
    assert source.read(1).boxes.shape == (0, 4)


def test_class_names_are_collected(folders: tuple[Path, Path]) -> None:
    images, notes = folders
    pairs = []
    for name, categories in {
        "a": [{"class_id": 0, "name": "dog"}, {"class_id": 1, "name": "cat"}],
        "b": [{"class_id": 0, "name": "hound"}],
        "c": None,
    }.items():
        (images / f"{name}.png").write_bytes(plain((0, 0, 0)))
        note = Sample().annotation() | {"categories": categories}
        (notes / f"{name}.json").write_text(json.dumps(note))
        pairs.append(Pair(f"{name}.png", images / f"{name}.png", notes / f"{name}.json"))
    source = ImageSource(pairs)
    for index in range(3):
        source.read(index)
    assert source.class_names == {0: {"dog", "hound"}, 1: {"cat"}}


def test_unreadable_annotation_names_its_file(folders: tuple[Path, Path]) -> None:
    images, notes = folders
    write_images(images, notes, [Sample()])
    (notes / "0000.json").write_text('{"image_size": [}')
    source = ImageSource(pair_files(images, notes)[0])
    with pytest.raises(AnnotationError, match=r"0000\.json, line 1, column 17: not valid JSON"):
        source.read(0)


def test_files_are_closed_with_the_source(tmp_path: Path) -> None:
    def opened() -> list[Path]:
        links = (link for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
        return [target for link in links if (target := link.readlink()).parent == tmp_path]

    path = write_records(tmp_path / "a.rec", numbered([0]))
    source = RecordIOSource([path])
    assert opened() == [path]
    del source
    assert opened() == []
