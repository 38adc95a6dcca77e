"""Which channels are accepted, and which form of data they and their files mean."""

import logging
from collections.abc import Mapping

import pytest

from sagemaker_object_detection.platform import files
from sagemaker_object_detection.platform.channels import (
    Channel,
    discover_channels,
    input_form,
    parse_channels,
)
from sagemaker_object_detection.platform.errors import ClientError
from tests.platform.conftest import Tree

FILE = {"TrainingInputMode": "File"}
RECORDIO = ["train.rec"]
IMAGES = ["a.jpg", "sub/b.jpg"]
LABELS = ["a.json", "b.json"]
IMAGE_JOB = {
    "train": IMAGES,
    "validation": IMAGES,
    "train_annotation": LABELS,
    "validation_annotation": LABELS,
}


def _build(tree: Tree, content: Mapping[str, list[str]]) -> dict[str, Channel]:
    for name, names in content.items():
        tree.channel(name, names)
    return parse_channels(dict.fromkeys(content, FILE), tree.paths)


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
    ("images", "annotations"),
    [
        pytest.param("application/x-recordio", "application/json", id="as users declare them"),
        pytest.param("image/jpeg", "image/jpeg", id="as the service documents them"),
        pytest.param("image/png", "application/jsonlines", id="lines"),
        pytest.param("application/x-image", "application/x-image", id="any image"),
        pytest.param("image/jpg", "application/x-recordio", id="recordio everywhere"),
        pytest.param(None, None, id="not declared"),
    ],
)
def test_content_types_of_the_image_form(
    images: str | None, annotations: str | None, tree: Tree
) -> None:
    _build(tree, IMAGE_JOB)
    config = {
        name: {"ContentType": annotations if "annotation" in name else images} for name in IMAGE_JOB
    }
    assert input_form(parse_channels(config, tree.paths)) == "image"


@pytest.mark.parametrize(
    ("name", "given", "fault"),
    [
        pytest.param(
            "training",
            FILE,
            "Extraneous channel found: training. Did you mean train?",
            id="misspelt",
        ),
        pytest.param("zzz", FILE, "Known are train, validation,", id="near nothing"),
        pytest.param("Test", FILE, "Did you mean test?", id="upper case"),
        pytest.param(
            "model",
            FILE,
            "training that goes on from an earlier model is not supported yet",
            id="later",
        ),
        pytest.param("test", FILE, "a test channel is not supported yet", id="later"),
        pytest.param(
            "train",
            {"TrainingInputMode": "Pipe"},
            "Pipe mode is not supported yet. Set",
            id="later",
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
            "ContentType 'text/csv' is not supported. Use one of application/x-image,",
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
            ["train", "validation", "train_annotation"], ["validation_annotation"], id="half"
        ),
        pytest.param(
            ["train", "validation", "validation_annotation"], ["train_annotation"], id="other half"
        ),
        pytest.param(
            ["train", "train_annotation"], ["validation", "validation_annotation"], id="train only"
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


def test_all_faults_come_at_once(tree: Tree) -> None:
    tree.channel("train", RECORDIO)
    config = {
        "train": {"ContentType": "text/csv", "TrainingInputMode": "x", "S3DistributionType": "y"},
        "valid": FILE,
        "model": FILE,
    }
    assert len(_faults(tree, config)) == 6


@pytest.mark.parametrize(
    ("content", "form"),
    [
        pytest.param({"train": RECORDIO, "validation": ["val.rec"]}, "recordio", id="RecordIO"),
        pytest.param(IMAGE_JOB, "image", id="images"),
        pytest.param(
            {"train": RECORDIO, "validation": RECORDIO, "pretrained": ["x.params"]},
            "recordio",
            id="with weights",
        ),
        pytest.param({"train": ["data"], "validation": RECORDIO}, None, id="unknown content"),
    ],
)
def test_form(content: Mapping[str, list[str]], form: str | None, tree: Tree) -> None:
    channels = _build(tree, content)
    if form is None:
        with pytest.raises(ClientError, match=r"holds neither \.rec files nor images"):
            input_form(channels)
    else:
        assert input_form(channels) == form


@pytest.mark.parametrize(
    ("content", "faults"),
    [
        pytest.param(
            {"train": IMAGES, "validation": IMAGES},
            ["Missing required channel: train_annotation", "channel: validation_annotation"],
            id="images without annotations",
        ),
        pytest.param(
            {"train": RECORDIO, "validation": IMAGES},
            ["Missing required channel: validation_annotation"],
            id="one of each",
        ),
        pytest.param(
            {**IMAGE_JOB, "train": RECORDIO, "validation": RECORDIO},
            ["'train'", "'validation'"],
            id="RecordIO carries its labels",
        ),
        pytest.param(
            {**IMAGE_JOB, "train": LABELS}, ["holds no .jpg, .jpeg or .png"], id="no images"
        ),
    ],
)
def test_contradictions(content: Mapping[str, list[str]], faults: list[str], tree: Tree) -> None:
    channels = _build(tree, content)
    with pytest.raises(ClientError) as caught:
        input_form(channels)
    assert len(caught.value.faults) == len(faults)
    assert all(word in text for word, text in zip(faults, caught.value.faults, strict=True))


@pytest.mark.parametrize(
    ("content", "form", "used"),
    [
        pytest.param(
            {**IMAGE_JOB, "train": [*IMAGES, "train.rec"]},
            "image",
            "the images are used",
            id="the service leaves a .rec beside the images",
        ),
        pytest.param(
            {"train": [*RECORDIO, *IMAGES], "validation": RECORDIO},
            "recordio",
            "the .rec files are used",
            id="packed beside the originals",
        ),
    ],
)
def test_both_forms_in_one_folder_is_a_warning(
    content: Mapping[str, list[str]],
    form: str,
    used: str,
    tree: Tree,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert input_form(_build(tree, content)) == form
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert used in caplog.text


def test_a_declared_type_that_differs_from_the_files_is_said(
    tree: Tree, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tree.channel("train", RECORDIO)
    tree.channel("validation", RECORDIO)
    config = {"train": {"ContentType": "image/png"}, "validation": FILE}
    assert input_form(parse_channels(config, tree.paths)) == "recordio"
    assert caplog.messages == [
        "Channel 'train' is declared as image/png; its files are read as RecordIO."
    ]


def test_files_of_a_channel(tree: Tree) -> None:
    channel = _build(tree, {"train": ["b.rec", "a/c.rec", "z.jpg"], "validation": RECORDIO})[
        "train"
    ]
    folder = channel.path
    assert files.of_form(folder, "recordio") == (folder / "a" / "c.rec", folder / "b.rec")
    assert files.of_form(folder, "image") == (folder / "z.jpg",)


def test_channels_without_a_configuration_are_the_sub_folders(tree: Tree) -> None:
    assert discover_channels(tree.paths) == {}
    for name in ("validation", "train", ".cache"):
        tree.channel(name, RECORDIO)
    (tree.paths.data_dir / "notes.txt").write_text("no channel")
    assert discover_channels(tree.paths) == {"train": FILE, "validation": FILE}
