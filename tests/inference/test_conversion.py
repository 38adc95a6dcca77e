"""The process that reads an artefact with MXNet for an endpoint that does without."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import onnx
import pytest

from sagemaker_object_detection.inference.conversion import ConversionKilled, convert
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ArtifactError
from tests import tiny_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny_model.write(tmp_path / "model")


def test_the_twin_and_what_the_artefact_is(folder: Path) -> None:
    found = convert(folder, os.environ)
    assert found.config == artifact.read_config(folder)
    assert found.reason == ""
    model = onnx.ModelProto.FromString(found.onnx)
    assert [output.name for output in model.graph.output] == ["scores", "offsets", "anchors"]
    assert not (folder / artifact.ONNX_FILE).exists()  # it may be read-only


def test_without_the_twin(folder: Path) -> None:
    found = convert(folder, os.environ, twin=False)
    assert (found.config, found.onnx) == (artifact.read_config(folder), b"")


def test_what_cannot_be_converted(folder: Path) -> None:
    """The graph is read, but is no detector: MXNet may run it all the same."""
    symbol, _ = tiny_model.graph()
    symbol.get_internals()["class_output"].save(str(folder / artifact.SYMBOL_FILE))
    found = convert(folder, os.environ)
    assert found.onnx == b""
    assert found.reason.startswith("ArtifactError: the graph ends in Convolution class")


def test_a_damaged_artefact(folder: Path) -> None:
    (folder / artifact.PARAMS_FILE).write_bytes(b"no arrays")
    with pytest.raises(ArtifactError, match=r"^\S+params is not a parameter file of MXNet"):
        convert(folder, os.environ)


@pytest.mark.parametrize(
    ("program", "error", "message"),
    [
        pytest.param("kill -9 $$", ConversionKilled, "Most often memory is short", id="killed"),
        pytest.param(
            "echo one >&2; echo two words >&2; exit 3",
            ArtifactError,
            r"exit code 3 \(two words\)",
            id="it crashes",
        ),
        pytest.param("exit 0", ArtifactError, r"exit code 0 \(no word\)", id="it says nothing"),
    ],
)
def test_a_process_that_does_not_answer(
    program: str,
    error: type[Exception],
    message: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{program}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(error, match=message) as caught:
        convert(folder, os.environ)
    assert str(folder) in str(caught.value)
