"""One mAP: of training, of `object-detection evaluate`, and of the endpoint's answers."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from sagemaker_object_detection.boxes import from_px
from sagemaker_object_detection.data.dataset import Labels
from sagemaker_object_detection.evaluation.average_precision import score
from sagemaker_object_detection.evaluation.results import Results, ResultsBuilder
from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.deployed import read_deploy_graph
from sagemaker_object_detection.model.onnx_heads import convert_heads, write_onnx
from sagemaker_object_detection.serving.admission import TracedPredictor
from sagemaker_object_detection.serving.app import create_app
from sagemaker_object_detection.serving.batching import Batcher
from sagemaker_object_detection.serving.settings import Settings
from sagemaker_object_detection.tools import cli
from tests import tiny_model
from tests.data.samples import write_records
from tests.functional.endpoint_process import running
from tests.tiny_scenes import scenes
from tests.training_job import Picture, TrainingJob, pictures, write_recordio

COUNT = 30
BUILTIN = "application/json;format=builtin"


def evaluate(model: Path, data: Path, scores: Path, *options: str) -> dict[str, Any]:
    """What the command writes of a channel."""
    arguments = ["evaluate", str(model), str(data), "--json", str(scores), *options]
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 0, result.output
    written: dict[str, Any] = json.loads(scores.read_text())["channels"][data.name]
    return written


def answered(
    ask: Callable[[bytes], Any], images: Sequence[bytes], truth: Sequence[Labels]
) -> Results:
    """Results made of the endpoint's answers alone."""
    builder = ResultsBuilder()
    for number, (image, labels) in enumerate(zip(images, truth, strict=True)):
        rows = np.array(ask(image)["prediction"], np.float32).reshape(-1, 6)
        builder.add(number, np.array([1, 1]), rows, labels)
    return builder.build()


def labelled(boxes: Any, class_ids: Any) -> Labels:  # noqa: ANN401
    places = np.array(boxes, np.float32).reshape(-1, 4)
    return Labels(places, np.array(class_ids, np.int32), np.zeros(len(places), bool))


def test_the_app_answers_with_all_that_is_scored(tmp_path: Path) -> None:
    """Each detection above 0.01: were some left out, mAP would be lower."""
    model = tiny_model.write(tmp_path / "model")
    samples = scenes(COUNT)
    write_records(tmp_path / "validation" / "a.rec", samples)
    figures = evaluate(model, tmp_path / "validation", tmp_path / "scores.json")

    batcher = Batcher(lambda: MXNetEngine.from_folder(model))
    batcher.start()
    predictor = TracedPredictor(batcher, tiny_model.CLASS_NAMES)
    client = create_app(predictor, batcher.check_ready, Settings()).test_client()

    def ask(image: bytes) -> Any:  # noqa: ANN401
        return client.post("/invocations", data=image, headers={"Accept": BUILTIN}).json

    truth = [labelled(sample.boxes, sample.class_ids) for sample in samples]
    results = answered(ask, [sample.image for sample in samples], truth)
    batcher.close()
    found = score(results, 2, 0.5)
    assert 0.1 < found.mean < 0.95
    assert found.mean == pytest.approx(figures["mAP"], abs=1e-4)
    assert found.per_class == pytest.approx(tuple(figures["AP"].values()), abs=1e-4)
    assert 0.01 < results.detections[:, 1].min() < 0.02


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    """Two pictures by heart."""
    job = TrainingJob(tmp_path_factory.mktemp("job"))
    job.recordio(
        pictures(0, 2),
        pictures(0, 2),
        base_network="resnet-18",
        optimizer="adam",
        learning_rate=0.001,
        epochs=5,
        augmentation=False,
    )
    assert job.run() == 0, job.log
    return job


@pytest.fixture(params=["folder", "archive"])
def model(request: pytest.FixtureRequest, job: TrainingJob, tmp_path: Path) -> Path:
    """The artefact as it lies there, or as SageMaker packs it."""
    if request.param == "folder":
        return job.paths.model_dir
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as tar:
        for path in job.paths.model_dir.iterdir():
            tar.add(path, path.name)
    return tmp_path / "model.tar.gz"


def test_evaluate_has_the_figure_of_the_training(
    job: TrainingJob, model: Path, tmp_path: Path
) -> None:
    trained = artifact.read_config(job.paths.model_dir).validation
    assert trained["mAP"] > 0.1
    data = job.paths.channel_dir("validation")
    figures = evaluate(model, data, tmp_path / "scores.json")
    assert figures["mAP"] == pytest.approx(trained["mAP"], abs=1e-6)
    assert figures["AP"] == pytest.approx(trained["AP"], abs=1e-6)


@pytest.fixture(params=[("mxnet", 1e-4), ("openvino", 1e-3)], ids=["mxnet", "openvino"])
def within(request: pytest.FixtureRequest) -> tuple[str, float]:
    """An engine, and how near its figure comes to that of training."""
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def endpoint(
    job: TrainingJob, within: tuple[str, float], tmp_path: Path
) -> Iterator[Callable[[bytes], Any]]:
    """Asks a running ./serve."""
    (tmp_path / "model").symlink_to(job.paths.model_dir)
    asked = {"OBJECT_DETECTION_ENGINE": within[0], "OBJECT_DETECTION_PRECISION": "float32"}
    with running(tmp_path, **asked) as served:
        served.wait_ready()

        def ask(image: bytes) -> Any:  # noqa: ANN401
            status, answer = served.post(image, Accept=BUILTIN)
            assert status == 200, answer
            return answer

        yield ask


def test_an_endpoint_has_the_figure_of_evaluate(
    job: TrainingJob,
    endpoint: Callable[[bytes], Any],
    within: tuple[str, float],
    tmp_path: Path,
) -> None:
    """Pictures that the network knows, and such that it does not."""
    drawn = pictures(0, COUNT)
    write_recordio(tmp_path / "test", drawn)
    figures = evaluate(job.paths.model_dir, tmp_path / "test", tmp_path / "scores.json")

    def truth(one: Picture) -> Labels:
        return labelled(from_px(one.boxes_px, *one.size), one.class_ids)

    results = answered(endpoint, [one.data for one in drawn], [truth(one) for one in drawn])
    found = score(results, 3, 0.5)
    assert len(results.detections) > 10 * COUNT
    assert 0.01 < found.mean < 1
    assert found.mean == pytest.approx(figures["mAP"], abs=within[1])
    given = [value for value in found.per_class if not np.isnan(value)]
    expected = [value for value in figures["AP"].values() if value is not None]
    assert given == pytest.approx(expected, abs=within[1])


def test_openvino_has_the_figure_of_mxnet(job: TrainingJob, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(job.paths.model_dir, model)
    write_onnx(convert_heads(read_deploy_graph(model)), model / artifact.ONNX_FILE)
    write_recordio(tmp_path / "test", pictures(0, COUNT))
    engines = {
        "mxnet": evaluate(model, tmp_path / "test", tmp_path / "mxnet.json"),
        "openvino": evaluate(
            model,
            tmp_path / "test",
            tmp_path / "openvino.json",
            *("--engine", "openvino", "--precision", "float32"),
        ),
    }
    assert engines["openvino"]["mAP"] == pytest.approx(engines["mxnet"]["mAP"], abs=1e-3)
    assert engines["openvino"]["coco"] == pytest.approx(engines["mxnet"]["coco"], abs=1e-3)
