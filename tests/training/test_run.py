"""The network that training starts from: new, on pretrained weights, or an earlier model."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from sagemaker_object_detection.model.specs import get_spec
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.training import run
from tests.training.jobs import make_job

SPEC = get_spec("resnet-18", 300)


@pytest.mark.parametrize(
    ("asked", "channel", "image", "found", "level"),
    [
        pytest.param("", True, False, "channel", "INFO", id="not said, but the channel has them"),
        pytest.param("", False, True, "image", "INFO", id="not said, but the image has them"),
        pytest.param("", False, False, None, "WARNING", id="not said and none there: a warning"),
        pytest.param("1", True, True, "channel", "INFO", id="the channel counts first"),
        pytest.param("1", False, True, "image", "INFO", id="the image"),
        pytest.param("0", True, True, None, "INFO", id="not wanted, whatever is there"),
    ],
)
def test_where_training_starts(
    asked: str,
    channel: bool,
    image: bool,
    found: str | None,
    level: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    job = make_job(tmp_path, ["pretrained"] if channel else [], use_pretrained_model=asked)
    places = {"channel": job.paths.channel_dir("pretrained"), "image": tmp_path / "weights"}
    places["image"].mkdir()
    for name, there in (("channel", channel), ("image", image)):
        if there:
            (places[name] / "resnet18_v1.params").touch()
    environ = {"OBJECT_DETECTION_WEIGHTS": str(places["image"])}
    path = run._weights(job, SPEC, environ)
    assert path == (None if found is None else places[found] / "resnet18_v1.params")
    assert [record.levelname for record in caplog.records] == [level]


def test_weights_that_are_asked_for_and_missing(tmp_path: Path) -> None:
    job = make_job(tmp_path, use_pretrained_model=1)
    with pytest.raises(ClientError, match=r"no weights for resnet-18.*channel 'pretrained'"):
        run._weights(job, SPEC, {"OBJECT_DETECTION_WEIGHTS": str(tmp_path)})
