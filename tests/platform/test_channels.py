"""Which channels are accepted, and what is said about each."""

from collections.abc import Mapping

import pytest

from sagemaker_object_detection.platform.channels import (
    Channel,
    discover_channels,
    parse_channels,
)
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.paths import Paths
from tests.platform.conftest import Tree

FILE = {"TrainingInputMode": "File"}
RECORDIO = ["train.rec"]


def _built(tree: Tree) -> Paths:
    tree.channel("validation", RECORDIO)
    return tree.paths


def _faults(tree: Tree, config: Mapping[str, object]) -> list[str]:
    with pytest.raises(ClientError) as caught:
        parse_channels(config, tree.paths)
    return list(caught.value.faults)


def test_the_platforms_own_sample(tree: Tree) -> None:
    given = {
        "ContentType": "application/x-recordio",
        "RecordWrapperType": "None",
        "S3DistributionType": "FullyReplicated",
        "TrainingInputMode": "File",
    }
    tree.channel("train", RECORDIO)
    tree.channel("validation", RECORDIO)
    channels = parse_channels({"train": given, "validation": FILE}, tree.paths)
    assert channels["train"] == Channel(
        "train",
        tree.base / "input" / "data" / "train",
        "application/x-recordio",
        "File",
        "FullyReplicated",
    )
    assert channels["validation"].content_type is None


@pytest.mark.parametrize(
    ("given", "content_type", "mode", "distribution"),
    [
        pytest.param({}, None, "File", "FullyReplicated", id="local runs may say nothing"),
        pytest.param(
            {"TrainingInputMode": "FastFile"}, None, "FastFile", "FullyReplicated", id="FastFile"
        ),
        pytest.param(
            {"TrainingInputMode": "file"}, None, "File", "FullyReplicated", id="lower case"
        ),
        pytest.param(
            {"S3DistributionType": "ShardedByS3Key"}, None, "File", "ShardedByS3Key", id="sharded"
        ),
        pytest.param({"ContentType": None}, None, "File", "FullyReplicated", id="null"),
        pytest.param(
            {"ContentType": "image/jpeg"}, "image/jpeg", "File", "FullyReplicated", id="image type"
        ),
        pytest.param(
            {"ContentType": "Application/X-RecordIO; version=1"},
            "application/x-recordio",
            "File",
            "FullyReplicated",
            id="case and parameters do not matter",
        ),
    ],
)
def test_descriptions(
    given: dict[str, object], content_type: str | None, mode: str, distribution: str, tree: Tree
) -> None:
    tree.channel("train", RECORDIO)
    tree.channel("validation", RECORDIO)
    channel = parse_channels({"train": given, "validation": FILE}, tree.paths)["train"]
    assert (channel.content_type, channel.mode, channel.distribution) == (
        content_type,
        mode,
        distribution,
    )


@pytest.mark.parametrize(
    ("name", "given", "fault"),
    [
        pytest.param(
            "training",
            FILE,
            "Extraneous channel found: training. Did you mean train?",
            id="misspelt",
        ),
        pytest.param("val", FILE, "Did you mean validation?", id="a usual name of the split"),
        pytest.param("dev", FILE, "Did you mean validation?", id="another"),
        pytest.param(
            "valid_annotation", FILE, "Did you mean validation_annotation?", id="its annotations"
        ),
        pytest.param("zzz", FILE, "Known are train, validation,", id="near nothing"),
        pytest.param("Test", FILE, "Did you mean test?", id="upper case"),
        pytest.param(
            "model",
            {"TrainingInputMode": "Pipe"},
            "TrainingInputMode 'Pipe' is for train, validation, test. Set it to File",
            id="only data is streamed",
        ),
        pytest.param(
            "train",
            {"AttributeNames": "source-ref"},
            "AttributeNames is 'source-ref'; it must be a list",
            id="attributes are a list",
        ),
        pytest.param(
            "train", {"TrainingInputMode": "Tape"}, "Use one of File, FastFile, Pipe.", id="no mode"
        ),
        pytest.param(
            "train",
            {"S3DistributionType": "Some"},
            "Use one of FullyReplicated, ShardedByS3Key.",
            id="no distribution",
        ),
        pytest.param(
            "train",
            {"ContentType": "text/csv"},
            "ContentType 'text/csv' is not supported. Use one of application/jsonlines,",
            id="tables",
        ),
        pytest.param(
            "train",
            {"ContentType": "application/json"},
            "'application/json' is not supported",
            id="JSON is for annotations",
        ),
        pytest.param(
            "pretrained",
            {"ContentType": "image/png"},
            "application/octet-stream",
            id="weights are no images",
        ),
        pytest.param("train", "File", "is described by 'File'", id="not an object"),
    ],
)
def test_refuses(name: str, given: object, fault: str, tree: Tree) -> None:
    for channel in {"train", "validation", name}:
        tree.channel(channel, RECORDIO)
    (text,) = _faults(tree, {"train": FILE, "validation": FILE, name: given})
    assert name in text
    assert fault in text


