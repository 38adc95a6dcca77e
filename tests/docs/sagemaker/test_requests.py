"""Requests of the scripts in docs/sagemaker, against the service's model and its written rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sagemaker_object_detection.serving.settings import Settings
from sagemaker_object_detection.tools import cli
from tests.docs.sagemaker.scripts import FOLDER, RUNS, SERVES, TRAINS, run, shown
from tests.docs.sagemaker.service_model import faults

MANIFESTS = (
    *("--train", "s3://pictures/train.manifest", "--validation", "s3://pictures/v.manifest"),
    *("--annotations", "bounding-box"),
)
MODEL = ("--model", "s3://pictures/output/model.tar.gz")
FOLDERS = ("--pictures", "s3://pictures/new/", "--output", "s3://pictures/found/")
ENDPOINT = ["create_model", "create_endpoint_config", "create_endpoint"]
DELETED = ["delete_endpoint", "delete_endpoint_config", "delete_model"]
EVERYTHING = (
    *("--instance-type", "ml.p3.8xlarge", "--instance-count", "2", "-H", "epochs=3"),
    *("--channel", "test=s3://pictures/test/"),
)

SCRIPTS = [
    pytest.param("train.py", TRAINS, ["create_training_job"], id="train"),
    pytest.param("train.py", (*TRAINS, *EVERYTHING), ["create_training_job"], id="two machines"),
    pytest.param(
        "train.py", (*TRAINS, "--form", "image"), ["create_training_job"], id="train on images"
    ),
    pytest.param("spot.py", TRAINS, ["create_training_job"], id="spot"),
    pytest.param("pipe.py", (*TRAINS, *MANIFESTS), ["create_training_job"], id="pipe"),
    pytest.param("incremental.py", (*TRAINS, *MODEL), ["create_training_job"], id="incremental"),
    pytest.param("tune.py", TRAINS, ["create_hyper_parameter_tuning_job"], id="tune"),
    pytest.param("endpoint.py", SERVES, ENDPOINT, id="endpoint"),
    pytest.param("endpoint.py", ("--delete", "--name", "a"), DELETED, id="delete an endpoint"),
    pytest.param("serverless.py", SERVES, ENDPOINT, id="serverless"),
    pytest.param(
        "multi_model.py", (*RUNS, "--models", "s3://pictures/models/"), ENDPOINT, id="multi-model"
    ),
    pytest.param(
        "batch_transform.py",
        (*SERVES, *FOLDERS),
        ["create_model", "create_transform_job"],
        id="batch transform",
    ),
]


@pytest.mark.parametrize(("script", "arguments", "operations"), SCRIPTS)
def test_the_service_model_takes_the_requests(
    script: str, arguments: tuple[str, ...], operations: list[str]
) -> None:
    calls = shown(script, *arguments)
    assert [operation for operation, _ in calls] == operations
    for operation, request in calls:
        assert faults("sagemaker", operation, request) == []


def test_the_runtime_model_takes_the_request(tmp_path: Path) -> None:
    picture = tmp_path / "a.jpg"
    picture.write_bytes(b"12345")
    named = ("--name", "a", "--custom", "threshold=0.4;classes=dog", "--target-model", "a.tar.gz")
    [(operation, request)] = shown("invoke.py", *named, picture)
    assert request["Body"] == "<5 bytes>"
    assert faults("sagemaker-runtime", operation, request) == []


def test_every_script_is_in_the_table() -> None:
    scripts = {path.name for path in FOLDER.glob("*.py")}
    others = {"invoke.py", "shared.py", "train_sdk.py"}
    assert scripts == {parameters.values[0] for parameters in SCRIPTS} | others


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        pytest.param({"TrainingJobName": "a_b"}, "is not like", id="a pattern"),
        pytest.param({"RoleArn": "arn:aws:iam::1:role/a" * 200}, "is above 2048", id="a length"),
        pytest.param({"Tags": "a"}, "Invalid type", id="a type"),
        pytest.param({"Name": "a"}, "Unknown parameter", id="an unknown member"),
        pytest.param({"RetryStrategy": {"MaximumRetryAttempts": 31}}, "is above 30", id="a number"),
        pytest.param(
            {"ResourceConfig": {"InstanceType": "ml.a1.large"}}, "enumeration", id="an enumeration"
        ),
    ],
)
def test_faults_are_found(change: dict[str, object], fault: str) -> None:
    [(operation, request)] = shown("train.py", *TRAINS)
    assert fault in "".join(faults("sagemaker", operation, request | change))


def test_metric_definitions_are_those_that_training_logs() -> None:
    printed = CliRunner().invoke(cli.main, ["metrics", "--json"]).output
    assert (FOLDER / "metrics.json").read_text() == printed
    [(_, request)] = shown("train.py", *TRAINS)
    assert request["AlgorithmSpecification"]["MetricDefinitions"] == json.loads(printed)


@pytest.mark.parametrize(
    ("prefix", "uri"),
    [
        pytest.param("a/b", "s3://pictures/a/b/train/", id="folders"),
        pytest.param("/a/", "s3://pictures/a/train/", id="slashes around it"),
        pytest.param("", "s3://pictures/train/", id="none: an empty name is a folder too in S3"),
    ],
)
def test_where_the_channels_are(prefix: str, uri: str) -> None:
    [(_, request)] = shown("train.py", *TRAINS, "--prefix", prefix)
    train = request["InputDataConfig"][0]["DataSource"]["S3DataSource"]
    assert train["S3Uri"] == uri


def test_spot_waits_no_shorter_than_it_trains() -> None:
    hours = ("--max-hours", "3", "--max-wait-hours", "4")
    [(_, request)] = shown("spot.py", *TRAINS, *hours)
    assert request["EnableManagedSpotTraining"] is True
    assert request["StoppingCondition"] == {
        "MaxRuntimeInSeconds": 3 * 3600,
        "MaxWaitTimeInSeconds": 4 * 3600,
    }
    done = run("spot.py", *TRAINS, "--max-hours", "5", "--max-wait-hours", "4", "--print")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--max-wait-hours has to be --max-hours or more" in done.stderr


def test_a_manifest_is_streamed_image_first() -> None:
    [(_, request)] = shown("pipe.py", *TRAINS, *MANIFESTS, "--metadata")
    assert request["AlgorithmSpecification"]["TrainingInputMode"] == "Pipe"
    for channel in request["InputDataConfig"]:
        assert channel["RecordWrapperType"] == "RecordIO"
        assert channel["CompressionType"] == "None"
        source = channel["DataSource"]["S3DataSource"]
        assert source["S3DataType"] == "AugmentedManifestFile"
        assert source["AttributeNames"] == ["source-ref", "bounding-box", "bounding-box-metadata"]


def test_images_do_not_come_in_pipe_mode() -> None:
    done = run("train.py", *TRAINS, "--form", "image", "--input-mode", "Pipe", "--print")
    assert (done.returncode, done.stdout) == (2, "")
    assert "pipe.py" in done.stderr


def test_tuning_looks_for_a_metric_that_is_defined() -> None:
    [(_, request)] = shown("tune.py", *TRAINS)
    objective = request["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]
    defined = request["TrainingJobDefinition"]["AlgorithmSpecification"]["MetricDefinitions"]
    assert objective["MetricName"] in {metric["Name"] for metric in defined}


def test_tuning_leaves_alone_what_is_given() -> None:
    given = {"learning_rate": "0.001", "mini_batch_size": "16", "optimizer": "adam"}
    options = [word for name, value in given.items() for word in ("-H", f"{name}={value}")]
    [(_, request)] = shown("tune.py", *TRAINS, *options)
    ranges = request["HyperParameterTuningJobConfig"]["ParameterRanges"]
    searched = {one["Name"] for kind in ranges.values() for one in kind}
    assert searched == {"momentum", "weight_decay"}
    assert given.items() <= request["TrainingJobDefinition"]["StaticHyperParameters"].items()
    assert faults("sagemaker", "create_hyper_parameter_tuning_job", request) == []


def test_a_multi_model_endpoint_has_a_folder_of_models() -> None:
    (_, model), *_ = shown("multi_model.py", *RUNS, "--models", "s3://pictures/models/")
    assert model["PrimaryContainer"]["Mode"] == "MultiModel"
    assert model["PrimaryContainer"]["ModelDataUrl"].endswith("/")
    done = run("multi_model.py", *RUNS, "--models", "s3://pictures/model.tar.gz", "--print")
    assert (done.returncode, done.stdout) == (2, "")


def test_a_batch_transform_sends_whole_pictures() -> None:
    _, (_, request) = shown("batch_transform.py", *SERVES, *FOLDERS)
    assert request["TransformInput"]["SplitType"] == "None"
    # What a request says of these overrules what the container answers to /execution-parameters.
    assert not {"MaxConcurrentTransforms", "MaxPayloadInMB"} & set(request)


def test_a_serverless_endpoint_has_no_instances() -> None:
    _, (_, config), _ = shown("serverless.py", *SERVES, "--memory-mb", "6144")
    [variant] = config["ProductionVariants"]
    assert variant["ServerlessConfig"] == {"MemorySizeInMB": 6144, "MaxConcurrency": 5}
    assert not {"InstanceType", "InitialInstanceCount"} & set(variant)


@pytest.mark.parametrize(
    ("script", "options", "expected"),
    [
        pytest.param("endpoint.py", (), {}, id="endpoint"),
        pytest.param(
            "endpoint.py",
            ("--env", "OBJECT_DETECTION_RESPONSE=builtin"),
            {"response": "builtin"},
            id="answers of the built-in algorithm",
        ),
        pytest.param("serverless.py", (), {"max_payload_mb": 4}, id="serverless"),
    ],
)
def test_the_container_takes_its_environment(
    script: str, options: tuple[str, ...], expected: dict[str, Any]
) -> None:
    (_, model), *_ = shown(script, *SERVES, *options)
    settings = Settings.from_environment(model["PrimaryContainer"]["Environment"])
    assert {name: getattr(settings, name) for name in expected} == expected
