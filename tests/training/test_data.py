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
from sagemaker_object_detection.training import data as channels
from sagemaker_object_detection.training.communicator import Communicator
from tests.training.jobs import make_job
from tests.training.processes import InThreads, communicators, in_all, worlds
from tests.training_job import picture, pictures, write_images, write_recordio


def _with_voc(tmp_path: Path, images: int, class_name: str, **given: object) -> Job:
    """A job with pictures and XML in its only channel, one of which is there twice."""
    job = make_job(tmp_path, ["train"], num_classes=1, mini_batch_size=1, **given)
    folder = job.channels["train"].path
    for number in range(images):
        (folder / f"{number}.jpg").write_bytes(picture(number % (images - 1)).data)
        corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(CORNERS, (2, 2, 9, 9), strict=True))
        (folder / f"{number}.xml").write_text(
            f"<annotation><object><name>{class_name}</name><bndbox>{corners}</bndbox></object>"
            "</annotation>"
        )
    train = with_forms(job.channels)["train"]
    return replace(
        job,
        channels={"train": train, "validation": replace(train, name="validation", form="share")},
    )


CORNERS = ("xmin", "ymin", "xmax", "ymax")


@pytest.mark.parametrize("seed", [0, 1])
def test_a_share_of_train_validates(tmp_path: Path, seed: int) -> None:
    job = _with_voc(tmp_path, 8, "cat", validation_share=0.25, seed=seed)
    data = channels.read_channels(job, Communicator(World()), 1, lambda: False)
    try:
        assert data.class_names() == ("cat",)
        assert {name: tally.images for name, tally in data.tallies.items()} in (
            {"train": 6, "validation": 2},
            {"train": 7, "validation": 1},  # the next would have been the copies
        )
        digests = {n: set(tally.digests.tolist()) for n, tally in data.tallies.items()}
        assert not digests["train"] & digests["validation"]
    finally:
        data.close()


def test_hosts_must_list_the_same_classes(tmp_path: Path) -> None:
    """Each would number its own from 0."""
    jobs = [_with_voc(tmp_path / name, 4, name, validation_share=0.5) for name in ("cat", "dog")]

    def read(communicator: InThreads) -> str:
        with pytest.raises(ClientError) as error:
            channels.read_channels(
                jobs[communicator.world.host_rank], communicator, 1, lambda: False
            )
        return str(error.value)

    for text in in_all(communicators(worlds(2)), read):
        assert "cat" in text
        assert "dog" in text
        assert "class_names" in text


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
                note.write_text(json.dumps({**content, "categories": []}))
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


def test_hosts_whose_names_contradict_each_other(tmp_path: Path) -> None:
    jobs = _distributed(tmp_path, "ShardedByS3Key")
    folder = jobs[0].channels["validation_annotation"].path
    for note in folder.iterdir():
        content = json.loads(note.read_text())
        listed = [{"class_id": i, "name": f"other {i}"} for i in range(3)]
        note.write_text(json.dumps({**content, "categories": listed}))

    def refused(communicator: InThreads) -> str:
        job = jobs[communicator.world.host_rank]
        with pytest.raises(ClientError) as error:
            channels.read_channels(job, communicator, 1, lambda: False)
        return str(error.value)

    for text in in_all(communicators(worlds(2)), refused):
        assert f"'other 0' in {folder}/000.json" in text
        assert f"'{CLASS_NAMES[0]}' in {jobs[1].channels['train_annotation'].path}/000.json" in text


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
    data = channels.read_channels(job, Communicator(World()), 1, lambda: False)
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
    channels.read_channels(job, Communicator(World()), 1, lambda: False).close()
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
    channels.read_channels(job, Communicator(World()), 1, lambda: False).close()
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
