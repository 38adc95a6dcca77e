"""Twins in a training job: whatever goes wrong, the model stays and the job goes on."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.training import finish
from tests import tiny_model

IMAGES = [np.random.default_rng(0).integers(0, 256, (4, 3, tiny_model.SIDE, tiny_model.SIDE))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_model.write(tmp_path)
    return tmp_path


def _add(
    folder: Path,
    int8: bool = True,
    score: float = 0.5,
) -> set[str]:
    images = [batch.astype(np.uint8) for batch in IMAGES]
    finish.add_twins(folder, images, 1, int8, 0.5, lambda engine: score)
    names = {path.name for path in folder.iterdir()}
    return names & {artifact.ONNX_FILE, artifact.INT8_FILE}


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


@pytest.mark.parametrize(
    ("int8", "score", "files"),
    [
        pytest.param(False, 0.5, {artifact.ONNX_FILE}, id="float32 alone"),
        pytest.param(True, 0.5, {artifact.ONNX_FILE, artifact.INT8_FILE}, id="as good"),
        pytest.param(True, 0.4, {artifact.ONNX_FILE}, id="not good enough"),
    ],
)
def test_which_are_kept(int8: bool, score: float, files: set[str], folder: Path) -> None:
    assert _add(folder, int8, score) == files


def test_what_cannot_be_converted(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / artifact.SYMBOL_FILE).write_text("{}")
    assert _add(folder) == set()
    assert len(_warnings(caplog)) == 2
    assert all("The model itself is whole." in text for text in _warnings(caplog))


def test_a_process_that_dies(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish, "_MODULE", "sagemaker_object_detection.no_such_module")
    assert _add(folder) == {artifact.ONNX_FILE}
    (warning,) = _warnings(caplog)
    assert "no INT8 twin" in warning
    assert "no_such_module" in warning
