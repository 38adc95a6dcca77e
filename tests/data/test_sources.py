"""Sources: records over several files, and which source reads which form of channel."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagemaker_object_detection.data import labels, recordio
from sagemaker_object_detection.data.recordio import RecordIOError
from sagemaker_object_detection.data.sources import (
    RecordIOSource,
    categories,
    open_source,
    open_sources,
)
from sagemaker_object_detection.data.sources.coco import CocoSource
from sagemaker_object_detection.data.sources.image_pairs import ImageSource, json_pairs
from sagemaker_object_detection.data.sources.manifest import ManifestSource
from sagemaker_object_detection.platform.channels import Channel, Form
from sagemaker_object_detection.platform.errors import ClientError
from tests.data.mutation import damaged
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
)


def numbered(levels: Sequence[int]) -> list[Sample]:
    """Records that can be told apart by image and class."""
    return [Sample(plain((level, 0, 0)), [BOX], [level]) for level in levels]


def channels(tmp_path: Path, form: Form, *names: str) -> dict[str, Channel]:
    """Channels of one form in folders of their names."""
    for name in names:
        (tmp_path / name).mkdir(exist_ok=True)
    return {name: Channel(name, tmp_path / name, form=form) for name in names}


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
        source = open_source(channels(tmp_path, "recordio", "train"), "train")
        assert source.read(0).class_ids.tolist() == [0]
    finally:
        path.parent.chmod(0o755)
    assert (source.found_names.places, source.unannotated) == ({}, ())
    assert [one.name for one in path.parent.iterdir()] == ["a.rec"]


def test_files_are_closed_with_the_source(tmp_path: Path) -> None:
    def opened() -> list[Path]:
        links = (link for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
        return [target for link in links if (target := link.readlink()).parent == tmp_path]

    path = write_records(tmp_path / "a.rec", numbered([0]))
    source = RecordIOSource([path])
    assert opened() == [path]
    del source
    assert opened() == []


RECORDS = [
    pytest.param(lambda p: write_records(p / "x.rec", numbered([0, 1])), [0, 1], id="any name"),
    pytest.param(
        lambda p: [
            write_records(p / name, numbered([level]))
            for level, name in enumerate(["a.rec", "deep/er/b.rec", "deep/c.REC"])
        ],
        [0, 2, 1],
        id="several files, in sub-folders, in the order of their paths",
    ),
    pytest.param(
        lambda p: packed(p / "a.rec", [4, 5, 640, 480, 0, *BOX, 1, *BOX], [2, 5, 2, *BOX]),
        [0, 1, 2],
        id="a header of more than the two widths",
    ),
    pytest.param(
        lambda p: packed(p / "a.rec", [2, 6, 0, *BOX, 1, 1, *BOX, 0], [3, 6, 9, 2, *BOX, 1]),
        [0, 1, 2],
        id="difficult flags: objects of six numbers",
    ),
    pytest.param(
        lambda p: packed(p / "a.rec", [2, 5, 1, *BOX], image=b"1234" + MAGIC * 2 + b"56"),
        [1],
        id="split records: the magic number inside of the image",
    ),
    pytest.param(
        lambda p: write_records(p / "a.rec", numbered([3])).with_suffix(".idx").unlink(),
        [3],
        id="no .idx file",
    ),
    pytest.param(
        lambda p: write_records(p / "a.rec", numbered([3])).with_suffix(".idx").write_text("junk"),
        [3],
        id="a wrong .idx file",
    ),
]
MAGIC = recordio.MAGIC.to_bytes(4, "little")


def packed(path: Path, *vectors: Sequence[float], image: bytes = b"image") -> None:
    with recordio.RecordIOWriter(path) as writer:
        for number, vector in enumerate(vectors):
            writer.write(recordio.pack(vector, number, image))


@pytest.mark.parametrize(("write", "class_ids"), RECORDS)
def test_forms_of_recordio(
    tmp_path: Path, write: Callable[[Path], object], class_ids: list[int]
) -> None:
    given = channels(tmp_path, "recordio", "train")
    write(tmp_path / "train")
    source = open_source(given, "train")
    records = [source.read(index) for index in range(len(source))]
    assert [int(one) for record in records for one in record.class_ids] == class_ids
    for record in records:
        np.testing.assert_allclose(record.boxes, [BOX] * len(record.boxes))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_records_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Bits flipped, words replaced, parts cut out and doubled: records or ClientErrors."""
    path = tmp_path_factory.getbasetemp() / "damaged.rec"
    packed(path, [2, 5, 1, *BOX], [2, 6, 0, *BOX, 1, 1, *BOX, 0], image=b"1234" + MAGIC + b"567")
    path.write_bytes(damaged(data, path.read_bytes()))
    faults = []
    try:
        source = RecordIOSource([path])
    except ClientError as error:
        faults.append(str(error))
    else:
        for index in range(len(source)):
            try:
                record = source.read(index)
            except ClientError as error:
                faults.append(str(error))
                continue
            assert record.boxes.shape == (len(record.class_ids), 4)
            assert np.isfinite(record.boxes).all()
            assert (np.abs(record.class_ids) <= 1e7).all()
            assert record.image
    assert all(fault.startswith(str(path)) for fault in faults)


