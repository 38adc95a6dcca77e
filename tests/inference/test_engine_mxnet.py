from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import numpy.typing as npt
import pytest

from sagemaker_object_detection import images
from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine, cut
from sagemaker_object_detection.inference.predictor import Predictor, to_planes
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.artifact import ArtifactError
from tests import tiny_model


def _planes(*cells: dict[tuple[int, int], str]) -> npt.NDArray[np.uint8]:
    squares = [images.resize_square(tiny_model.picture(c), tiny_model.SIDE) for c in cells]
    return np.stack([to_planes(square) for square in squares])


def test_from_folder_detects(tmp_path: Path) -> None:
    engine = MXNetEngine.from_folder(tiny_model.write(tmp_path))
    predictor = Predictor(engine, tiny_model.CLASS_NAMES)
    picture = tiny_model.picture({(0, 0): "red", (3, 2): "blue", (1, 3): "dim red"})
    found = predictor.predict(tiny_model.encoded(picture)).above(0.2)
    named = {
        tuple(box): class_id
        for box, class_id in zip(found.boxes.tolist(), found.class_ids, strict=True)
    }
    assert named == {
        (0.0, 0.0, 0.25, 0.25): 0,
        (0.75, 0.5, 1.0, 0.75): 1,
        (0.25, 0.75, 0.5, 1.0): 0,
    }
    assert found.boxes[2].tolist() == [0.25, 0.75, 0.5, 1.0]  # the dim one is the least sure


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(
    "batch_sizes", [(1,), (2,), (3,), (1, 4), (8,)], ids=lambda sizes: f"sizes {sizes}"
)
def test_any_number_of_pictures(batch_sizes: tuple[int, ...], dtype: Any) -> None:  # noqa: ANN401
    symbol, args = tiny_model.graph()
    one = MXNetEngine(symbol, args, {}, tiny_model.SIDE, mx.cpu())
    planes = _planes({(0, 0): "red"}, {(1, 1): "blue"}, {}, {(2, 0): "dim red"}, {(3, 3): "red"})
    expected = np.concatenate([one.detect(picture[None]) for picture in planes])
    engine = MXNetEngine(symbol, args, {}, tiny_model.SIDE, mx.cpu(), batch_sizes)
    engine.warm_up()
    got = engine.detect(planes.astype(dtype))
    assert got.shape == (5, 16, 6)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_rows_are_not_overwritten_by_the_next_call() -> None:
    symbol, args = tiny_model.graph()
    engine = MXNetEngine(symbol, args, {}, tiny_model.SIDE, mx.cpu())
    first = engine.detect(_planes({(0, 0): "red"}))
    copy = first.copy()
    engine.detect(_planes({(3, 3): "blue"}))
    np.testing.assert_array_equal(first, copy)


def test_refresh_follows_changes_of_the_weights() -> None:
    symbol, args = tiny_model.graph()
    engine = MXNetEngine(symbol, args, {}, tiny_model.SIDE, mx.cpu())
    planes = _planes({(0, 0): "red"})
    assert engine.detect(planes)[0, 0, 1] > 0.9
    args["class_weight"][:] = 0
    engine.refresh()
    assert engine.detect(planes)[0, :, 0].max() == -1


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((3, 32, 32), "one picture without its batch"),
        ((1, 32, 32, 3), "channels last"),
        ((1, 3, 16, 16), "another side"),
        ((0, 3, 32, 32), "no picture"),
    ],
)
def test_wrong_shape(shape: tuple[int, ...], reason: str) -> None:
    symbol, args = tiny_model.graph()
    engine = MXNetEngine(symbol, args, {}, tiny_model.SIDE, mx.cpu())
    with pytest.raises(ValueError, match="expected pictures"):
        engine.detect(np.zeros(shape, np.uint8))


def _without_anchors(folder: Path) -> None:
    params = mx.nd.load(str(folder / artifact.PARAMS_FILE))
    del params["arg:anchors"]
    mx.nd.save(str(folder / artifact.PARAMS_FILE), params)


def _wrong_shape(folder: Path) -> None:
    params = mx.nd.load(str(folder / artifact.PARAMS_FILE))
    params["arg:class_bias"] = mx.nd.zeros((7,))
    mx.nd.save(str(folder / artifact.PARAMS_FILE), params)


def _without_prefix(folder: Path) -> None:
    mx.nd.save(str(folder / artifact.PARAMS_FILE), {"anchors": mx.nd.zeros((1,))})


def _without_names(folder: Path) -> None:
    mx.nd.save(str(folder / artifact.PARAMS_FILE), [mx.nd.zeros((1,))])


def _cut_params(folder: Path) -> None:
    path = folder / artifact.PARAMS_FILE
    path.write_bytes(path.read_bytes()[:-8])


def _cut_symbol(folder: Path) -> None:
    path = folder / artifact.SYMBOL_FILE
    path.write_bytes(path.read_bytes()[:300])


def _two_outputs(folder: Path) -> None:
    path = folder / artifact.SYMBOL_FILE
    symbol = mx.sym.load(str(path))
    mx.sym.Group([symbol, symbol.get_internals()["class_output"]]).save(str(path))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without_anchors, "1 arguments of the graph have no values: anchors"),
        (_wrong_shape, r"the graph does not fit its parameters: .*Shape inconsistent"),
        (_without_prefix, "holds 'anchors', expected keys arg:NAME and aux:NAME"),
        (_without_names, "holds arrays without names"),
        (_cut_params, r"-0000\.params is not a parameter file of MXNet or is damaged"),
        (_cut_symbol, r"-symbol\.json is not a graph of MXNet or is damaged"),
        (_two_outputs, r"expected one of \(B, N, 6\)"),
        (lambda folder: (folder / artifact.SYMBOL_FILE).unlink(), "lacks model_algo_1-symbol"),
        (lambda folder: (folder / artifact.MODEL_FILE).unlink(), r"model\.json is missing"),
    ],
)
def test_damaged_artifact(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    folder = tiny_model.write(tmp_path)
    damage(folder)
    with pytest.raises(ArtifactError, match=message):
        MXNetEngine.from_folder(folder)


@pytest.mark.parametrize(
    ("count", "sizes", "expected"),
    [
        (1, (1,), [1]),
        (3, (1,), [1, 1, 1]),
        (6, (1, 4), [4, 1, 1]),
        (3, (2,), [2, 2]),
        (3, (8,), [8]),
        (13, (1, 2, 8), [8, 2, 2, 1]),
    ],
)
def test_cut(count: int, sizes: tuple[int, ...], expected: list[int]) -> None:
    assert cut(count, sizes) == expected


def test_batch_sizes_are_checked() -> None:
    symbol, args = tiny_model.graph()
    with pytest.raises(ValueError, match="positive batch sizes"):
        MXNetEngine(symbol, args, {}, tiny_model.SIDE, mx.cpu(), ())
