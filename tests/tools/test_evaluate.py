"""`object-detection evaluate`: the figures it prints and writes, and how it fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from sagemaker_object_detection.data.dataset import Labels
from sagemaker_object_detection.evaluation import coco
from sagemaker_object_detection.evaluation.average_precision import score
from sagemaker_object_detection.evaluation.results import Results, ResultsBuilder
from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
from sagemaker_object_detection.inference.predictor import Predictor
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.deployed import read_deploy_graph, read_deployed
from sagemaker_object_detection.model.onnx_heads import convert_heads, write_onnx
from sagemaker_object_detection.tools import cli
from tests import service_artifact, tiny_model
from tests.data.samples import (
    Sample,
    write_coco,
    write_images,
    write_manifest,
    write_records,
)
from tests.service_network import Service
from tests.tiny_scenes import scenes

COUNT = 11


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, ["evaluate", *map(str, arguments)])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "validation"
    write_records(folder / "a.rec", scenes(COUNT))
    return folder


def by_hand(model: Path, samples: list[Sample]) -> Results:
    """Picture by picture, through the predictor."""
    predictor = Predictor(MXNetEngine.from_folder(model), tiny_model.CLASS_NAMES)
    builder = ResultsBuilder()
    for number, sample in enumerate(samples):
        found = predictor.predict(sample.image)
        rows = np.column_stack([found.class_ids, found.scores, found.boxes])
        boxes = np.array(sample.boxes, np.float32).reshape(-1, 4)
        flags = np.zeros(len(boxes), bool)
        labels = Labels(boxes, np.array(sample.class_ids, np.int32), flags)
        builder.add(number, np.array(sample.declared_size), rows, labels)
    return builder.build()


def scores_of(tmp_path: Path, *arguments: object) -> dict[str, Any]:
    """What is written of each channel."""
    file = tmp_path / "scores" / "scores.json"
    result = run(*arguments, "--json", file)
    assert result.exit_code == 0, result.output
    channels: dict[str, Any] = json.loads(file.read_text())["channels"]
    return channels


def flat(scores: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested figures with their whole names."""
    figures: dict[str, Any] = {}
    for name, value in scores.items():
        if name == "mAP_interval":  # which depends on the order of the images
            continue
        inside = isinstance(value, Mapping)
        figures |= flat(value, f"{above}{name}.") if inside else {f"{above}{name}": value}
    return figures


