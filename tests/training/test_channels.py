"""The channels of a job: what is refused before the time that the gate takes is spent."""

from __future__ import annotations

import json
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
from tests.training_job import pictures, write_images


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


def _distributed(tmp_path: Path, distribution: str) -> list[Job]:
    """A job on two hosts; the second has more pictures, and names that the first has not."""
    jobs = []
    for host in range(2):
        names = ("train", "train_annotation", "validation", "validation_annotation")
        job = make_job(tmp_path / str(host), names, num_classes=3)
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
