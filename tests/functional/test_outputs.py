"""What a job leaves in output/data and beside its model, once with everything switched on."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sagemaker_object_detection.evaluation.average_precision import score
from sagemaker_object_detection.evaluation.coco import read_results
from sagemaker_object_detection.model import artifact
from tests.training_job import TrainingJob, pictures, write_recordio

EPOCHS = 3
CLASSES = 3

# ./train with a line in the log after every step, as if each took half a minute; and with what is
# written to live.json.
SLOW = """
import json, runpy, sys
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.platform.progress import Heartbeat

Heartbeat.is_due = lambda self: True
write = artifact.write_text_whole

def shown(path, text):
    if path.name == "live.json":
        print("live.json:", json.loads(text)["state"], json.loads(text)["epoch"], flush=True)
    write(path, text)

artifact.write_text_whole = shown
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _job(base: Path, **given: object) -> TrainingJob:
    job = TrainingJob(base)
    settings = {"epochs": EPOCHS, "quantize": "auto", "tensorboard": 1, **given}
    job.recordio(pictures(0, 6), pictures(20, 4), **settings)
    return job


def _with_test(job: TrainingJob) -> TrainingJob:
    write_recordio(job.paths.channel_dir("test"), pictures(30, 3))
    file = job.paths.input_data_config_file
    channels = json.loads(file.read_text())
    file.write_text(json.dumps({**channels, "test": channels["validation"]}))
    return job


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    job = _with_test(_job(tmp_path_factory.mktemp("outputs")))
    assert job.run([sys.executable, "-c", SLOW]) == 0, job.log
    return job


def _read(job: TrainingJob, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((job.paths.output_data_dir / name).read_text())
    return content


def test_files(done: TrainingJob) -> None:
    assert {path.name for path in done.paths.output_data_dir.iterdir()} == {
        "data_report.html",
        "data_report.json",
        "detections.json",
        "ground_truth.json",
        "live.json",
        "metrics.csv",
        "metrics.json",
        "report.html",
        "tensorboard",
    }
    assert "The model itself is whole" not in done.log
    assert "Traceback" not in done.log


def test_the_figures_agree(done: TrainingJob) -> None:
    metrics, config = _read(done, "metrics.json"), artifact.read_config(done.paths.model_dir)
    assert metrics["mAP"] == pytest.approx(config.validation["mAP"], abs=1e-9)
    assert metrics["epoch"] == config.validation["epoch"]
    assert metrics["epochs"] == EPOCHS
    assert metrics["AP"] == pytest.approx(dict(config.validation["AP"]), abs=1e-9)
    assert metrics["test"] == dict(config.test)
    assert metrics["images"] == 4
    assert set(metrics["best_threshold"]) == set(config.class_names)


def test_anyone_can_score_again(done: TrainingJob) -> None:
    folder = done.paths.output_data_dir
    read = read_results(folder / "ground_truth.json", folder / "detections.json")
    metrics = _read(done, "metrics.json")
    assert len(read.class_names) == CLASSES
    assert score(read.results, CLASSES, 0.5).mean == pytest.approx(metrics["mAP"], abs=1e-6)
    assert read.suite == pytest.approx(metrics["coco"], abs=1e-6)


def test_twins(done: TrainingJob) -> None:
    config = artifact.read_config(done.paths.model_dir)
    assert (done.paths.model_dir / artifact.ONNX_FILE).is_file()
    figures = config.twins["int8"]
    assert figures["reference_mAP"] == config.validation["mAP"]
    assert figures["kept"] == (figures["fall"] < 0.005)
    assert (done.paths.model_dir / artifact.INT8_FILE).is_file() == figures["kept"]
    assert f"INT8 twin: validation mAP {figures['mAP']:.4f}" in done.log


def test_the_page(done: TrainingJob) -> None:
    page = (done.paths.output_data_dir / "report.html").read_text()
    assert page.count("<svg") > 3
    assert page.count("data:image/jpeg;base64,") >= 4
    assert f"{artifact.read_config(done.paths.model_dir).validation['mAP']:.4f}" in page


def test_live(done: TrainingJob) -> None:
    live, config = _read(done, "live.json"), artifact.read_config(done.paths.model_dir)
    assert (live["state"], live["epoch"], live["epochs"]) == ("finished", EPOCHS, EPOCHS)
    assert len(list((done.paths.output_data_dir / "tensorboard").iterdir())) == 1
    assert live["best"] == {key: config.validation[key] for key in ("epoch", "mAP")}


def test_slow_work_is_never_silent(done: TrainingJob) -> None:
    """live.json is written with each line of training and validation."""
    lines = [line.partition("] ")[2] or line for line in done.log.splitlines()]
    wanted = r"Epoch: +0, batches: +\d+,|live.json: \S+ 0|Channel '\w+': \d+ images done"
    told = [found[0] for line in lines if (found := re.match(wanted, line))]
    first = told[: told.index("live.json: validating 0") + 1]
    assert first == [
        "Epoch:    0, batches:      1,",
        "live.json: training 0",
        "Epoch:    0, batches:      2,",
        "live.json: training 0",
        "Channel 'validation': 4 images done",
        "live.json: validating 0",
    ]
    assert told[-1] == "Channel 'test': 3 images done"


@pytest.mark.parametrize("moment", ["The best model is of epoch 0", "The INT8 twin is scored"])
def test_stopped_while_twins_are_made(moment: str, tmp_path: Path) -> None:
    """SIGTERM: exit code 0 within 30 s, and the model is whole."""
    job = _job(tmp_path, epochs=1, tensorboard=0)
    with job.started(moment) as process:
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, job.log
        assert time.monotonic() - begun < 30
    assert "Stopped: what was to follow the training is left undone." in job.log
    assert artifact.read_config(job.paths.model_dir).validation["epoch"] == 0
    artifact.require_files(job.paths.model_dir)
    assert not (job.paths.model_dir / artifact.INT8_FILE).exists()
    assert job.failure is None