def test_what_is_printed_and_written(model: Path, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "new" / "scores.json"
    result = run(model, data, "--json", file)
    assert result.exit_code == 0, result.output
    results = by_hand(model, scenes(COUNT))
    expected = score(results, 2, 0.5)
    assert 0.1 < expected.mean < 0.95  # an example that tells something
    content = json.loads(file.read_text())
    assert (content["model"], content["engine"]) == (str(model), "mxnet")
    written = content["channels"]["validation"]
    assert written["mAP"] == pytest.approx(expected.mean, abs=1e-6)
    assert list(written["AP"]) == list(tiny_model.CLASS_NAMES)
    assert tuple(written["AP"].values()) == pytest.approx(expected.per_class, abs=1e-6)
    assert written["coco"] == {
        name: value if value is None else pytest.approx(value, abs=1e-6)
        for name, value in coco.coco_suite(results, 2).items()
    }
    assert (written["images"], written["boxes"]) == (COUNT, len(results.boxes))
    assert f"validation\n  {COUNT} images, {len(results.boxes)} boxes to find" in result.output
    assert f"mAP {expected.mean:.4f} (IoU above 0.5" in result.output
    for name, value in zip(tiny_model.CLASS_NAMES, expected.per_class, strict=True):
        (line,) = (line for line in result.output.splitlines() if line.startswith(f"  {name} "))
        assert line.split()[2] == f"{value:.4f}"
    assert "COCO: AP 0." in result.output
    assert result.output.endswith(f"Written: {file}\n")


FORMS: list[tuple[str, Callable[[Path, list[Sample]], None]]] = [
    ("images", lambda folder, all_: write_images(folder, notes(folder), all_)),
    ("coco", lambda folder, all_: write_coco(folder, notes(folder) / "coco.json", all_)),
    ("manifest", lambda folder, all_: write_manifest(folder, notes(folder) / "a.manifest", all_)),
]


def notes(folder: Path) -> Path:
    return folder.with_name(folder.name + "_annotation")


@pytest.mark.parametrize(("name", "write"), FORMS, ids=[name for name, _ in FORMS])
def test_every_form_has_the_same_score(
    name: str,
    write: Callable[[Path, list[Sample]], None],
    model: Path,
    data: Path,
    tmp_path: Path,
) -> None:
    write(tmp_path / name, scenes(COUNT))
    found = scores_of(tmp_path, model, data, tmp_path / name, notes(tmp_path / name))
    assert list(found) == ["validation", name]
    assert flat(found[name]) == pytest.approx(flat(found["validation"]))


def test_a_packed_model(model: Path, data: Path, tmp_path: Path) -> None:
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for path in model.iterdir():
            tar.add(path, path.name)
    assert scores_of(tmp_path, archive, data) == scores_of(tmp_path, model, data)


@pytest.mark.parametrize(
    ("trained", "options", "used"),
    [
        pytest.param({}, (), 0.5, id="by default"),
        pytest.param({"overlap_threshold": 0.75}, (), 0.75, id="that of the training"),
        pytest.param(
            {"overlap_threshold": 0.75}, ("--overlap-threshold", 0.6), 0.6, id="as asked for"
        ),
    ],
)
def test_overlap_threshold(
    trained: dict[str, float], options: tuple[object, ...], used: float, data: Path, tmp_path: Path
) -> None:
    model = tiny_model.write(tmp_path / "model")
    config = artifact.read_config(model)
    artifact.write_config(model, replace(config, validation=trained))
    found = scores_of(tmp_path, model, data, *options)["validation"]
    assert found["overlap_threshold"] == used
    expected = score(by_hand(model, scenes(COUNT)), 2, used).mean
    assert found["mAP"] == pytest.approx(expected, abs=1e-6)


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return service_artifact.write(
        tmp_path_factory.mktemp("service"), Service("resnet-50", 2, 300, width=1 / 16)
    )


@pytest.mark.parametrize("engine", ["mxnet", "openvino"])
def test_a_model_of_the_service(services: Path, data: Path, tmp_path: Path, engine: str) -> None:
    """Its class count is that of the graph, its side that of hyperparams.json."""
    graph, config = read_deployed(services)
    own = MXNetEngine(graph.symbol, graph.args, graph.auxs, config.image_shape)
    predictor = Predictor(own, config.class_names)
    scores = [predictor.predict(sample.image).scores for sample in scenes(COUNT)]
    options = ("--engine", engine, *(("--precision", "float32") if engine == "openvino" else ()))
    found = scores_of(tmp_path, services, data, *options)["validation"]
    assert list(found["AP"]) == ["class_0", "class_1"]
    assert found["images"] == COUNT
    assert sum(map(len, scores)) > COUNT
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(services, "files")
    packed = scores_of(tmp_path, tmp_path / "model.tar.gz", data, *options)["validation"]
    assert packed == found


def test_a_model_of_the_service_that_does_not_say_its_side(
    services: Path, data: Path, tmp_path: Path
) -> None:
    expected = scores_of(tmp_path, services, data)
    folder = tmp_path / "model"
    shutil.copytree(services, folder)
    (folder / artifact.HYPERPARAMETERS_FILE).unlink()
    refused = run(folder, data)
    assert refused.exit_code == 2
    assert "--image-shape" in refused.output
    assert scores_of(tmp_path, folder, data, "--image-shape", 300) == expected


def test_two_models_on_the_same_images(model: Path, data: Path, tmp_path: Path) -> None:
    """Of a model against itself there is no difference, of one that finds less there is."""
    file = tmp_path / "scores.json"
    result = run(model, data, "--against", model, "--json", file)
    assert result.exit_code == 0, result.output
    found = json.loads(file.read_text())["channels"]["validation"]
    assert found["against"] == {"difference": 0, "low": 0, "high": 0}
    assert found["mAP_interval"]["low"] < found["mAP"] < found["mAP_interval"]["high"]
    assert "do not tell" in result.output
    assert f"95 % interval {found['mAP_interval']['low']:.4f} to" in result.output
    other = shutil.copytree(model, tmp_path / "other")
    config = json.loads((other / "model.json").read_text())
    (other / "model.json").write_text(json.dumps({**config, "class_names": ["red", "green"]}))
    result = run(model, data, "--against", other)
    assert result.exit_code == 2
    assert "The models have different classes (red, blue; red, green)" in result.output


def test_detections_from_a_file(model: Path, data: Path, tmp_path: Path) -> None:
    """What a training job leaves is scored again to the same figures, each and every one."""
    results = by_hand(model, scenes(COUNT))
    truth, found = tmp_path / "ground_truth.json", tmp_path / "detections.json"
    names = [f"{number}.jpg" for number in range(COUNT)]
    truth.write_text(json.dumps(coco.ground_truth(results, names, tiny_model.CLASS_NAMES)))
    found.write_text(json.dumps(coco.detections(results)))
    first = scores_of(tmp_path, model, data)["validation"]
    assert first.pop("precision") == "float32"
    again = scores_of(tmp_path, truth, "--detections", found)["detections"]
    assert flat(again) == pytest.approx(flat(first), abs=1e-6)
    strict = scores_of(tmp_path, truth, "--detections", found, "--overlap-threshold", 0.75)
    assert strict["detections"]["mAP"] == pytest.approx(score(results, 2, 0.75).mean)


def run_alone(*arguments: object) -> str:
    """What a process of the command prints, and at its end whether MXNet was imported."""
    program = (
        "import sys; from sagemaker_object_detection.tools.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print('mxnet' in sys.modules)"
    )
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_no_mxnet_is_loaded_for_files(tmp_path: Path) -> None:
    truth, found = tmp_path / "truth.json", tmp_path / "found.json"
    box = {"image_id": 1, "category_id": 3, "bbox": [1, 1, 5, 5]}
    images = [{"id": 1, "width": 10, "height": 10}]
    categories = [{"id": 3, "name": "cat"}]
    truth.write_text(json.dumps({"images": images, "categories": categories, "annotations": [box]}))
    found.write_text(json.dumps([box | {"score": 0.5}]))
    printed = run_alone("evaluate", truth, "--detections", found)
    assert "mAP 1.0000" in printed
    assert printed.endswith("False\n")


@pytest.fixture
def with_twin(tmp_path: Path) -> Path:
    model = tiny_model.write(tmp_path / "model")
    write_onnx(convert_heads(read_deploy_graph(model)), model / artifact.ONNX_FILE)
    return model


def test_openvino(with_twin: Path, data: Path, tmp_path: Path) -> None:
    """In float32 its mAP stays within 1e-3 of MXNet's."""
    options = ("--engine", "openvino", "--precision", "float32")
    found = scores_of(tmp_path, with_twin, data, *options)["validation"]
    expected = score(by_hand(with_twin, scenes(COUNT)), 2, 0.5).mean
    assert found["mAP"] == pytest.approx(expected, abs=1e-3)
    assert found["precision"] == "float32"


def test_openvino_chooses_a_precision(with_twin: Path, data: Path, tmp_path: Path) -> None:
    found = scores_of(tmp_path, with_twin, data, "--engine", "openvino")["validation"]
    assert found["precision"] in ("float32", "bfloat16")  # there is no INT8 twin


def test_openvino_needs_no_mxnet(with_twin: Path, data: Path) -> None:
    (with_twin / artifact.PARAMS_FILE).unlink()
    lines = run_alone("evaluate", with_twin, data, "--engine", "openvino").splitlines()
    assert lines[0] == "validation"
    assert lines[-1] == "False"


def test_openvino_without_the_model_for_it(model: Path, data: Path, tmp_path: Path) -> None:
    """It is converted in memory, as by an endpoint; INT8 takes images."""
    found = scores_of(tmp_path, model, data, "--engine", "openvino", "--precision", "float32")
    expected = score(by_hand(model, scenes(COUNT)), 2, 0.5).mean
    assert found["validation"]["mAP"] == pytest.approx(expected, abs=1e-3)
    result = run(model, data, "--engine", "openvino", "--precision", "int8")
    assert result.exit_code == 2
    assert f"has no {artifact.INT8_FILE}" in result.output


USAGE = [
    pytest.param((), "Missing argument 'DATA...'", id="no data"),
    pytest.param(("nowhere",), "nowhere is not a folder", id="data that is not there"),
    pytest.param(("DATA", "--precision", "int8"), "is for --engine openvino", id="precision"),
    pytest.param(("DATA", "--engine", "tflite"), "'tflite' is not one of", id="engine"),
    pytest.param(("DATA", "--overlap-threshold", "2"), "is not in the range", id="threshold"),
    pytest.param(("DATA", "--detections", "FILE"), "no model", id="a model and detections"),
]


@pytest.mark.parametrize(("arguments", "what"), USAGE)
def test_wrong_use(
    arguments: tuple[str, ...], what: str, model: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("[]")
    places = {"DATA": data, "FILE": tmp_path / "file"}
    result = run(model, *(places.get(argument, argument) for argument in arguments))
    assert result.exit_code == 2
    assert what in result.output


def test_a_folder_that_is_no_model(data: Path, tmp_path: Path) -> None:
    result = run(tmp_path, data)
    assert result.exit_code == 2
    assert "ClientError: " in result.output
    assert "must hold one folder with a file *-symbol.json; found: none" in result.output


def test_a_model_whose_weights_are_gone(data: Path, tmp_path: Path) -> None:
    model = tiny_model.write(tmp_path / "model")
    (model / artifact.PARAMS_FILE).unlink()
    result = run(model, data)
    assert result.exit_code == 2
    assert f"lacks {artifact.PARAMS_FILE}" in result.output


def test_an_archive_that_is_none(data: Path, tmp_path: Path) -> None:
    (tmp_path / "model.tar.gz").write_text("no archive")
    result = run(tmp_path / "model.tar.gz", data)
    assert result.exit_code == 2
    assert "is no tar archive or is damaged" in result.output


def test_data_that_training_would_refuse(model: Path, tmp_path: Path) -> None:
    bad = replace(scenes(1)[0], boxes=[(0.1, 0.1, 0.5, 0.5)], class_ids=[2])
    write_records(tmp_path / "validation" / "a.rec", [*scenes(3), bad])
    result = run(model, tmp_path / "validation")
    assert result.exit_code == 2
    assert "class_id 2 is not in 0..1" in result.output


@pytest.mark.parametrize("limit", [0.1, 0.5])
def test_images_that_cannot_be_used(limit: float, model: Path, tmp_path: Path) -> None:
    broken = Sample(b"no image", [], [])
    write_records(tmp_path / "validation" / "a.rec", [*scenes(3), broken])
    result = run(model, tmp_path / "validation", "--max-dropped-images", limit)
    assert result.exit_code == (2 if limit == 0.1 else 0), result.output


def test_classes_of_other_names_are_told(model: Path, tmp_path: Path) -> None:
    """The COCO file's are "class 0" and "class 1", the model's red and blue."""
    folder = tmp_path / "validation"
    write_coco(folder, notes(folder) / "coco.json", scenes(4))
    result = run(model, folder)
    assert result.exit_code == 0, result.output
    assert "class_id 0 is 'class 0' in the data and 'red' in the model" in result.output
