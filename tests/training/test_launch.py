"""What a supervisor needs before it starts its workers."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from sagemaker_object_detection.platform.errors import ClientError, PlatformError
from sagemaker_object_detection.platform.stop_request import StopRequest
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training import launch
from tests.training.jobs import make_job

TWO = World("horovod", "dist_sync", ("algo-1", "algo-2"), 1, 0)


def test_horovod_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    job = replace(make_job(tmp_path), hosts=TWO.hosts)
    with pytest.raises(ClientError, match="Horovod is not installed here"):
        launch.launch(job, TWO, {}, StopRequest())


def test_gpus_are_counted_by_mxnet() -> None:
    assert launch.count_gpus({}) == 0


def test_mxnet_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.sys, "executable", "/bin/false")
    with pytest.raises(PlatformError, match="MXNet cannot be loaded"):
        launch.count_gpus({})


def test_an_only_host_has_nobody_to_tell() -> None:
    launch.tell_hosts((("algo-1",), "algo-1", "no interface"), ClientError("x"), {})


def test_hosts_that_cannot_be_told(caplog: pytest.LogCaptureFixture) -> None:
    launch.tell_hosts((("algo-1", "algo-2"), "algo-1", "ib7"), ClientError("x"), {})
    assert "The other hosts could not be told" in caplog.text


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({"seed": "3", "epochs": "1"}, {"seed": "0", "epochs": "1"}, "seed: '3', '0'"),
        ({"train": "a"}, {"train": "a", "test": "b"}, "test: None, 'b'"),
        ({"train": "a", "test": "b"}, {"train": "a"}, "test: 'b', None"),
        (1, 2, "1, 2"),
    ],
)
def test_in_what_two_hosts_differ(one: object, other: object, told: str) -> None:
    assert launch._difference(one, other) == told


def test_jobs_have_keys_of_their_own() -> None:
    environments = ({}, {"TRAINING_JOB_NAME": "a"}, {"TRAINING_JOB_ARN": "b"})
    keys = {launch._key(environ, hosts) for environ in environments for hosts in (("x",), ("y",))}
    assert len(keys) == 6
