"""A ResNet-50 of PyTorch's naming, from its safetensors file to answers of an endpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import pytest
from click.testing import CliRunner

from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.torch_resnet import PARAMETERS, read_resnet
from sagemaker_object_detection.tools import cli
from tests import torch_resnet
from tests.functional.endpoint_process import running
from tests.functional.test_scores_agree import evaluate
from tests.training_job import TrainingJob, pictures

BACKBONE = r"^(conv0|bn0|stage\d)_"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("torch") / "model.safetensors"
    return torch_resnet.write(path, torch_resnet.state_dict())


@pytest.fixture(scope="module")
def job(file: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    """Trained on what the command line took over, with the backbone frozen."""
    base = tmp_path_factory.mktemp("job")
    weights = str(base / "weights")
    taken = CliRunner().invoke(cli.main, ["weights", "import", str(file), "--out", weights])
    assert taken.exit_code == 0, taken.output
    job = TrainingJob(base)
    job.recordio(
        pictures(0, 2),
        pictures(0, 2),
        base_network="resnet-50b",
        use_pretrained_model=1,
        freeze_layer_pattern=BACKBONE,
        optimizer="adam",
        learning_rate=0.001,
        epochs=4,
        augmentation=False,
    )
    assert job.run(environ={"OBJECT_DETECTION_WEIGHTS": weights}) == 0, job.log
    return job


def test_every_value_is_in_the_artefact(job: TrainingJob, file: Path) -> None:
    assert "Start training from pretrained model resnet50_v1b.params." in job.log
    assert f"Loaded pretrained model parameters: {len(PARAMETERS)} from" in job.log
    stored = mx.nd.load(str(job.paths.model_dir / artifact.PARAMS_FILE))
    assert artifact.read_config(job.paths.model_dir).base_network == "resnet-50b"
    given = list(read_resnet(file).items())
    convolutions = [(name, values) for name, values in given if values.ndim == 4]
    kept = [array.asnumpy() for name, array in stored.items() if "resnetv1b" in name]
    for name, values in convolutions:
        assert any(np.array_equal(values, array) for array in kept), name


@pytest.mark.parametrize("engine", ["mxnet", "openvino"])
def test_the_figure_of_the_training(job: TrainingJob, engine: str, tmp_path: Path) -> None:
    """Computed again by each engine, OpenVINO on the twin that lies in the artefact."""
    trained = artifact.read_config(job.paths.model_dir).validation
    assert (job.paths.model_dir / artifact.ONNX_FILE).is_file()
    options = ("--engine", engine, *(("--precision", "float32") * (engine == "openvino")))
    data = job.paths.channel_dir("validation")
    found = evaluate(job.paths.model_dir, data, tmp_path / "scores.json", *options)
    assert trained["mAP"] > 0
    assert found["mAP"] == pytest.approx(trained["mAP"], abs=1e-3)


def test_an_endpoint_on_openvino(job: TrainingJob, tmp_path: Path) -> None:
    (tmp_path / "model").symlink_to(job.paths.model_dir)
    with running(tmp_path, OBJECT_DETECTION_ENGINE="openvino") as served:
        served.wait_ready()
        answer: Any
        status, answer = served.post(pictures(0, 1)[0].data)
    assert status == 200, answer
    assert answer["predictions"], json.dumps(answer)
    assert {"class_id", "score", "bbox"} <= set(answer["predictions"][0])
