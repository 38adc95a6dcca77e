"""./train as a process, to its end: both input forms, the artefact, the log, the tables."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import pytest
from gluoncv.model_zoo import get_model

from sagemaker_object_detection.data.gate import pass_gate
from sagemaker_object_detection.data.loader import Loader
from sagemaker_object_detection.data.sources import RecordIOSource
from sagemaker_object_detection.evaluation.average_precision import score
from sagemaker_object_detection.evaluation.evaluate import evaluate
from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.platform.hyperparameters import SETTINGS
from sagemaker_object_detection.platform.logs import METRICS
from sagemaker_object_detection.platform.processor import BFLOAT16_FLAGS, cpu_flags
from sagemaker_object_detection.tools import demo_data
from sagemaker_object_detection.training.epochs import EarlyStopping
from tests.training_job import Picture, TrainingJob, picture, pictures

EPOCHS = 2
ARTIFACT_FILES = {
    artifact.SYMBOL_FILE,
    artifact.PARAMS_FILE,
    artifact.HYPERPARAMETERS_FILE,
    artifact.MODEL_FILE,
    artifact.ONNX_FILE,
}


def _with_defects() -> list[Picture]:
    """Ten pictures: one cut off, one without boxes, one with a flat and an overhanging box."""
    records = pictures(0, 10)
    whole = records[3]
    records[3] = Picture(whole.data[:2000], whole.size, whole.boxes_px, whole.class_ids)
    records[5] = records[5].with_boxes()
    records[7] = records[7].with_boxes((10, 10, 90, 80), (30, 40, 30, 90), (-20, 50, 60, 900))
    return records


@pytest.fixture(scope="module")
def recordio(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    job = TrainingJob(tmp_path_factory.mktemp("recordio"))
    job.recordio(_with_defects(), pictures(20, 3), epochs=EPOCHS, mini_batch_size=4)
    assert job.run() == 0, job.log
    return job


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    job = TrainingJob(tmp_path_factory.mktemp("images"))
    job.images(_with_defects(), pictures(20, 3), epochs=EPOCHS, mini_batch_size=4)
    assert job.run() == 0, job.log
    return job


@pytest.fixture(params=["recordio", "images"])
def done(request: pytest.FixtureRequest) -> TrainingJob:
    job: TrainingJob = request.getfixturevalue(request.param)
    return job


def _rows(job: TrainingJob) -> list[dict[str, str]]:
    text = (job.paths.output_data_dir / "metrics.csv").read_text()
    return list(csv.DictReader(text.splitlines()))


def _report(job: TrainingJob) -> dict[str, Any]:
    text = (job.paths.output_data_dir / "data_report.json").read_text()
    channels: dict[str, Any] = json.loads(text)["channels"]
    return channels


def _params(job: TrainingJob) -> dict[str, Any]:
    loaded = mx.nd.load(str(job.paths.model_dir / artifact.PARAMS_FILE))
    return {name.partition(":")[2]: array.asnumpy() for name, array in loaded.items()}


def test_the_artefact_is_complete(done: TrainingJob) -> None:
    folder = done.paths.model_dir
    assert {path.name for path in folder.iterdir()} == ARTIFACT_FILES
    assert done.failure is None
    config = artifact.read_config(folder)
    assert (config.image_shape, config.base_network) == (300, "mobilenet1.0")
    assert config.validation["mAP"] == max(float(row["mAP"]) for row in _rows(done))
    assert config.versions["mxnet"] == mx.__version__
    hyperparameters = json.loads((folder / artifact.HYPERPARAMETERS_FILE).read_text())
    assert set(hyperparameters) == {setting.name for setting in SETTINGS}
    assert all(isinstance(value, str) for value in hyperparameters.values())
    assert hyperparameters["mini_batch_size"] == "4"
    assert hyperparameters["use_pretrained_model"] == "0"


def test_class_names(recordio: TrainingJob, images: TrainingJob) -> None:
    """The annotations have them; records without a classes.txt do not."""
    names = [artifact.read_config(job.paths.model_dir).class_names for job in (images, recordio)]
    assert names == [demo_data.CLASS_NAMES, ("class_0", "class_1", "class_2")]


def test_the_log(done: TrainingJob) -> None:
    lines = done.log.splitlines()
    for metric in METRICS:
        values = [float(m[1]) for line in lines if (m := re.search(metric.regex, line))]
        assert len(values) == (0 if metric.name == "test:mAP" else EPOCHS), metric.name
        assert all(math.isfinite(value) for value in values)
    progress = next(m.regex for m in METRICS if m.name == "train:progress")
    assert re.findall(progress, done.log) == ["50.0", "100.0"]
    about = r"\[\d\d/\d\d/\d{4} \d\d:\d\d:\d\d (INFO|WARNING) \d+\] "
    told = [line for line in lines if "_metric: " in line]
    assert all(re.match(about, line) for line in told)
    assert "Traceback" not in done.log
    assert "Warning: " not in done.log  # of a library, which tells users nothing


def test_the_metrics_lines(done: TrainingJob) -> None:
    lines = [line for line in done.log.splitlines() if line.startswith("#metrics ")]
    first, *epochs, whole = [json.loads(line.removeprefix("#metrics ")) for line in lines]
    assert first["Dimensions"]["Meta"] == "init_train_data_iter"
    assert first["Metrics"]["Total Records Seen"]["sum"] == 0
    assert [line["Dimensions"]["epoch"] for line in epochs] == list(range(EPOCHS))
    seen = [line["Metrics"]["Total Records Seen"]["sum"] for line in epochs]
    assert seen == [9 * (epoch + 1) for epoch in range(EPOCHS)]
    assert whole["Metrics"]["epochs"]["sum"] == EPOCHS
    assert whole["StartTime"] <= epochs[0]["StartTime"] <= epochs[0]["EndTime"]


def test_the_table_of_epochs(done: TrainingJob) -> None:
    rows = _rows(done)
    assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(EPOCHS)]
    for name in ("cross_entropy", "smooth_l1"):
        regex = next(m.regex for m in METRICS if m.name == f"train:{name}")
        assert [row[name] for row in rows] == re.findall(regex, done.log)
    regex = next(m.regex for m in METRICS if m.name == "validation:mAP")
    assert [row["mAP"] for row in rows] == re.findall(regex, done.log)


def test_the_data_report(done: TrainingJob) -> None:
    report = _report(done)["train"]
    assert report["images"] == 9
    assert report["images_without_boxes"] == 1
    assert report["boxes_clipped"] == 1
    reasons = [drop["reason"] for drop in report["dropped"]]
    assert reasons == ["truncated", "zero_area"]
    dropped = report["dropped"][0]
    assert re.search(r"record 3 \(byte \d+\)|003\.jpg", dropped["record"])
    assert f"Dropped {dropped['record']}: truncated" in done.log
    assert sum(report["boxes_per_class"].values()) == report["boxes"]
    assert "Expected number of batches: 3" not in done.log  # 10 or 9 images: 3 batches of 4


def test_both_forms_pass_the_gate_alike(recordio: TrainingJob, images: TrainingJob) -> None:
    reports = [_report(job) for job in (recordio, images)]
    for report in reports:
        for channel in report.values():
            channel["boxes_per_class"] = [*channel["boxes_per_class"].values()]  # keys are names
            channel["dropped"] = [
                (drop["reason"], drop["detail"].rpartition(":")[2]) for drop in channel["dropped"]
            ]
    assert reports[0] == reports[1]


def test_both_forms_train_alike(recordio: TrainingJob, images: TrainingJob) -> None:
    """The same data, seed and augmentation: the same training, whatever the form of the input."""
    for one, other in zip(_rows(recordio), _rows(images), strict=True):
        for name in ("cross_entropy", "smooth_l1"):
            assert float(one[name]) == pytest.approx(float(other[name]), rel=1e-3)


def test_it_learns_and_the_artefact_is_what_was_validated(tmp_path: Path) -> None:
    """Two pictures by heart. Loaded again, the best epoch's model has the mAP that was logged.

    An engine that is not refreshed scores the first epoch's weights for ever, and this differs.
    """
    job = TrainingJob(tmp_path)
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
    logged = artifact.read_config(job.paths.model_dir).validation
    assert logged["mAP"] > 0.5
    assert logged["epoch"] > 0
    engine = MXNetEngine.from_folder(job.paths.model_dir, mx.cpu(), batch_sizes=[2])
    source = RecordIOSource([job.paths.channel_dir("validation") / "data.rec"])
    dataset, _ = pass_gate("validation", source, 3, 2)
    loader = Loader(dataset, 300, 2)
    try:
        results = evaluate(engine, loader.evaluation_pass(2))
    finally:
        loader.close()
    assert results is not None
    again = score(results, 3, 0.5)
    assert again.mean == pytest.approx(logged["mAP"], abs=1e-4)
    assert again.per_class == pytest.approx(tuple(logged["AP"].values()), abs=1e-4)


BACKBONE = r"^(conv0|batchnorm0|bn0|stage\d)_"


@pytest.mark.parametrize("where", ["channel", "image"])
def test_pretrained_weights(where: str, tmp_path: Path) -> None:
    """They arrive: with the whole backbone frozen they are in the artefact as they were given."""
    donor = get_model("resnet18_v1", pretrained=False)
    donor.initialize(mx.init.Xavier())
    donor(mx.nd.zeros((1, 3, 64, 64)))
    job = TrainingJob(tmp_path)
    given: dict[str, object] = {"base_network": "resnet-18", "freeze_layer_pattern": BACKBONE}
    environ = {}
    if where == "channel":  # and nothing said about use_pretrained_model: found, so used
        job.recordio(pictures(0, 2), pictures(20, 1), use_pretrained_model="", **given)
        folder = job.paths.channel_dir("pretrained")
        config = json.loads(job.paths.input_data_config_file.read_text())
        config["pretrained"] = {"ContentType": "application/x-sagemaker-model"}
        job.paths.input_data_config_file.write_text(json.dumps(config))
    else:
        job.recordio(pictures(0, 2), pictures(20, 1), use_pretrained_model=1, **given)
        folder = tmp_path / "weights"
        environ["OBJECT_DETECTION_WEIGHTS"] = str(folder)
    folder.mkdir()
    donor.save_parameters(str(folder / "resnet18_v1-a0666292.params"))
    assert job.run(environ=environ) == 0, job.log
    assert "Loaded pretrained model parameters: 100 from" in job.log
    hyperparameters = (job.paths.model_dir / artifact.HYPERPARAMETERS_FILE).read_text()
    assert json.loads(hyperparameters)["use_pretrained_model"] == "1"
    params = _params(job)
    compared = 0
    for name, parameter in donor.collect_params().items():
        plain = name.removeprefix(donor.prefix)
        if "dense" not in plain and "running" not in plain:
            np.testing.assert_array_equal(
                params[f"ssd_resnetv10_{plain}"], parameter.data().asnumpy()
            )
            compared += 1
    assert compared == 60
    assert params["ssd_convpredictor0_conv0_bias"].any()  # the heads have learned


def test_without_weights_and_without_a_word_about_them(tmp_path: Path) -> None:
    """From scratch, with a warning; here with a batch larger than the data."""
    job = TrainingJob(tmp_path)
    job.recordio(pictures(0, 2), pictures(20, 1), use_pretrained_model="", mini_batch_size=32)
    assert job.run(environ={"OBJECT_DETECTION_WEIGHTS": str(tmp_path / "none")}) == 0, job.log
    assert re.search(r"WARNING \d+\] use_pretrained_model was not given and there are", job.log)


def test_a_job_without_configuration_of_channels_and_hosts(tmp_path: Path) -> None:
    """On a laptop: hyperparameters and folders are enough.

    With a learning rate of next to nothing, epochs differ by their augmentation alone, if any.
    """
    job = TrainingJob(tmp_path)
    job.recordio(
        [picture(0)],
        [picture(20)],
        num_training_samples=99,
        epochs=2,
        learning_rate=1e-9,
        augmentation=False,
    )
    job.paths.input_data_config_file.unlink()
    job.paths.resource_config_file.unlink()
    assert job.run() == 0, job.log
    assert "Expected number of batches: 50, did not match the number of batches" in job.log
    assert "host=algo-1" in job.log
    first, second = (float(row["cross_entropy"]) for row in _rows(job))
    assert second == pytest.approx(first, rel=1e-3)


def test_augmentation_changes_the_pictures(tmp_path: Path) -> None:
    """It is on by default."""
    job = TrainingJob(tmp_path)
    job.recordio([picture(0)], [picture(20)], epochs=2, learning_rate=1e-9)
    assert job.run() == 0, job.log
    first, second = (float(row["cross_entropy"]) for row in _rows(job))
    assert second != pytest.approx(first, rel=1e-5)


def test_early_stopping(tmp_path: Path) -> None:
    """It ends where the rule says, for the mAPs that were logged; never at all without it."""
    epochs = 6
    job = TrainingJob(tmp_path)
    job.recordio(
        pictures(0, 1),
        pictures(20, 1),
        epochs=epochs,
        early_stopping="True",
        early_stopping_min_epochs=2,
        early_stopping_patience=1,
        early_stopping_tolerance=1,
    )
    assert job.run() == 0, job.log
    values = [float(row["mAP"]) for row in _rows(job)]
    rule = EarlyStopping(2, 1, 1.0)
    stops = [rule.should_stop(i, value) for i, value in enumerate(values, 1)]
    assert not any(stops[:-1])
    assert stops[-1] == ("Early stopping after epoch" in job.log)
    assert stops[-1] or len(values) == epochs


@pytest.mark.skipif(not cpu_flags() & BFLOAT16_FLAGS, reason="this CPU has no bfloat16")
def test_bfloat16(tmp_path: Path) -> None:
    """What is left behind is float32, and no trace of how it was trained."""
    job = TrainingJob(tmp_path)
    job.recordio(pictures(0, 2), pictures(20, 1), precision="bfloat16", learning_rate=1e-4)
    assert job.run() == 0, job.log
    assert "computing in bfloat16" in job.log
    assert {array.dtype for array in _params(job).values()} == {np.dtype(np.float32)}
    assert "amp_cast" not in (job.paths.model_dir / artifact.SYMBOL_FILE).read_text()
