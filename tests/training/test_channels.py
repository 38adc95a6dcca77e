"""The channels of a job: what is refused before the time that the gate takes is spent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.forms import with_forms
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training import channels
from sagemaker_object_detection.training.communicator import Alone
from tests.training.jobs import make_job


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