@pytest.mark.parametrize(
    ("present", "missing"),
    [
        pytest.param([], ["train", "validation"], id="none"),
        pytest.param(["train"], ["validation"], id="validation is not optional"),
        pytest.param(
            ["train", "validation", "test_annotation"], ["test"], id="notes on no test images"
        ),
    ],
)
def test_missing_channels(present: list[str], missing: list[str], tree: Tree) -> None:
    for name in present:
        tree.channel(name, ["a.jpg"])
    faults = _faults(tree, dict.fromkeys(present, FILE))
    assert [text.split(". ")[0] for text in faults] == [
        f"Missing required channel: {name}" for name in missing
    ]


def test_a_missing_folder_and_an_empty_one(tree: Tree) -> None:
    tree.channel("validation", [".DS_Store"])
    faults = _faults(tree, {"train": FILE, "validation": FILE})
    assert f"its folder {tree.paths.channel_dir('train')} is missing" in faults[0]
    assert f"its folder {tree.paths.channel_dir('validation')} holds no files" in faults[1]


def test_a_folder_that_is_a_link_out_of_the_container(tree: Tree) -> None:
    tree.channel("validation", RECORDIO)
    for name in ("train", "notes"):
        tree.paths.channel_dir(name).symlink_to(f"/nowhere/{name}")
    assert discover_channels(tree.paths) == {"train": FILE, "validation": FILE}
    (text,) = _faults(tree, {"train": FILE, "validation": FILE})
    folder = tree.paths.channel_dir("train")
    assert f"its folder {folder} is a link to /nowhere/train, which is not there" in text


def test_all_faults_come_at_once(tree: Tree) -> None:
    tree.channel("train", RECORDIO)
    config = {
        "train": {"ContentType": "text/csv", "TrainingInputMode": "x", "S3DistributionType": "y"},
        "valid": FILE,
        "model": FILE,
    }
    assert len(_faults(tree, config)) == 6


def test_a_stream_has_no_folder(tree: Tree) -> None:
    given = {"TrainingInputMode": "Pipe", "AttributeNames": ["source-ref", "boxes"]}
    channels = parse_channels({"train": given, "validation": {**given, **FILE}}, _built(tree))
    assert channels["train"].mode == "Pipe"
    assert channels["train"].attribute_names == ("source-ref", "boxes")


def test_channels_of_the_sdk_and_a_disks_own_folder_are_ignored(tree: Tree) -> None:
    """Version 3 of the SageMaker SDK adds two. Whatever they are: nobody looks into them."""
    for name in ("train", "validation"):
        tree.channel(name, RECORDIO)
    (tree.paths.data_dir / "lost+found").mkdir()
    config = {**discover_channels(tree.paths), "code": {"ContentType": "text/csv"}, "sm_drivers": 0}
    assert "lost+found" in config
    assert list(parse_channels(config, tree.paths)) == ["train", "validation"]


def test_channels_without_a_configuration_are_the_sub_folders(tree: Tree) -> None:
    assert discover_channels(tree.paths) == {}
    for name in ("validation", "train", ".cache"):
        tree.channel(name, RECORDIO)
    (tree.paths.data_dir / "notes.txt").write_text("no channel")
    assert discover_channels(tree.paths) == {"train": FILE, "validation": FILE}
