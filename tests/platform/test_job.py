"""A whole job, read from a real tree."""

import logging
from pathlib import Path

import pytest

from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.job import find_hosts, load_job
from tests.platform.conftest import Tree

HYPERPARAMETERS = {"num_classes": "3", "num_training_samples": "205"}
CHANNELS = {
    name: {"ContentType": "application/x-recordio", "TrainingInputMode": "File"}
    for name in ("train", "validation")
}
HOSTS = {
    "current_group_name": "homogeneousCluster",
    "current_host": "algo-1",
    "current_instance_type": "ml.c5.xlarge",
    "hosts": ["algo-1"],
    "instance_groups": [
        {
            "hosts": ["algo-1"],
            "instance_group_name": "homogeneousCluster",
            "instance_type": "ml.c5.xlarge",
        }
    ],
    "network_interface_name": "eth1",
    "topology": None,
}


@pytest.fixture
def job_tree(tree: Tree) -> Tree:
    """A job that can start."""
    tree.config("hyperparameters.json", HYPERPARAMETERS)
    tree.config("inputdataconfig.json", CHANNELS)
    tree.config("resourceconfig.json", HOSTS)
    tree.channel("train", ["train.rec"])
    tree.channel("validation", ["val.rec"])
    return tree


def _faults(tree: Tree) -> tuple[str, ...]:
    with pytest.raises(ClientError) as caught:
        load_job(tree.environ)
    return caught.value.faults


