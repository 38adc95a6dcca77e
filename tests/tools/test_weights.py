"""`object-detection weights import` as a user runs it."""

from __future__ import annotations

import os
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from click.testing import CliRunner, Result

from sagemaker_object_detection.model.torch_resnet import PARAMETERS
from sagemaker_object_detection.tools.cli import main
from tests import torch_resnet

pytestmark = pytest.mark.filterwarnings("ignore:.*New initializer .* with name constant_")


def _import(*arguments: object, environ: dict[str, str] | None = None) -> Result:
    texts = [str(argument) for argument in arguments]
    return CliRunner(env=environ or {}).invoke(main, ["weights", "import", *texts])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    return torch_resnet.write(path, torch_resnet.state_dict())


@pytest.mark.parametrize("asked", [True, False], ids=["--out", "where training looks"])
def test_the_new_file(asked: bool, file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    if asked:
        result = _import(file, "--out", folder)
    else:
        result = _import(file, environ={"OBJECT_DETECTION_WEIGHTS": str(folder)})
    assert result.exit_code == 0, result.output
    path = folder / "resnet50_v1b.params"
    assert f"Wrote {path}: weights for base_network resnet-50b." in result.output
    assert [found.name for found in folder.iterdir()] == [path.name]
    assert len(mx.nd.load(str(path))) == len(PARAMETERS)


def test_again(file: Path, tmp_path: Path) -> None:
    """Another file takes the place of the first; one that is refused leaves it."""
    zeros = {name: 0 * values for name, values in torch_resnet.state_dict().items()}
    other = torch_resnet.write(tmp_path / "zeros.safetensors", zeros)
    path = tmp_path / "out" / "resnet50_v1b.params"
    assert _import(file, "--out", path.parent).exit_code == 0
    assert mx.nd.load(str(path))["conv1.weight"].asnumpy().any()
    assert _import(other, "--out", path.parent).exit_code == 0
    assert not mx.nd.load(str(path))["conv1.weight"].asnumpy().any()
    before = path.read_bytes()
    other.write_bytes(other.read_bytes()[:-1])
    assert _import(other, "--out", path.parent).exit_code == 2
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]  # noqa: PTH208 hidden files count


def test_a_pickled_file_is_never_opened(tmp_path: Path) -> None:
    """What unpickling would run does not run, and the cure is told."""
    trap = tmp_path / "trap"
    pickled = f"cposix\nsystem\n(S'touch {trap}'\ntR.".encode()
    path = tmp_path / "resnet50.pth"
    path.write_bytes(b"\x80\x02" + pickled)
    result = _import(path, "--out", tmp_path)
    assert result.exit_code == 2
    assert f"ClientError: {path} looks like a pickled file of PyTorch" in result.output
    assert "weights_only=True" in result.output
    assert not trap.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "Missing argument 'FILE'", id="no file"),
        pytest.param(["{}/none.safetensors"], "does not exist", id="a file that is not there"),
        pytest.param(["{}"], "is a directory", id="a folder"),
        pytest.param(["{}/a", "--out", "{}/a"], "is a file", id="a file for a folder"),
        pytest.param(["{}/a", "--out", "{}/a/b"], "cannot be made", id="a folder in a file"),
    ],
)
def test_usage(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    result = _import(*(argument.format(tmp_path) for argument in arguments))
    assert result.exit_code == 2
    assert message in result.output


def test_half_precision_arrives_exactly(tmp_path: Path) -> None:
    """A float16 is a float32 too: nothing is rounded on the way."""
    halves = {
        name: values.astype(np.float16) if values.ndim else values
        for name, values in torch_resnet.state_dict().items()
    }
    path = torch_resnet.write(tmp_path / "half.safetensors", halves)
    assert _import(path, "--out", tmp_path).exit_code == 0
    stored = mx.nd.load(str(tmp_path / "resnet50_v1b.params"))
    for theirs, (ours, _) in PARAMETERS.items():
        assert stored[ours].dtype == np.float32
        np.testing.assert_array_equal(stored[ours].asnumpy(), halves[theirs])
