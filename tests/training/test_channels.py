"""The channels of a job: what is refused before the time that the gate takes is spent."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.forms import with_forms
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.tools.demo_data import CLASS_NAMES
from sagemaker_object_detection.training import channels
from sagemaker_object_detection.training.communicator import Alone
from tests.training.jobs import make_job
from tests.training.processes import InThreads, communicators, in_all, worlds
from tests.training_job import picture, pictures, write_images, write_recordio


def test_categories_are_compared_before_the_pictures_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"train": ["cat", "dog"], "validation": ["dog", "cat"]}
    job = make_job(tmp_path, [f"{name}{rest}" for name in names for rest in ("", "_annotation")])
    for name, called in names.items():
        (job.channels[name].path / "a.jpg").write_bytes(b"a picture")
        coco = {
            "images": [{"id": 1, "file_name": "a.jpg", "width": 8, "height": 8}],
            "annotations": [],
            "categories": [{"id": i, "name": name} for i, name in enumerate(called)],
        }
        (job.channels[f"{name}_annotation"].path / "coco.json").write_text(json.dumps(coco))
    job = replace(job, channels=with_forms(job.channels))
    monkeypatch.setattr(channels, "survey", lambda *_: pytest.fail("the gate was begun"))
    with pytest.raises(ClientError, match=r"different categories .train: cat, dog; validation"):
        channels.read_channels(job, Alone(World()), 1, lambda: False)


def test_labels_of_another_tool_are_named_once_for_each_channel(tmp_path: Path) -> None:
    names = ("train", "train_annotation", "validation", "validation_annotation")
    job = make_job(tmp_path, names)
    for name in ("train", "validation"):
        for image in ("a", "b"):
            (job.channels[name].path / f"{image}.jpg").write_bytes(b"a picture")
            note = job.channels[f"{name}_annotation"].path / f"{image}.json"
            note.write_text(json.dumps({"shapes": [], "imagePath": f"{image}.jpg"}))
    job = replace(job, channels=with_forms(job.channels))
    with pytest.raises(ClientError) as caught:
        channels.read_channels(job, Alone(World()), 1, lambda: False)
    assert len(caught.value.faults) == 2
    for name, fault in zip(("train", "validation"), caught.value.faults, strict=True):
        assert f"{name}_annotation/a.json is a LabelMe file" in fault


def _distributed(tmp_path: Path, distribution: str) -> list[Job]:
    """A job on two hosts; the second has more pictures, and names that the first has not."""
    jobs = []
    for host in range(2):
        names = ("train", "train_annotation", "validation", "validation_annotation")
        job = make_job(tmp_path / str(host), names, num_classes=3, mini_batch_size=1)
        for name in ("train", "validation"):
            folders = (job.channels[name].path, job.channels[f"{name}_annotation"].path)
            write_images(*folders, pictures(0, 1 + host))
        if host == 0:
            for note in job.channels["train"].path.parent.glob("*_annotation/*.json"):
                content = json.loads(note.read_text())
                note.write_text(json.dumps({**content, "categories": content["categories"][:1]}))
        given = {n: replace(c, distribution=distribution) for n, c in job.channels.items()}
        jobs.append(replace(job, channels=with_forms(given), hosts=("algo-1", "algo-2")))
    return jobs


def test_hosts_with_parts_of_their_own_have_one_set_of_names(tmp_path: Path) -> None:
    jobs = _distributed(tmp_path, "ShardedByS3Key")

    def names(communicator: InThreads) -> tuple[str, ...]:
        job = jobs[communicator.world.host_rank]
        data = channels.read_channels(job, communicator, 1, lambda: False)
        try:
            return data.class_names()
        finally:
            data.close()

    assert in_all(communicators(worlds(2)), names) == [CLASS_NAMES, CLASS_NAMES]


def test_copies_that_are_none(tmp_path: Path) -> None:
    jobs = _distributed(tmp_path, "FullyReplicated")

    def read(communicator: InThreads) -> str:
        job = jobs[communicator.world.host_rank]
        with pytest.raises(ClientError) as error:
            channels.read_channels(job, communicator, 1, lambda: False)
        return str(error.value)

    told = "'train' has 1 usable images on algo-1 and 2 on algo-2, and is FullyReplicated"
    assert all(told in message for message in in_all(communicators(worlds(2)), read))


def test_a_stream_for_several_processes_is_refused_before_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path, ["train", "validation"])
    write_recordio(job.channels["train"].path, pictures(0, 1))
    given = {**job.channels, "validation": replace(job.channels["validation"], mode="Pipe")}
    job = replace(job, channels=with_forms(given))
    monkeypatch.setattr(channels, "survey", lambda *_: pytest.fail("the gate was begun"))
    (_, second) = communicators(worlds(1, local_size=2))
    with pytest.raises(ClientError, match=r"'validation' comes in Pipe mode.* has 2 on this mach"):
        channels.read_channels(job, second, 1, lambda: False)


@pytest.mark.parametrize(
    ("width", "told"),
    [
        pytest.param(350, [], id="wide enough"),
        pytest.param(6, ["label_width is 6, the fullest image needs 17."], id="too small"),
    ],
)
def test_label_width(
    width: int, told: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told, and nothing is lost."""
    job = make_job(tmp_path, ["train", "validation"], num_classes=3, label_width=width)
    boxes = [(5, 5, 50, 50), (20, 20, 90, 90), (40, 9, 80, 60)]
    for name in ("train", "validation"):
        write_recordio(job.channels[name].path, [picture(0).with_boxes(*boxes)])
    job = replace(job, channels=with_forms(job.channels))
    data = channels.read_channels(job, Alone(World()), 1, lambda: False)
    data.close()
    assert data.tallies["train"].boxes_kept == 3
    warnings = [r.getMessage() for r in caplog.records if "fullest" in r.getMessage()]
    assert [text.partition(" Nothing")[0] for text in warnings] == told


