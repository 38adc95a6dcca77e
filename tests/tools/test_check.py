"""`object-detection check`: every fault of a job tree in one answer, and nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sagemaker_object_detection.tools import cli
from sagemaker_object_detection.tools.training_job import prepare
from tests import training_job
from tests.tools.format_trees import sample, write, write_tree

SIX = [sample(f"{n}.jpg", (40, 30), ("dog", (1, 2, 30, 20), False), seed=n) for n in range(6)]


def check(folder: Path) -> Result:
    return CliRunner().invoke(cli.main, ["check", str(folder)])


def change(folder: Path, **hyperparameters: object) -> None:
    file = folder / "input/config/hyperparameters.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | hyperparameters))


def snapshot(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(p), p.lstat().st_mtime_ns) for p in folder.rglob("*"))


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A good one, on YOLO data."""
    data = write_tree("yolo", tmp_path / "data", {"train": SIX[:4], "val": SIX[4:]})
    given = {"base_network": "mobilenet1.0", "use_pretrained_model": 0}
    return prepare(data, tmp_path / "job", given).base


def test_a_good_job(job: Path) -> None:
    before = snapshot(job)
    result = check(job)
    assert result.exit_code == 0, result.output
    assert result.output.endswith("This job can be trained.\n")
    assert "train" in result.output
    assert snapshot(job) == before


def test_a_share_and_a_stream(tmp_path: Path) -> None:
    shared = training_job.TrainingJob(tmp_path / "shared")
    training_job.write_recordio(shared.paths.channel_dir("train"), training_job.pictures(0, 8))
    shared.configure({"train": "application/x-recordio"}, validation_share=0.25)
    assert check(shared.paths.base).exit_code == 0
    stream = training_job.TrainingJob(tmp_path / "stream")
    pipe = {"TrainingInputMode": "Pipe"}
    stream.configure({"train": pipe, "validation": pipe})
    result = check(stream.paths.base)
    assert result.exit_code == 0
    assert "Channel 'train' is a stream" in result.output


FAULTS: list[object] = [
    pytest.param(
        lambda job: change(job, epochs="0", unheard="1"),
        ["Hyperparameter epochs", "Unknown hyperparameter: unheard"],
        id="hyperparameters",
    ),
    pytest.param(
        lambda job: write(
            job / "input/config/resourceconfig.json", '{"hosts": ["a"], "current_host": "b"}'
        ),
        ["\"current_host\" is 'b'"],
        id="hosts",
    ),
    pytest.param(
        lambda job: change(job, freeze_layer_pattern="nothing"), ["matches no layer"], id="freeze"
    ),
    pytest.param(
        lambda job: change(job, freeze_layer_pattern="."), ["freezes every layer"], id="freeze all"
    ),
    pytest.param(
        lambda job: change(job, use_pretrained_model="1"), ["no weights for"], id="weights"
    ),
    pytest.param(
        lambda job: write(job / "input/data/model/a.txt", "no model"),
        ["must hold one folder with a file"],
        id="earlier model",
    ),
    pytest.param(
        lambda job: change(job, gradient_compression="float16"),
        ["gradient_compression: float16 needs distribution=horovod"],
        id="distribution",
    ),
    pytest.param(lambda job: write(job / "model", "a file"), ["cannot be written to"], id="model"),
]


@pytest.mark.parametrize(("spoil", "told"), FAULTS)
def test_faults(spoil: Callable[[Path], None], told: list[str], job: Path) -> None:
    """Whatever else is wrong, the labels are checked too."""
    spoil(job)
    label = job / "input/data/train/labels/train/1.txt"
    label.write_text("0 0.5\n")
    config = job / "input/config/inputdataconfig.json"
    if (job / "input/data/model").exists():
        config.write_text(json.dumps(json.loads(config.read_text()) | {"model": {}}))
    result = check(job)
    assert result.exit_code == 2, result.output
    for text in (*told, "labels/train/1.txt, line 1"):
        assert text in result.output


def test_classes_that_are_more(job: Path) -> None:
    change(job, num_classes="2", class_names="")
    result = check(job)
    assert result.exit_code == 2
    assert "list 3 classes" in result.output


def test_an_empty_folder(tmp_path: Path) -> None:
    result = check(tmp_path)
    assert result.exit_code == 2
    assert "hyperparameters.json is missing" in result.output
    assert "Missing required channel: train" in result.output
