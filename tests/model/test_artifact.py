from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ArtifactError, ModelConfig

CONFIG = ModelConfig(
    class_names=("cell", "größer"),
    image_shape=300,
    base_network="resnet-50",
    thresholds=(0.25, 1.0),
    validation={"mAP": 0.5},
    versions={"mxnet": "1.9.1"},
)


def test_round_trip(tmp_path: Path) -> None:
    path = artifact.write_config(tmp_path, CONFIG)
    assert path == tmp_path / "model.json"
    assert artifact.read_config(tmp_path) == CONFIG
    assert [p.name for p in tmp_path.iterdir()] == ["model.json"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644  # the endpoint may run as another user


def test_writing_twice_replaces(tmp_path: Path) -> None:
    artifact.write_config(tmp_path, CONFIG)
    other = ModelConfig(class_names=("one",), image_shape=512, base_network="vgg-16")
    artifact.write_config(tmp_path, other)
    assert artifact.read_config(tmp_path) == other


@pytest.mark.parametrize(
    ("change", "message", "reason"),
    [
        ({"format_version": 2}, "format_version 2, this version reads 1", "from the future"),
        ({"format_version": None}, "format_version None", "not ours"),
        ({"class_names": []}, "class_names must be non-empty", "a class_id has no name"),
        ({"class_names": "cat"}, "class_names must be a list, got 'cat'", "not letters"),
        ({"class_names": ["a", 3]}, "class_names must be non-empty strings", "a number"),
        ({"image_shape": "300"}, "image_shape must be a positive integer, got '300'", "string"),
        ({"image_shape": True}, "image_shape must be a positive integer", "a bool is an int"),
        ({"thresholds": [0.5]}, "thresholds must be a number in 0..1 for each class", "too few"),
        ({"thresholds": [0.5, 2]}, "thresholds must be a number in 0", "out of range"),
        ({"nms_threshold": 2}, r"nms_threshold must be in 0\.\.1, got 2", "out of range"),
        ({"validation": []}, "validation must be an object", "a list"),
        ({"twins": 3}, "twins must be an object, got 3", "a number"),
    ],
)
def test_bad_values(tmp_path: Path, change: dict[str, Any], message: str, reason: str) -> None:
    path = artifact.write_config(tmp_path, CONFIG)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change))
    with pytest.raises(ArtifactError, match=message) as caught:
        artifact.read_config(tmp_path)
    assert str(path) in str(caught.value), reason


def test_twins_are_optional(tmp_path: Path) -> None:
    """An artefact that was written before there were any says nothing of them."""
    path = artifact.write_config(tmp_path, CONFIG)
    raw = json.loads(path.read_text(encoding="utf-8"))
    del raw["twins"]
    path.write_text(json.dumps(raw))
    assert artifact.read_config(tmp_path).twins == {}
    figures = {"int8": {"mAP": 0.5, "kept": True}}
    artifact.write_config(tmp_path, replace(CONFIG, twins=figures))
    assert artifact.read_config(tmp_path).twins == figures


def test_unknown_fields_are_left_out(tmp_path: Path) -> None:
    path = artifact.write_config(tmp_path, CONFIG)
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"later": 1}))
    assert artifact.read_config(tmp_path) == CONFIG


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": 1,\n "b" 2}', r"model.json is not JSON \(Expecting ':' .* at line 2 column 6\)"),
        (b"[]", "must hold a JSON object, got list"),
        (b'{"format_version": 1}', "lacks class_names, image_shape, base_network"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b'{"format_version": ' + b"9" * 5000 + b"}", "cannot be read"),
        (None, r"model.json is missing; give the unpacked model.tar.gz"),
    ],
)
def test_unreadable(tmp_path: Path, text: bytes | None, message: str) -> None:
    if text is not None:
        (tmp_path / "model.json").write_bytes(text)
    with pytest.raises(ArtifactError, match=message):
        artifact.read_config(tmp_path)


def test_require_files(tmp_path: Path) -> None:
    (tmp_path / artifact.SYMBOL_FILE).touch()
    with pytest.raises(ArtifactError, match=r"lacks model_algo_1-0000.params \(it holds model_al"):
        artifact.require_files(tmp_path)
    (tmp_path / artifact.PARAMS_FILE).touch()
    artifact.require_files(tmp_path)
    with pytest.raises(ArtifactError, match="does not exist"):
        artifact.require_files(tmp_path / "nowhere")
