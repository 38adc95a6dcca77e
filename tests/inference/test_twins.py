"""Twins are made whole, and INT8 stays only when it is good enough."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sagemaker_object_detection.inference.engine_openvino import OpenVINOEngine
from sagemaker_object_detection.inference.predictor import Engine
from sagemaker_object_detection.inference.twins import (
    Int8Score,
    delete_twins,
    first_images,
    judge_int8,
    make_twins,
)
from sagemaker_object_detection.model import artifact
from tests import lively_network, tiny_model

TWINS = {"model.onnx", "model-int8.onnx"}


def _images() -> NDArray[np.uint8]:
    return lively_network.pictures(4, tiny_model.SIDE)


def _found(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name.endswith("onnx")}


def test_both(tmp_path: Path) -> None:
    folder = tiny_model.write(tmp_path)
    before = set(folder.iterdir())
    paths = make_twins(folder, [_images()], threads=1)
    assert [path.name for path in paths] == ["model.onnx", "model-int8.unscored.onnx"]
    assert set(folder.iterdir()) - before == set(paths)
    assert OpenVINOEngine.from_folder(folder).precision != "int8"
    judge_int8(folder, 0.5, lambda engine: 0.5, threads=1)
    assert _found(folder) == TWINS
    for precision in ("float32", "int8"):
        assert OpenVINOEngine.from_folder(folder, precision).image_shape == tiny_model.SIDE


def test_float32_alone_reads_no_image(tmp_path: Path) -> None:
    def batches() -> Iterator[NDArray[Any]]:
        raise AssertionError
        yield

    folder = tiny_model.write(tmp_path)
    assert make_twins(folder, batches(), threads=1, int8=False) == (folder / "model.onnx",)
    assert _found(folder) == {"model.onnx"}


def test_images_are_read_no_further_than_the_limit() -> None:
    def batches() -> Iterator[NDArray[Any]]:
        yield np.zeros((3, 1))
        yield np.ones((3, 1))
        raise AssertionError

    assert [len(batch) for batch in first_images(batches(), 5)] == [3, 2]
    assert [len(batch) for batch in first_images(iter([np.zeros((3, 1))]), 5)] == [3]
    assert list(first_images(batches(), 0)) == []


def test_without_images_the_float32_twin_stays(tmp_path: Path) -> None:
    folder = tiny_model.write(tmp_path)
    with pytest.raises(ValueError, match="no images"):
        make_twins(folder, [], threads=1)
    assert _found(folder) == {"model.onnx"}


def test_twins_of_other_weights_do_not_stay(tmp_path: Path) -> None:
    folder = tiny_model.write(tmp_path)
    make_twins(folder, [_images()], threads=1)
    judge_int8(folder, 0.5, lambda engine: 0.5, threads=1)
    (folder / artifact.PARAMS_FILE).write_bytes(b"damaged")
    with pytest.raises(artifact.ArtifactError):
        make_twins(folder, [_images()], threads=1)
    assert _found(folder) == set()
    assert artifact.read_config(folder).twins == {}
    delete_twins(folder)  # nothing is there: no error


@pytest.mark.parametrize(
    ("score", "kept"),
    [
        pytest.param(0.7, True, id="better"),
        pytest.param(0.6, True, id="the same"),
        pytest.param(0.5951, True, id="a little worse"),
        pytest.param(0.5949, False, id="worse than is allowed"),
        pytest.param(0.0, False, id="it sees nothing"),
        pytest.param(math.nan, False, id="no number"),
    ],
)
def test_judgement(tmp_path: Path, score: float, kept: bool) -> None:
    folder = tiny_model.write(tmp_path)
    make_twins(folder, [_images()], threads=1)
    engines: list[Engine] = []

    def scored(engine: Engine) -> float:
        engines.append(engine)
        return score

    result = judge_int8(folder, 0.6, scored, threads=1)
    assert result is not None
    assert result.is_kept is kept
    assert _found(folder) == (TWINS if kept else {"model.onnx"})
    (engine,) = engines
    assert isinstance(engine, OpenVINOEngine)
    assert engine.precision == "int8"
    stored = json.loads((folder / "model.json").read_text())["twins"]["int8"]
    assert stored == {
        "mAP": None if math.isnan(score) else score,
        "reference_mAP": 0.6,
        "allowed_fall": 0.005,
        "fall": None if math.isnan(score) else 0.6 - score,
        "kept": kept,
    }


def test_a_stop_leaves_no_twin_that_was_not_judged(tmp_path: Path) -> None:
    folder = tiny_model.write(tmp_path)
    make_twins(folder, [_images()], threads=1)
    assert judge_int8(folder, 0.6, lambda engine: None, threads=1) is None
    assert _found(folder) == {"model.onnx"}
    assert artifact.read_config(folder).twins == {}


def _fail(engine: Engine) -> float:
    raise RuntimeError("lost")


def _damage(folder: Path) -> Callable[[Engine], float]:
    (folder / "model-int8.unscored.onnx").write_bytes(b"damaged")
    return lambda engine: 1.0


@pytest.mark.parametrize("make_score", [lambda folder: _fail, _damage], ids=["score", "engine"])
def test_a_failure_leaves_no_twin_that_was_not_judged(
    tmp_path: Path, make_score: Callable[[Path], Callable[[Engine], float]]
) -> None:
    folder = tiny_model.write(tmp_path)
    make_twins(folder, [_images()], threads=1)
    score = make_score(folder)
    with pytest.raises((RuntimeError, artifact.ArtifactError)):
        judge_int8(folder, 0.6, score, threads=1)
    assert _found(folder) == {"model.onnx"}


def test_the_line_for_the_log() -> None:
    assert str(Int8Score(0.81, 0.812, 0.005)) == (
        "INT8 twin: validation mAP 0.8100, 0.8120 in float32; kept."
    )
    assert str(Int8Score(0.8, 0.812, 0.005)) == (
        "INT8 twin: validation mAP 0.8000, 0.8120 in float32; deleted: it may fall by less than "
        "0.005."
    )
