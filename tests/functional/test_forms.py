"""Every form in which data may come, each through a real ./train."""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from sagemaker_object_detection.boxes import from_px
from sagemaker_object_detection.data.labels import pack_label
from sagemaker_object_detection.data.recordio import RecordIOWriter, pack
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.tools import demo_data
from tests import service_artifact, tiny_model
from tests.fifo import MAGIC_BYTES, Feeder, record
from tests.orientation import stored, with_tag
from tests.service_network import Service
from tests.training_job import (
    Picture,
    TrainingJob,
    annotation,
    picture,
    pictures,
    write_images,
    write_recordio,
)

PIPE = {"TrainingInputMode": "Pipe", "ContentType": "application/x-recordio"}
MANIFEST = {**PIPE, "RecordWrapperType": "RecordIO"}
NAMES = demo_data.CLASS_NAMES


def done(job: TrainingJob) -> dict[str, Any]:
    """Run the job to a good end; its data report's channels."""
    assert job.run() == 0, job.log
    assert job.failure is None
    assert "Traceback" not in job.log
    return channels_of(job)


def channels_of(job: TrainingJob) -> dict[str, Any]:
    report = json.loads((job.paths.output_data_dir / "data_report.json").read_text())
    assert (job.paths.output_data_dir / "data_report.html").stat().st_size > 1000
    channels: dict[str, Any] = report["channels"]
    return channels


def refused(job: TrainingJob) -> str:
    """Run the job to the user's fault; the failure's text."""
    assert job.run() == 2, job.log
    assert "Traceback" not in job.log
    assert job.failure is not None
    return job.failure


def model(job: TrainingJob) -> artifact.ModelConfig:
    return artifact.read_config(job.paths.model_dir)


def boxes_of(records: Iterable[Picture]) -> list[int]:
    """Boxes of each class."""
    ids = np.concatenate([record.class_ids for record in records])
    return np.bincount(ids, minlength=len(NAMES)).tolist()


def packed(records: Sequence[Picture], first: int = 0) -> list[bytes]:
    """Payloads as im2rec makes them."""
    return [
        pack(pack_label(from_px(r.boxes_px, *r.size), r.class_ids), first + i, r.data)
        for i, r in enumerate(records)
    ]


@pytest.fixture(scope="module")
def recordio(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    """Two files in sub-folders, with wide headers, `difficult` flags and the magic number inside
    a picture; no .idx; sharded as the platform does for several hosts.
    """
    job = TrainingJob(tmp_path_factory.mktemp("recordio"))
    folder = job.paths.channel_dir("train")
    (folder / "more" / "of it").mkdir(parents=True)
    records = pictures(0, 6)
    with RecordIOWriter(folder / "Birds-Sample.rec") as writer:
        for number, one in enumerate(records[:3]):
            label = pack_label(from_px(one.boxes_px, *one.size), one.class_ids)
            wide = np.concatenate([[4, label[1], 7, 8], label[2:]])
            odd = one.data + bytes(-len(one.data) % 4) + MAGIC_BYTES * 2 + b"end"
            writer.write(pack(wide, number, odd))
    with RecordIOWriter(folder / "more" / "of it" / "part 2.rec") as writer:
        for number, one in enumerate(records[3:]):
            flags = np.arange(len(one.class_ids)) % 2
            label = pack_label(from_px(one.boxes_px, *one.size), one.class_ids, flags)
            writer.write(pack(label, number, one.data))
    for index in folder.rglob("*.idx"):
        index.unlink()
    write_recordio(job.paths.channel_dir("validation"), pictures(20, 3))
    sharded = {"ContentType": "application/x-recordio", "S3DistributionType": "ShardedByS3Key"}
    job.configure(
        {"train": sharded, "validation": "application/x-recordio"},
        num_training_samples=6,
        class_names=",".join(NAMES),
    )
    job.report = done(job)  # type: ignore[attr-defined]
    return job


def test_recordio(recordio: TrainingJob) -> None:
    train = channels_of(recordio)["train"]
    assert train["images"] == 6
    assert train["dropped"] == []
    assert list(train["boxes_per_class"].items()) == list(
        zip(NAMES, boxes_of(pictures(0, 6)), strict=True)
    )
    assert model(recordio).class_names == NAMES  # as the hyperparameter says


def _encodings() -> dict[str, bytes]:
    """One picture of each kind, by the name it is stored under; all are 64 x 48."""
    pixels = np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)
    image = Image.fromarray(pixels)

    def saved(form: str, mode: str = "RGB", **options: object) -> bytes:
        file = io.BytesIO()
        image.convert(mode).save(file, form, **options)
        return file.getvalue()

    jpeg = saved("JPEG")
    deep = cv2.imencode(".png", pixels.astype(np.uint16) * 257)[1].tobytes()
    return {
        "a.jpg": jpeg,
        "sub/b.jpeg": jpeg,
        "sub/deeper/c.JPG": jpeg,
        "d.png": saved("PNG"),
        "png named.jpg": saved("PNG"),
        "f.webp": saved("WEBP"),
        "webp named.png": saved("WEBP"),
        "grey.png": saved("PNG", "L"),
        "grey jpeg.jpg": saved("JPEG", "L"),
        "rgba.png": saved("PNG", "RGBA"),
        "cmyk.jpg": saved("JPEG", "CMYK"),
        "deep.png": deep,
        "palette.png": saved("PNG", "P"),
        "bits.png": saved("PNG", "1"),
        "turned.jpg": with_tag(tiny_model.encoded(stored(pixels, 6), ".jpg"), 6),
        "ünïcode 画.jpg": jpeg,
    }


