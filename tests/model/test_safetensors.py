"""The reader of safetensors files: what it gives, and every way in which a file can be broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sagemaker_object_detection.model.safetensors import Tensor, read_header, read_values
from sagemaker_object_detection.platform.errors import ClientError
from tests.torch_resnet import bfloat16, safetensors

VALUES = np.array([[1.5, -2.0, 0.1], [3e-5, 65504.0, 0.0]], np.float32)


def _read(path: Path) -> dict[str, Tensor]:
    with path.open("rb") as file:
        return read_header(file, path)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        pytest.param(VALUES, VALUES, id="F32"),
        pytest.param(VALUES.astype(np.float16), VALUES.astype(np.float16), id="F16"),
        pytest.param(
            bfloat16(VALUES),
            np.array([[1.5, -2.0, 0.099609375], [2.9921532e-05, 65280.0, 0.0]], np.float32),
            id="BF16: the first eight bits of each number",
        ),
        pytest.param(np.float32(7).reshape(()), np.float32(7), id="a scalar"),
        pytest.param(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), id="empty"),
    ],
)
def test_values(stored: Any, expected: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors({"before": np.arange(3), "it": stored, "after": VALUES}))
    tensors = _read(path)
    assert list(tensors) == ["before", "it", "after"]
    with path.open("rb") as file:
        got = read_values(file, tensors["it"])
        after = read_values(file, tensors["after"])
    assert got.dtype == np.float32
    assert got.shape == stored.shape
    np.testing.assert_array_equal(got, expected.astype(np.float32))
    np.testing.assert_array_equal(after, VALUES)


def _file(header: Any, data: bytes = bytes(8)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def _row(begin: Any, end: Any, dtype: Any = "F32", shape: Any = (1,)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


WHOLE = {"a": _row(0, 4), "b": _row(4, 8)}
PICKLED = "pickled file of PyTorch.* not opened.*weights_only=True"


def test_the_smallest_file(tmp_path: Path) -> None:
    """What the table below breaks is otherwise in order."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(_file(WHOLE))
    assert [tensor.end for tensor in _read(path).values()] == [
        path.stat().st_size - 4,
        path.stat().st_size,
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "no safetensors file", id="empty"),
        pytest.param(b"<html>404 Not Found</html>", "no safetensors file", id="a web page"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1", "no safe", id="an LFS pointer"),
        pytest.param(b"\xff" * 7 + b"\x7f{", "no safetensors file", id="a header of exabytes"),
        pytest.param(b"PK\x03\x04" + bytes(30), PICKLED, id="torch.save: a zip of pickles"),
        pytest.param(b"\x80\x02\x8a\nl\xfc\x9cF\xf9", PICKLED, id="torch.save before 1.6"),
        pytest.param(_file(WHOLE)[:40], "is damaged: it ends after 40 bytes", id="cut in header"),
        pytest.param(_file(WHOLE)[:-1], r"has \d+ bytes, and by its header", id="cut in values"),
        pytest.param(_file(WHOLE) + b"\0", r"has \d+ bytes, and by its header", id="too long"),
        pytest.param(_file(b"{'a': 1}"), "does not list tensors", id="no JSON"),
        pytest.param(_file(b"{" + b'"a":{' * 100_000), "does not list tensors", id="a deep one"),
        pytest.param(_file(b'{"a\xff": 1}'), "does not list tensors", id="no UTF-8"),
        pytest.param(_file({"a": 3}), "does not list tensors", id="a number for a tensor"),
        pytest.param(_file({"a": {}}), "does not list tensors", id="a tensor without anything"),
        pytest.param(_file({"a": _row(0, 8)}), "does not list tensors", id="size is not shape's"),
        pytest.param(_file({"a": _row(0, 8, "F9")}), "does not list tensors", id="unknown type"),
        pytest.param(
            _file({"a": _row(0, 8, "F32", [-1, -2])}), "does not list tensors", id="negative sides"
        ),
        pytest.param(
            _file({"a": _row(0, 4.0), "b": _row(4, 8)}), "does not list tensors", id="no integer"
        ),
        pytest.param(
            _file({"a": _row(0, 4), "b": _row(0, 4)}), "tensor b begins", id="one above the other"
        ),
        pytest.param(_file({"a": _row(4, 8)}), "tensor a begins", id="a hole"),
        pytest.param(_file({"a": _row(-4, 0), "b": _row(0, 8)}), "does not list", id="before it"),
    ],
)
def test_broken(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(ClientError, match=message) as caught:
        _read(path)
    assert str(caught.value).startswith(str(path))