def test_a_job_of_the_platform(job_tree: Tree, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    job = load_job(job_tree.environ)
    assert job.paths == job_tree.paths
    assert job.hyperparameters.num_classes == 3
    assert list(job.channels) == ["train", "validation"]
    assert [channel.form for channel in job.channels.values()] == ["recordio", "recordio"]
    assert (job.hosts, job.current_host, job.network_interface_name) == (
        ("algo-1",),
        "algo-1",
        "eth1",
    )
    assert [message.split(" ")[0] for message in caplog.messages] == [
        "Merging",
        "Final",
        "Channel",
        "Channel",
    ]
    assert str(job_tree.paths.hyperparameters_file) in caplog.messages[0]
    assert "'learning_rate': '0.001'" in caplog.messages[1]


@pytest.mark.parametrize(
    "configured", [True, False], ids=["version 3 of the SDK", "a mounted disk"]
)
def test_what_is_not_the_algorithms_is_named_once(
    configured: bool, job_tree: Tree, caplog: pytest.LogCaptureFixture
) -> None:
    given = {**HYPERPARAMETERS, "sagemaker_program": "a.py", "_tuning_objective_metric": "mAP"}
    job_tree.config("hyperparameters.json", given)
    if configured:
        config = {**CHANNELS, "code": CHANNELS["train"], "sm_drivers": CHANNELS["train"]}
        job_tree.config("inputdataconfig.json", config)
    else:
        (job_tree.paths.config_dir / "inputdataconfig.json").unlink()
        (job_tree.paths.data_dir / "lost+found").mkdir()
    caplog.set_level(logging.INFO)
    assert list(load_job(job_tree.environ).channels) == ["train", "validation"]
    channels = "channel code, channel sm_drivers" if configured else "channel lost+found"
    assert [text for text in caplog.messages if text.startswith("Ignored")] == [
        "Ignored: hyperparameter sagemaker_program, hyperparameter _tuning_objective_metric, "
        f"{channels}."
    ]


def test_a_laptop_needs_hyperparameters_and_data_alone(
    job_tree: Tree, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    job_tree.paths.input_data_config_file.unlink()
    job_tree.paths.resource_config_file.unlink()
    job = load_job(job_tree.environ)
    assert list(job.channels) == ["train", "validation"]
    assert (job.hosts, job.current_host) == (("algo-1",), "algo-1")
    assert "the channels (train, validation)" in caplog.text
    assert "the only host, algo-1" in caplog.text


def test_hosts_of_a_job_that_is_wrong(tree: Tree, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert find_hosts(tree.environ) is None
    tree.config("resourceconfig.json", {"hosts": "algo-1", "current_host": "algo-1"})
    assert find_hosts(tree.environ) is None
    tree.config("resourceconfig.json", HOSTS)
    assert find_hosts(tree.environ) == (("algo-1",), "algo-1", "eth1")
    assert caplog.messages == []  # load_job has said it all


@pytest.mark.parametrize(
    ("content", "folder"),
    [
        pytest.param(None, None, id="no checkpoints"),
        pytest.param({}, "checkpoints", id="the default"),
        pytest.param(
            {"S3Uri": "s3://a/b", "LocalPath": "/opt/ml/checkpoints"},
            "checkpoints",
            id="the platform's, moved with the base",
        ),
        pytest.param({"LocalPath": "/opt/ml/a/b"}, "a/b", id="another of the tree"),
        pytest.param({"LocalPath": "/mnt/a"}, "/mnt/a", id="outside of the tree"),
    ],
)
def test_where_checkpoints_go(content: object, folder: str | None, job_tree: Tree) -> None:
    if content is not None:
        job_tree.config("checkpointconfig.json", content)
    expected = None if folder is None else job_tree.base / folder
    assert load_job(job_tree.environ).checkpoint_dir == expected


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        pytest.param(
            "hyperparameters.json",
            '{"num_classes": "3",\n "epochs": }',
            "hyperparameters.json is not JSON: Expecting value, line 2, column 12.",
            id="syntax error, with its place",
        ),
        pytest.param(
            "inputdataconfig.json", "", "inputdataconfig.json is not JSON: Expecting", id="empty"
        ),
        pytest.param(
            "resourceconfig.json", "[]", "holds a JSON list; it must hold an object", id="list"
        ),
        pytest.param(
            "hyperparameters.json",
            '{"epochs": "1", "epochs": "2"}',
            "the name 'epochs' is there twice",
            id="a name twice would lose one value silently",
        ),
        pytest.param(
            "hyperparameters.json",
            f'{{"epochs": {"9" * 5000}}}',
            "cannot be read as JSON",
            id="more digits than Python reads",
        ),
        pytest.param(
            "hyperparameters.json", "[" * 100_000, "cannot be read as JSON", id="too deep"
        ),
        pytest.param(
            "resourceconfig.json",
            {"current_host": "algo-1"},
            '"hosts" is None; it must be a list of host names',
            id="no hosts",
        ),
        pytest.param(
            "resourceconfig.json",
            {"hosts": [], "current_host": "algo-1"},
            "must be a list of host names",
            id="empty list of hosts",
        ),
        pytest.param(
            "resourceconfig.json",
            {"hosts": ["algo-1"], "current_host": "algo-2"},
            "\"current_host\" is 'algo-2'; it must be one of ['algo-1']",
            id="a host that is not in the list",
        ),
        pytest.param(
            "resourceconfig.json",
            {"hosts": ["algo-1", "algo-1"], "current_host": "algo-1"},
            "is ['algo-1', 'algo-1']; every name may be there only once",
            id="a host that is there twice",
        ),
        pytest.param(
            "checkpointconfig.json",
            {"LocalPath": "checkpoints"},
            "\"LocalPath\" is 'checkpoints'; it must be an absolute path",
            id="checkpoints at a relative path",
        ),
        pytest.param(
            "checkpointconfig.json",
            {"LocalPath": 7},
            '"LocalPath" is 7; it must be an absolute path',
            id="checkpoints at no path",
        ),
        pytest.param(
            "hyperparameters.json",
            {"num_classes": "0", "num_training_samples": "1"},
            "Hyperparameter num_classes: '0' is too small",
            id="a bad value",
        ),
        pytest.param(
            "inputdataconfig.json",
            {"train": CHANNELS["train"]},
            "Missing required channel: validation",
            id="a channel is missing",
        ),
    ],
)
def test_one_fault(file: str, content: object, words: str, job_tree: Tree) -> None:
    job_tree.config(file, content)
    (text,) = _faults(job_tree)
    assert words in text


def test_missing_hyperparameters(job_tree: Tree) -> None:
    file = job_tree.paths.hyperparameters_file
    file.unlink()
    (text,) = _faults(job_tree)
    assert text.startswith(f"{file} is missing")


def test_a_folder_that_docker_made_in_place_of_the_file(job_tree: Tree) -> None:
    job_tree.paths.hyperparameters_file.unlink()
    job_tree.paths.hyperparameters_file.mkdir()
    (text,) = _faults(job_tree)
    assert "or not a file" in text


def test_a_file_that_is_not_utf8(job_tree: Tree) -> None:
    job_tree.paths.hyperparameters_file.write_bytes(b'{"epochs": "\xff"}')
    (text,) = _faults(job_tree)
    assert "is not UTF-8 text (byte 12)" in text


def test_a_byte_order_mark_does_no_harm(job_tree: Tree) -> None:
    file: Path = job_tree.paths.hyperparameters_file
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert load_job(job_tree.environ).hyperparameters.num_classes == 3


def test_faults_of_all_files_come_at_once(job_tree: Tree) -> None:
    job_tree.config("hyperparameters.json", {"num_classes": "x", "epoch": "1"})
    job_tree.config("inputdataconfig.json", {**CHANNELS, "extra": {}})
    job_tree.config("resourceconfig.json", "{")
    assert [text.split(":")[0].split("/")[-1] for text in _faults(job_tree)] == [
        "Unknown hyperparameter",
        "Hyperparameter num_classes",
        "Missing required hyperparameter",
        "Extraneous channel found",
        "resourceconfig.json is not JSON",
    ]


def test_files_are_looked_at_even_when_hyperparameters_are_bad(job_tree: Tree) -> None:
    job_tree.config("hyperparameters.json", {"num_classes": "2"})
    (job_tree.paths.channel_dir("train") / "train.rec").rename(
        job_tree.paths.channel_dir("train") / "a.jpg"
    )
    faults = _faults(job_tree)
    assert "num_training_samples" in faults[0]
    assert "train_annotation" in faults[1]


def test_an_empty_tree_says_what_it_needs(tree: Tree) -> None:
    assert [text.split(". ")[0] for text in _faults(tree)] == [
        f"{tree.paths.hyperparameters_file} is missing or not a file",
        "Missing required channel: train",
        "Missing required channel: validation",
    ]