def test_a_split_record_gives_its_image_as_it_was(tmp_path: Path) -> None:
    image = b"1234" + MAGIC * 2 + b"56" + MAGIC
    packed(tmp_path / "a.rec", [2, 5, 1, *BOX], image=image)
    assert (tmp_path / "a.rec").read_bytes().count(MAGIC) == 3 + 1  # frames; one is not aligned
    assert RecordIOSource([tmp_path / "a.rec"]).read(0).image == image


SAMPLES = [
    Sample(plain((9, 0, 0)), [BOX, (0, 0, 1, 1)], [1, 0]),
    Sample(plain((0, 9, 0)), [], []),
]


def write_pairs(tmp_path: Path) -> None:
    write_images(tmp_path / "train", tmp_path / "train_annotation", SAMPLES)


def write_coco_beside(tmp_path: Path) -> None:
    write_coco(tmp_path / "train", tmp_path / "train_annotation" / "instances.json", SAMPLES)


def write_coco_inside(tmp_path: Path) -> None:
    write_coco(tmp_path / "train", tmp_path / "train" / "_annotations.coco.json", SAMPLES)


def write_manifest_beside(tmp_path: Path) -> None:
    write_manifest(tmp_path / "train", tmp_path / "train_annotation" / "a.manifest", SAMPLES)


def write_manifest_inside(tmp_path: Path) -> None:
    write_manifest(tmp_path / "train", tmp_path / "train" / "a.jsonl", SAMPLES)


FORMS = [
    pytest.param("image", write_pairs, ImageSource, True, id="an annotation file for each image"),
    pytest.param("coco", write_coco_beside, CocoSource, True, id="COCO"),
    pytest.param("coco", write_coco_inside, CocoSource, False, id="COCO file beside the images"),
    pytest.param("manifest", write_manifest_beside, ManifestSource, True, id="manifest"),
    pytest.param(
        "manifest", write_manifest_inside, ManifestSource, False, id="manifest beside the images"
    ),
]


@pytest.mark.parametrize(("form", "write", "kind", "annotated"), FORMS)
def test_all_forms_give_the_same_records(
    tmp_path: Path, form: Form, write: Callable[[Path], object], kind: type, annotated: bool
) -> None:
    names = ["train", "train_annotation"][: 1 + annotated]
    given = channels(tmp_path, form, *names)
    write(tmp_path)
    source = open_source(given, "train")
    assert isinstance(source, kind)
    assert len(source) == 2
    for index, sample in enumerate(SAMPLES):
        record = source.read(index)
        assert record.declared_size == (WIDTH, HEIGHT)
        boxes = np.reshape(sample.boxes, (-1, 4)) * (WIDTH, HEIGHT, WIDTH, HEIGHT)
        assert record.boxes.dtype == np.float64
        np.testing.assert_allclose(record.boxes, boxes)
        assert record.class_ids.tolist() == list(sample.class_ids)
        assert record.class_ids.dtype == np.int64
        assert record.difficult.tolist() == [False] * len(boxes)
        assert record.image == source.read_image(index) == sample.image
        assert f"{tmp_path / 'train' / f'{index:04}.png'}" in source.name(index)
    assert list(source.unannotated) == []


def test_num_classes_must_agree_with_coco(tmp_path: Path) -> None:
    given = channels(tmp_path, "coco", "train", "train_annotation")
    write_coco_beside(tmp_path)
    with pytest.raises(ClientError) as caught:
        open_sources(given, ["train"], 3)
    assert str(caught.value) == (
        "The annotations of train list 2 classes (class 0, class 1), but num_classes is 3. Set "
        "num_classes to 2, or correct the list of classes."
    )