def test_images_of_every_kind(tmp_path: Path) -> None:
    """In FastFile mode; annotations flat or mirrored, with ids and numbers as they are found."""
    job = TrainingJob(tmp_path)
    images, notes = (job.paths.channel_dir(name) for name in ("train", "train_annotation"))
    for number, (name, data) in enumerate(_encodings().items()):
        path = images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        flat = number % 2 or "/" not in name
        note = notes / (Path(name).name if flat else name)
        note.parent.mkdir(parents=True, exist_ok=True)
        box = {"left": 8, "top": "8.5", "width": 30.25, "height": 30}
        content = {
            "categories": [{"class_id": i, "name": name} for i, name in enumerate(NAMES)],
            "annotations": [{**box, "class_id": str(number % 3)}],
            "image_size": [{"depth": 3, "height": 48, "width": 64}],
            "file": name,
        }
        note.with_suffix(".json").write_text(json.dumps(content))
    empty = {"file": "a.jpg", "image_size": [{"width": 64, "height": 48}], "annotations": []}
    (notes / "a.json").write_text(json.dumps(empty))
    write_images(
        job.paths.channel_dir("validation"),
        job.paths.channel_dir("validation_annotation"),
        pictures(20, 2),
    )
    before = _tree(job.paths.data_dir)
    fast = {"TrainingInputMode": "FastFile", "ContentType": "image/jpeg"}
    channels = ("train", "validation", "train_annotation", "validation_annotation")
    job.configure(dict.fromkeys(channels, fast), num_training_samples=16)
    report = done(job)["train"]
    assert _tree(job.paths.data_dir) == before  # FastFile's folders are read-only
    assert report["images"] == 16
    assert report["dropped"] == []
    assert report["images_without_boxes"] == 1
    assert report["image_sizes"] == [{"width": 64, "height": 48, "images": 16}]
    assert model(job).class_names == NAMES


