"""What an artefact may hold, so that nothing beside its folder is read in its name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sagemaker_object_detection.model.artifact import ArtifactError
from sagemaker_object_detection.model.inside import require_inside


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An artefact of one file and a folder with one; beside it lies a secret."""
    made = tmp_path / "model"
    (made / "deep").mkdir(parents=True)
    for path in (made / "model.json", made / "deep" / "values", tmp_path / "secret"):
        path.write_text("x")
    return made


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda folder: None, id="plain files"),
        pytest.param(lambda folder: (folder / "a").symlink_to("deep/values"), id="a link inside"),
        pytest.param(lambda folder: (folder / "a").symlink_to("deep"), id="a folder inside"),
        pytest.param(
            lambda folder: (folder / "a").symlink_to("../model/model.json"), id="out and in again"
        ),
    ],
)
def test_fine(change: Callable[[Path], None], folder: Path, tmp_path: Path) -> None:
    change(folder)
    require_inside(folder)
    (tmp_path / "link").symlink_to(folder)
    require_inside(tmp_path / "link")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda path: path.symlink_to("../../secret"), "to outside of", id="by dots"),
        pytest.param(lambda path: path.symlink_to("/etc/passwd"), "to outside of", id="absolute"),
        pytest.param(lambda path: path.symlink_to("../.."), "to outside of", id="a folder"),
        pytest.param(lambda path: path.symlink_to(".."), "to outside of", id="the root itself"),
        pytest.param(lambda path: path.symlink_to("nowhere"), "does not exist", id="broken"),
        pytest.param(lambda path: path.symlink_to(path.name), "does not exist", id="to itself"),
        pytest.param(os.mkfifo, "neither a file nor a folder", id="a FIFO would hang"),
    ],
)
def test_refused(change: Callable[[Path], None], message: str, folder: Path) -> None:
    path = folder / "deep" / "odd"
    change(path)
    with pytest.raises(ArtifactError, match=message) as caught:
        require_inside(folder)
    assert str(caught.value).startswith(str(path))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        require_inside(tmp_path / "nowhere")