@pytest.mark.parametrize("on", ["train", "train_annotation"], ids=["images", "manifest"])
def test_attribute_names_of_the_channel_count(on: str, tmp_path: Path) -> None:
    """They may stand at the channel of the manifest, too."""
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.png").write_bytes(plain((0, 0, 0)))
    line = {
        "image": "s3://b/a.png",
        "x": {},
        "y": Sample().annotation(),
        "z": Sample().annotation(),
    }
    (tmp_path / on).mkdir(exist_ok=True)
    (tmp_path / on / "a.manifest").write_text(json.dumps(line))
    given = {"train": Channel("train", tmp_path / "train", form="manifest")}
    given[on] = Channel(on, tmp_path / on, form="manifest", attribute_names=("image", "y"))
    assert open_source(given, "train").read(0).class_ids.tolist() == [0]


@pytest.mark.parametrize(
    ("form", "write"), [("coco", write_coco_beside), ("manifest", write_manifest_beside)]
)
def test_images_that_the_list_leaves_out_are_said(
    form: Form,
    write: Callable[[Path], None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write(tmp_path)
    given = channels(tmp_path, form, "train", "train_annotation")
    open_sources(given, ["train"], None)
    assert caplog.messages == []
    for name in ("more.jpg", "more.PNG", "classes.txt"):
        (tmp_path / "train" / name).write_bytes(b"")
    caplog.set_level("INFO")
    open_sources(given, ["train"], None)
    (message,) = caplog.messages
    assert "'train': 2 images are not used, since" in message


def test_the_faults_of_all_channels_come_together(tmp_path: Path) -> None:
    given = channels(tmp_path, "recordio", "train", "validation", "test")
    for name in given:
        write_records(tmp_path / name / "a.rec", numbered([0, 1]))
    for name in ("train", "test"):
        (tmp_path / name / "a.rec").write_bytes(b"no RecordIO")
    with pytest.raises(ClientError) as caught:
        open_sources(given, ["train", "validation", "test"], 2)
    assert [fault.split(", record 0")[0] for fault in caught.value.faults] == [
        f"{tmp_path}/train/a.rec",
        f"{tmp_path}/test/a.rec",
    ]
    sources = open_sources(given, ["validation"], 2)
    assert {name: len(source) for name, source in sources.items()} == {"validation": 2}


def test_coco_files_with_other_lists_are_merged_by_name(tmp_path: Path) -> None:
    """A class_id is a place in the merged list; other forms have none."""
    given = channels(tmp_path, "coco", "train", "validation")
    given |= channels(tmp_path, "recordio", "test")
    for name, class_ids in (("train", [0, 1]), ("validation", [0, 2])):
        sample = Sample(plain((0, 0, 0)), [BOX, BOX], class_ids)
        write_coco(tmp_path / name, tmp_path / name / "coco.json", [sample])
    write_records(tmp_path / "test" / "a.rec", numbered([0]))
    sources = open_sources(given, ["train", "test"], 2)
    assert categories(sources) == {"train": ("class 0", "class 1")}
    with pytest.raises(ClientError, match=r"list 3 classes \(class 0, class 1, class 2\), but"):
        open_sources(given, ["train", "validation"], 2)
    sources = open_sources(given, ["train", "validation"], 3)
    assert [s.read(0).class_ids.tolist() for s in sources.values()] == [[0, 1], [0, 2]]
    assert set(categories(sources).values()) == {("class 0", "class 1", "class 2")}
    sources = open_sources(given, ["validation"], None, ["class 2", "class 1", "class 0"])
    assert sources["validation"].read(0).class_ids.tolist() == [2, 0]


@pytest.mark.parametrize("form", ["coco", "manifest"])
def test_a_file_that_has_gone(tmp_path: Path, form: Form) -> None:
    given = channels(tmp_path, form, "train", "train_annotation")
    with pytest.raises(ClientError, match=f"'train': its {form} file is no longer there"):
        open_source(given, "train")


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda images, file: CocoSource(images, file), id="COCO"),
        pytest.param(lambda images, file: ManifestSource(images, file, ()), id="manifest"),
        pytest.param(lambda images, file: json_pairs(images, file.parent), id="a doubtful pair"),
    ],
)
def test_a_list_that_the_system_fails_to_read_is_named(
    read: Callable[[Path, Path], object], tmp_path: Path
) -> None:
    """What fails by itself is the memory of a process."""
    (tmp_path / "images").mkdir()
    file = tmp_path / "notes" / "a.json"
    file.parent.mkdir()
    file.symlink_to("/proc/self/mem")
    with pytest.raises(OSError, match="Input/output error") as caught:
        read(tmp_path / "images", file)
    assert caught.value.filename == str(file)


def test_a_stream_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="form pipe cannot be read record by record"):
        open_source(channels(tmp_path, "pipe", "train"), "train")
