"""Which form of data the channels and their files mean."""

import json
import logging
from collections.abc import Mapping

import pytest

from sagemaker_object_detection.platform.channels import parse_channels
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.forms import with_forms
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
COCO = json.dumps({"info": {"images": 1}, "annotations": [{"id": 1}], "images": []})
ONE_IMAGE = json.dumps({"annotations": [], "file": "a.jpg", "image_size": []})


def _forms(
    tree: Tree, content: Mapping[str, list[str]], config: Mapping[str, object] | None = None
) -> dict[str, str | None]:
    for name, names in content.items():
        tree.channel(name, names)
    channels = parse_channels(config or dict.fromkeys(content, FILE), tree.paths)
    return {name: channel.form for name, channel in with_forms(channels).items()}


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
    config = {
        name: {"ContentType": annotations if "annotation" in name else images} for name in IMAGE_JOB
    }
    forms = _forms(tree, IMAGE_JOB, config)
    assert forms["train"] == forms["validation"] == "image"


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
        pytest.param(
            {"train": [*RECORDIO, "log.jsonl", "b.manifest"], "validation": RECORDIO},
            "recordio",
            id="lists beside RecordIO list nothing",
        ),
        pytest.param({"train": ["data"], "validation": RECORDIO}, None, id="unknown content"),
    ],
)
def test_form(content: Mapping[str, list[str]], form: str | None, tree: Tree) -> None:
    if form is None:
        with pytest.raises(ClientError, match=r"holds neither \.rec files nor images"):
            _forms(tree, content)
    else:
        found = _forms(tree, content)
        assert found["train"] == found["validation"] == form
        assert found.get("train_annotation") is None
        assert found.get("pretrained") is None


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
            {**IMAGE_JOB, "train": LABELS}, ["holds no images (.bmp, .jpeg,"], id="no images"
        ),
        pytest.param(
            {**IMAGE_JOB, "train_annotation": ["a.txt", "b.xml"]},
            ["holds neither .json files nor a manifest (.jsonl, .manifest)"],
            id="annotations of another tool",
        ),
    ],
)
def test_contradictions(content: Mapping[str, list[str]], faults: list[str], tree: Tree) -> None:
    with pytest.raises(ClientError) as caught:
        _forms(tree, content)
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
    assert _forms(tree, content)["train"] == form
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    assert used in caplog.text


def test_a_declared_type_that_differs_from_the_files_is_said(
    tree: Tree, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    config = {"train": {"ContentType": "image/png"}, "validation": FILE}
    _forms(tree, {"train": RECORDIO, "validation": RECORDIO}, config)
    assert caplog.messages == [
        "Channel 'train' is declared as image/png; its files are read as RecordIO.",
        "Channel 'validation' comes as RecordIO.",
    ]


@pytest.mark.parametrize(
    ("files", "form"),
    [
        pytest.param({"a.json": ONE_IMAGE}, "image", id="one annotation"),
        pytest.param({"instances.json": COCO}, "coco", id="images stand behind annotations"),
        pytest.param({"instances.json": "\ufeff" + COCO}, "coco", id="with a byte order mark"),
        pytest.param({"instances.json": COCO[:-1]}, "coco", id="broken at its end"),
        pytest.param(
            {"instances.json": '{"annotations": [{"id": NaN'}, "coco", id="broken before images"
        ),
        pytest.param({"instances.json": COCO, "notes.json": "[]"}, "coco", id="beside another"),
        pytest.param({f"{i}.json": ONE_IMAGE for i in range(20)}, "image", id="many"),
        pytest.param({"train.manifest": "{}"}, "manifest", id="manifest"),
        pytest.param({"train.jsonl": "{}"}, "manifest", id="JSON lines"),
        pytest.param({"a.json": '{"file": ' + "[" * 5000}, "image", id="nested deeply"),
        pytest.param({"a.json": '{"x": ' + "1" * 5000 + "}"}, "image", id="a huge number"),
    ],
)
def test_what_the_annotation_channel_holds(files: dict[str, str], form: str, tree: Tree) -> None:
    content = {"train": IMAGES, "train_annotation": list(files), "validation": RECORDIO}
    for name, text in files.items():
        path = tree.paths.channel_dir("train_annotation") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    content.pop("train_annotation")
    config = dict.fromkeys(("train", "train_annotation", "validation"), FILE)
    assert _forms(tree, content, config)["train"] == form


def test_a_manifest_may_lie_beside_its_images(tree: Tree) -> None:
    content = {"train": [*IMAGES, "train.manifest"], "validation": RECORDIO}
    assert _forms(tree, content) == {"train": "manifest", "validation": "recordio"}


@pytest.mark.parametrize(
    ("names", "what"),
    [
        pytest.param(("a.manifest", "b.jsonl"), "several manifests: a.manifest, b.jsonl", id="two"),
        pytest.param(("a.json", "b.json"), "several COCO files: a.json, b.json", id="COCO"),
    ],
)
def test_one_list_is_meant(names: tuple[str, ...], what: str, tree: Tree) -> None:
    folder = tree.paths.channel_dir("train_annotation")
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text(COCO)
    content = {"train": IMAGES, "validation": RECORDIO}
    config = dict.fromkeys(("train", "train_annotation", "validation"), FILE)
    with pytest.raises(ClientError, match=what):
        _forms(tree, content, config)


def test_a_stream_is_a_form_of_its_own(tree: Tree) -> None:
    config = {"train": {"TrainingInputMode": "Pipe"}, "validation": FILE}
    assert _forms(tree, {"validation": RECORDIO}, config) == {
        "train": "pipe",
        "validation": "recordio",
    }


def test_a_folder_of_a_stream_is_not_read(tree: Tree, caplog: pytest.LogCaptureFixture) -> None:
    """Who tries Pipe mode at home with the folders of File mode would wait for a quarter hour."""
    config = {"train": {"TrainingInputMode": "Pipe"}, "validation": FILE}
    assert _forms(tree, {"train": RECORDIO, "validation": RECORDIO}, config)["train"] == "pipe"
    (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert "set TrainingInputMode to File" in warning


def test_a_stream_carries_its_labels(tree: Tree) -> None:
    config = {"train": {"TrainingInputMode": "Pipe"}, "validation": FILE, "train_annotation": FILE}
    with pytest.raises(ClientError, match="a channel train_annotation"):
        _forms(tree, {"validation": RECORDIO, "train_annotation": LABELS}, config)
