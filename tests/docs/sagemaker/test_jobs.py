"""Training requests of docs/sagemaker, read by the container as the platform hands them over."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from sagemaker_object_detection.platform.job import Job, load_job
from sagemaker_object_detection.platform.paths import Paths
from sagemaker_object_detection.platform.world import make_world
from tests.docs.sagemaker.scripts import TRAINS, shown
from tests.training_job import pictures, write_images, write_recordio

MANIFESTS = (
    *("--train", "s3://pictures/train.manifest", "--validation", "s3://pictures/v.manifest"),
    *("--annotations", "bounding-box"),
)
MODEL = ("--model", "s3://pictures/output/model.tar.gz")


def hand_over(base: Path, request: Mapping[str, Any]) -> Job:
    """Write a CreateTrainingJob as the platform writes it into a container, and read it.

    Channels in Pipe mode have no folder; AttributeNames do not reach the container.
    """
    paths = Paths(base)
    paths.config_dir.mkdir(parents=True)
    hosts = [f"algo-{i + 1}" for i in range(request["ResourceConfig"]["InstanceCount"])]
    files = {
        paths.hyperparameters_file: request["HyperParameters"],
        paths.input_data_config_file: {
            channel["ChannelName"]: {
                "TrainingInputMode": channel["InputMode"],
                "S3DistributionType": channel["DataSource"]["S3DataSource"][
                    "S3DataDistributionType"
                ],
                "RecordWrapperType": channel["RecordWrapperType"],
                **({"ContentType": channel["ContentType"]} if "ContentType" in channel else {}),
            }
            for channel in request["InputDataConfig"]
        },
        paths.resource_config_file: {
            "hosts": hosts,
            "current_host": hosts[0],
            "network_interface_name": "eth0",
        },
    }
    if "CheckpointConfig" in request:
        files[paths.checkpoint_config_file] = request["CheckpointConfig"]
    for file, content in files.items():
        file.write_text(json.dumps(content))
    return load_job({"SAGEMAKER_BASE_DIR": str(base)})


@pytest.fixture
def recordio(tmp_path: Path) -> Path:
    for name in ("train", "validation"):
        write_recordio(Paths(tmp_path).channel_dir(name), pictures(0, 1))
    return tmp_path


@pytest.mark.parametrize("mode", ["File", "FastFile"])
def test_recordio(recordio: Path, mode: str) -> None:
    [(_, request)] = shown("train.py", *TRAINS, "--input-mode", mode)
    job = hand_over(recordio, request)
    assert [(c.name, c.form, c.mode) for c in job.channels.values()] == [
        ("train", "recordio", mode),
        ("validation", "recordio", mode),
    ]
    assert job.hyperparameters.num_classes == 3
    assert job.hyperparameters.num_training_samples == 4
    assert job.checkpoint_dir is None


def test_recordio_in_pipe_mode(tmp_path: Path) -> None:
    [(_, request)] = shown("train.py", *TRAINS, "--input-mode", "Pipe")
    job = hand_over(tmp_path, request)
    assert {channel.form for channel in job.channels.values()} == {"pipe"}


def test_images(tmp_path: Path) -> None:
    folder = Paths(tmp_path).channel_dir
    for name in ("train", "validation"):
        write_images(folder(name), folder(f"{name}_annotation"), pictures(0, 1))
    [(_, request)] = shown("train.py", *TRAINS, "--form", "image")
    job = hand_over(tmp_path, request)
    assert {name: job.channels[name].form for name in ("train", "validation")} == {
        "train": "image",
        "validation": "image",
    }


def test_more_channels(recordio: Path) -> None:
    folder = Paths(recordio).channel_dir
    write_recordio(folder("test"), pictures(1, 1))
    folder("pretrained").mkdir()
    (folder("pretrained") / "resnet50_v1.params").write_bytes(b"weights")
    names = ("test", "pretrained")
    more = [word for name in names for word in ("--channel", f"{name}=s3://pictures/{name}/")]
    [(_, request)] = shown("train.py", *TRAINS, *more)
    channels = hand_over(recordio, request).channels
    assert (channels["test"].form, channels["pretrained"].form) == ("recordio", None)


def test_two_machines(recordio: Path) -> None:
    hyperparameters = ("-H", "kv_store=dist_sync", "-H", "mini_batch_size=16")
    [(_, request)] = shown("train.py", *TRAINS, "--instance-count", "2", *hyperparameters)
    job = hand_over(recordio, request)
    assert make_world(job, devices=1).size == 2


def test_spot(recordio: Path) -> None:
    [(_, request)] = shown("spot.py", *TRAINS)
    assert hand_over(recordio, request).checkpoint_dir == recordio / "checkpoints"


def test_pipe(tmp_path: Path) -> None:
    [(_, request)] = shown("pipe.py", *TRAINS, *MANIFESTS)
    job = hand_over(tmp_path, request)
    assert [(c.name, c.form, c.mode) for c in job.channels.values()] == [
        ("train", "pipe", "Pipe"),
        ("validation", "pipe", "Pipe"),
    ]


def test_incremental(recordio: Path) -> None:
    folder = Paths(recordio).channel_dir("model")
    folder.mkdir()
    (folder / "model.tar.gz").write_bytes(b"a model")
    [(_, request)] = shown("incremental.py", *TRAINS, *MODEL)
    job = hand_over(recordio, request)
    assert (job.channels["model"].mode, job.channels["model"].form) == ("File", None)


def _corners(ranges: Mapping[str, list[dict[str, Any]]]) -> Iterator[dict[str, str]]:
    """All lowest values, all highest, and each of those to choose from."""
    numbers = ranges["ContinuousParameterRanges"] + ranges["IntegerParameterRanges"]
    yield {one["Name"]: one["MinValue"] for one in numbers}
    yield {one["Name"]: one["MaxValue"] for one in numbers}
    for choice in ranges["CategoricalParameterRanges"]:
        yield from ({choice["Name"]: value} for value in choice["Values"])


def test_every_trial_of_a_tuning_job_is_a_job(recordio: Path) -> None:
    [(_, request)] = shown("tune.py", *TRAINS)
    config = request["HyperParameterTuningJobConfig"]
    objective = config["HyperParameterTuningJobObjective"]["MetricName"]
    training = request["TrainingJobDefinition"]
    trials = list(_corners(config["ParameterRanges"]))
    assert len(trials) == 6
    for trial in trials:
        chosen = training["StaticHyperParameters"] | trial | {"_tuning_objective_metric": objective}
        job = hand_over(recordio, training | {"HyperParameters": chosen})
        told = job.hyperparameters.as_strings()
        for name, value in trial.items():
            assert told[name] == value or float(told[name]) == float(value)
        for file in job.paths.config_dir.iterdir():
            file.unlink()
        job.paths.config_dir.rmdir()