def _tree(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


CATEGORY_IDS = (90, 1, 17)
"""Of the three classes: their order makes class 1 of the pictures class_id 0, and so on."""


def write_coco(images: Path, notes: Path, records: Sequence[Picture]) -> None:
    """Pictures in a sub-folder with one COCO file, with a crowd on each."""
    boxes, listed = [], []
    for number, one in enumerate(records):
        name = f"{number:012}.jpg"
        path = images / "val2017" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(one.data)
        width, height = one.size
        listed.append({"id": 100 + number, "file_name": name, "width": width, "height": height})
        crowd = {"bbox": [0, 0, width, height], "category_id": 1, "iscrowd": 1}
        boxes.append({"id": len(boxes), "image_id": 100 + number, **crowd})
        corners = zip(one.class_ids, one.boxes_px.tolist(), strict=True)
        for class_id, (left, top, right, bottom) in corners:
            boxes.append(
                {
                    "id": len(boxes),
                    "image_id": 100 + number,
                    "category_id": CATEGORY_IDS[class_id],
                    "bbox": [left, top, right - left, bottom - top],
                    "segmentation": [[left, top, right, top, right, bottom]],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i, "name": n} for i, n in zip(CATEGORY_IDS, NAMES, strict=True)]
    notes.mkdir(parents=True, exist_ok=True)
    content = {"annotations": boxes, "images": listed, "categories": categories}
    (notes / "instances.json").write_text(json.dumps(content))


def _coco_job(base: Path, **hyperparameters: object) -> TrainingJob:
    """A COCO train channel, a validation channel of RecordIO and a test channel of images."""
    job = TrainingJob(base)
    folder = job.paths.channel_dir
    write_coco(folder("train"), folder("train_annotation"), pictures(0, 4))
    order = np.argsort(CATEGORY_IDS)
    ranks = np.argsort(order)
    renamed = [Picture(p.data, p.size, p.boxes_px, ranks[p.class_ids]) for p in pictures(20, 2)]
    write_recordio(folder("validation"), renamed)
    write_images(folder("test"), folder("test_annotation"), renamed)
    for path in folder("test_annotation").iterdir():
        note = json.loads(path.read_text())
        note["categories"] = [{"class_id": i, "name": NAMES[k]} for i, k in enumerate(order)]
        path.write_text(json.dumps(note))
    job.configure(
        {
            "train": "image/jpeg",
            "train_annotation": "application/json",
            "validation": "application/x-recordio",
            "test": "image/jpeg",
            "test_annotation": "application/json",
        },
        **hyperparameters,
    )
    return job


def test_coco_and_a_test_channel(tmp_path: Path) -> None:
    job = _coco_job(tmp_path)
    report = done(job)
    in_order = np.argsort(CATEGORY_IDS)
    names = tuple(NAMES[i] for i in in_order)
    assert model(job).class_names == names
    counts = [boxes_of(pictures(0, 4))[i] for i in in_order]
    assert report["train"]["boxes_per_class"] == dict(zip(names, counts, strict=True))
    assert report["test"]["images"] == 2
    assert report["train"]["dropped"] == []
    (score,) = re.findall(r"epoch=0, test mAP <score>=\((\S+)\)", job.log)
    assert model(job).test["mAP"] == float(score)
    # The same pictures as in the validation channel, which the report points out.
    assert model(job).test["mAP"] == pytest.approx(model(job).validation["mAP"], abs=1e-6)
    assert "Leakage: 2 images of the channel 'test' are in 'validation' too" in job.log


def test_coco_and_num_classes_must_agree(tmp_path: Path) -> None:
    failure = refused(_coco_job(tmp_path, num_classes=4))
    assert "list 3 classes (cube, star, ball), but num_classes is 4" in failure
    assert "Set num_classes to 3" in failure


def manifest_lines(records: Sequence[Picture], prefix: str = "s3://bucket/a") -> str:
    """An augmented manifest of Ground Truth; keys in another order in every second line."""
    lines = []
    for number, one in enumerate(records):
        note = annotation(one)
        for box in note["annotations"]:
            box["left"] += 0.25  # people draw between pixels
        line = {
            "source-ref": f"{prefix}/{number:03}.jpg",
            "bounding-box": note,
            "bounding-box-metadata": {"class-map": class_map(one), "human-annotated": "yes"},
        }
        lines.append(json.dumps(line if number % 2 else dict(reversed(line.items()))))
    return "\n".join(lines) + "\n"


def class_map(one: Picture) -> dict[str, str]:
    return {str(class_id): NAMES[class_id] for class_id in sorted(set(one.class_ids.tolist()))}


def without_boxes(one: Picture) -> Picture:
    return one.with_boxes()


def test_a_manifest_in_file_mode(tmp_path: Path) -> None:
    job = TrainingJob(tmp_path)
    records = [*pictures(0, 3), without_boxes(picture(3))]
    for name, some in (("train", records), ("validation", pictures(20, 2))):
        folder = job.paths.channel_dir(name)
        folder.mkdir(parents=True)
        (folder / "output.manifest").write_text(manifest_lines(some))
        for number, one in enumerate(some):
            (folder / f"{number:03}.jpg").write_bytes(one.data)
    job.configure(dict.fromkeys(("train", "validation"), "application/jsonlines"))
    report = done(job)
    assert report["train"]["images"] == 4
    assert report["train"]["images_without_boxes"] == 1
    assert model(job).class_names == NAMES


def streams(
    train: Sequence[Picture], validation: Sequence[Picture], epochs: int
) -> dict[str, list[bytes]]:
    """What comes through the FIFOs of both channels, shuffled anew for each epoch."""
    result: dict[str, list[bytes]] = {"train": [], "validation": []}
    for epoch in range(epochs):
        turned = [*train[epoch:], *train[:epoch]]
        result["train"].append(b"".join(map(record, packed(turned))))
        result["validation"].append(b"".join(map(record, packed(validation))))
    return result


def feed(job: TrainingJob, fed: Mapping[str, Sequence[bytes]], delay: float = 0.3) -> list[Feeder]:
    job.paths.data_dir.mkdir(parents=True, exist_ok=True)
    return [Feeder(job.paths.channel_dir(n), s, delay) for n, s in fed.items()]


def test_recordio_through_fifos(tmp_path: Path) -> None:
    """They appear late; each epoch has its own, the test channel has one."""
    job = TrainingJob(tmp_path)
    train, validation = pictures(0, 7), pictures(20, 3)
    channels = dict.fromkeys(("train", "validation", "test"), PIPE)
    job.configure(channels, epochs=2, num_training_samples=7)
    fed = {
        **streams(train, validation, 2),
        "test": streams(train, pictures(30, 2), 1)["validation"],
    }
    with_train, with_validation, with_test = feed(job, fed)
    with with_train, with_validation, with_test:
        report = done(job)
        with_train.join()
        with_validation.join()
    assert with_train.left == with_validation.left == []  # read to their ends
    assert report["train"]["images"] == 7
    assert list(report["train"]["boxes_per_class"].values()) == boxes_of(train)
    assert report["validation"]["images"] == 3
    assert report["test"]["images"] == 2
    assert job.log.count("Channel 'train': 7 images") == 1
    seen = re.findall(r'"Total Records Seen": {"sum": (\S+),', job.log)
    assert seen == ["0.0", "7.0", "14.0"]


def test_a_stream_is_scored_as_a_file_is(tmp_path: Path) -> None:
    """Validation from FIFOs, training from a file: the same scores as with both from files."""
    values = []
    for mode in ("File", "Pipe"):
        job = TrainingJob(tmp_path / mode)
        write_recordio(job.paths.channel_dir("train"), pictures(0, 4))
        validation = pictures(20, 3)
        if mode == "File":
            write_recordio(job.paths.channel_dir("validation"), validation)
        job.configure(
            {
                "train": "application/x-recordio",
                "validation": {**PIPE, "TrainingInputMode": mode},
            },
            learning_rate=0.01,
        )
        with Feeder(
            job.paths.channel_dir("validation"),
            [b"".join(map(record, packed(validation)))] if mode == "Pipe" else [],
        ):
            done(job)
        values.append(model(job).validation)
    assert values[1]["mAP"] == pytest.approx(values[0]["mAP"], abs=1e-6)


def test_an_augmented_manifest_through_fifos(tmp_path: Path) -> None:
    """AttributeNames with the metadata, which brings the names of the classes."""
    job = TrainingJob(tmp_path)
    records = [*pictures(0, 3), without_boxes(picture(3))]
    stream = b"".join(
        record(one.data)
        + record(json.dumps(annotation(one)).encode())
        + record(json.dumps({"class-map": class_map(one), "job-name": "labeling-job/x"}).encode())
        for one in records
    )
    write_recordio(job.paths.channel_dir("validation"), pictures(20, 2))
    job.configure({"train": MANIFEST, "validation": "application/x-recordio"})
    with Feeder(job.paths.channel_dir("train"), [stream]):
        report = done(job)
    assert report["train"]["images"] == 4
    assert report["train"]["images_without_boxes"] == 1
    assert model(job).class_names == NAMES


@pytest.mark.parametrize("given", [False, True])
def test_class_maps_that_contradict_each_other_in_a_stream(given: bool, tmp_path: Path) -> None:
    job = TrainingJob(tmp_path)
    stream = b"".join(
        record(one.data)
        + record(json.dumps(annotation(one)).encode())
        + record(json.dumps({"class-map": dict(zip("012", names, strict=True))}).encode())
        for one, names in zip(pictures(0, 2), (NAMES, NAMES[::-1]), strict=True)
    )
    write_recordio(job.paths.channel_dir("validation"), pictures(20, 1))
    names = {"class_names": ",".join(NAMES)} if given else {}
    job.configure({"train": MANIFEST, "validation": "application/x-recordio"}, **names)
    with Feeder(job.paths.channel_dir("train"), [stream]):
        assert job.run() == (0 if given else 2), job.log
    if given:
        assert model(job).class_names == NAMES
    else:
        assert "sample 0 (records 0 to 2) and" in str(job.failure)
        assert "class_names" in str(job.failure)


@pytest.mark.parametrize(
    ("good_epochs", "validated"),
    [
        pytest.param(0, False, id="in the first epoch, whose batches are saved"),
        pytest.param(1, True, id="later: the best model stays"),
    ],
)
def test_what_the_gate_refuses_in_a_stream(
    good_epochs: int, validated: bool, tmp_path: Path
) -> None:
    job = TrainingJob(tmp_path)
    wrong = picture(9).with_boxes((10, 10, 50, 50), class_id=7)
    bad = b"".join(map(record, packed([*pictures(0, 12), wrong])))
    good = b"".join(map(record, packed(pictures(0, 4))))
    write_recordio(job.paths.channel_dir("validation"), pictures(20, 2))
    job.configure(
        {"train": PIPE, "validation": "application/x-recordio"},
        epochs=2,
        num_training_samples=13,
        shuffle_buffer_mib=1,
        mini_batch_size=1,
    )
    with Feeder(job.paths.channel_dir("train"), [good] * good_epochs + [bad]):
        failure = refused(job)
    assert "class_id 7 is not in 0..2" in failure
    assert f"train_{good_epochs}, record 12" in failure
    if validated or (job.paths.model_dir / artifact.MODEL_FILE).exists():
        assert bool(model(job).validation) == validated
    report = json.loads((job.paths.output_data_dir / "data_report.json").read_text())
    assert "class_id 7" in report["refused"][0]


def test_a_fifo_that_is_cut_off(tmp_path: Path) -> None:
    job = TrainingJob(tmp_path)
    stream = b"".join(map(record, packed(pictures(0, 4))))
    write_recordio(job.paths.channel_dir("validation"), pictures(20, 2))
    job.configure({"train": PIPE, "validation": "application/x-recordio"})
    with Feeder(job.paths.channel_dir("train"), [stream[:-1000]]):
        failure = refused(job)
    assert "train_0, record 3" in failure
    assert "ends inside this record" in failure


def _archive(folder: Path, path: Path) -> None:
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w:gz") as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, file.name)


def test_going_on_from_a_model(recordio: TrainingJob, tmp_path: Path) -> None:
    """An archive as the platform brings it; class names come with the model."""
    job = TrainingJob(tmp_path)
    job.recordio(pictures(0, 4), pictures(20, 2), use_pretrained_model=1)
    _archive(recordio.paths.model_dir, job.paths.channel_dir("model") / "model.tar.gz")
    config = json.loads(job.paths.input_data_config_file.read_text())
    config["model"] = {"ContentType": "application/x-sagemaker-model", "TrainingInputMode": "File"}
    job.paths.input_data_config_file.write_text(json.dumps(config))
    done(job)
    for line in (
        "Start training from the model in the model channel.",
        "Found a model archive file. Extracting model.tar.gz",
        "done loading checkpoint",
        "The learning rate rises over the first 6 batches.",
        "use_pretrained_model is ignored",
    ):
        assert line in job.log
    assert model(job).class_names == NAMES


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param({"base_network": "resnet-18"}, ["mobilenet1.0", "resnet-18"], id="network"),
        pytest.param({"num_classes": 5}, ["num_classes", "3", "5"], id="classes"),
    ],
)
def test_a_model_that_does_not_fit(
    given: dict[str, object], told: list[str], recordio: TrainingJob, tmp_path: Path
) -> None:
    job = TrainingJob(tmp_path)
    job.recordio(pictures(0, 4), pictures(20, 2), **given)
    shutil.copytree(recordio.paths.model_dir, job.paths.channel_dir("model"))
    config = json.loads(job.paths.input_data_config_file.read_text())
    job.paths.input_data_config_file.write_text(json.dumps({**config, "model": {}}))
    failure = refused(job)
    assert all(word in failure for word in told)


def test_going_on_from_a_model_of_the_service(tmp_path: Path) -> None:
    """And then from what came of it: it stays the network that it is."""
    service = Service("resnet-50", num_classes=3, image_shape=300, width=0.25)
    written = service_artifact.write(tmp_path / "service", service)
    for name, given in (("first", written), ("second", tmp_path / "first" / "model")):
        job = TrainingJob(tmp_path / name)
        job.recordio(pictures(0, 2), pictures(20, 1), base_network="resnet-50")
        shutil.copytree(given, job.paths.channel_dir("model"))
        config = json.loads(job.paths.input_data_config_file.read_text())
        job.paths.input_data_config_file.write_text(json.dumps({**config, "model": {}}))
        done(job)
        symbol = json.loads((job.paths.model_dir / artifact.SYMBOL_FILE).read_text())
        names = {node["name"] for node in symbol["nodes"]}
        assert "stage4_unit3_conv3_weight" in names
        assert "label" not in names
        assert model(job).validation["epoch"] == 0