def test_an_image_with_far_more_boxes_than_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = make_job(tmp_path, ["train", "validation"], num_classes=3, label_width=10**4)
    box = (5, 5, 50, 50)
    dense = [picture(0).with_boxes(box), picture(1).with_boxes(*[box] * 150), picture(2)]
    write_recordio(job.channels["train"].path, dense)
    write_recordio(job.channels["validation"].path, dense)
    job = replace(job, channels=with_forms(job.channels))
    channels.read_channels(job, Alone(World()), 1, lambda: False).close()
    (text,) = [r.getMessage() for r in caplog.records if "more memory" in r.getMessage()]
    assert re.fullmatch(
        r"Channel 'train': .*data\.rec, record 1.* has 150 boxes, 99 % of the other images have at "
        r"most \d; batches with it need more memory\.",
        text,
    )


def test_a_validation_channel_without_a_box(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = make_job(tmp_path, ["train", "validation"], num_classes=3)
    write_recordio(job.channels["train"].path, pictures(0, 1))
    write_recordio(job.channels["validation"].path, [picture(1).with_boxes()])
    job = replace(job, channels=with_forms(job.channels))
    channels.read_channels(job, Alone(World()), 1, lambda: False).close()
    assert "Channel 'validation' has 1 images and not one box: its mAP means nothing" in caplog.text


def test_images_of_an_epoch(tmp_path: Path) -> None:
    """Of parts of 1 and 2 images on two hosts: 3 in all, planned as twice the larger."""
    jobs = _distributed(tmp_path, "ShardedByS3Key")

    def read(communicator: InThreads) -> tuple[int, int, int, int]:
        job = jobs[communicator.world.host_rank]
        data = channels.read_channels(job, communicator, 1, lambda: False)
        batches = sum(1 for _ in data.loaders["train"].training_epoch(1, 0, 0, None))
        data.close()
        return data.train_images, data.images_by_largest, batches, data.scoring_batch("train")

    assert in_all(communicators(worlds(2)), read) == [(3, 4, 2, 1), (3, 4, 2, 2)]
