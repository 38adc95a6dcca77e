"""Tensors of a safetensors file: 8 bytes of length, a header in JSON, then plain numbers.

Nothing in such a file can be run, unlike in PyTorch's pickled ones, which are never opened here.
The format is described at https://github.com/huggingface/safetensors; the library of that name
reads no bfloat16 into numpy arrays.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.platform.errors import ClientError

_LONGEST_HEADER = 100_000_000
_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}
_PICKLED = (b"PK\x03\x04", *(b"\x80" + bytes([protocol]) for protocol in range(2, 6)))

FLOATS = ("F32", "F16", "BF16")
"""The types that `read_values` gives as float32."""


@dataclass(frozen=True)
class Tensor:
    """Where a tensor is: its values, in C order and little-endian, begin at byte `begin`."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(file: BinaryIO, path: Path) -> dict[str, Tensor]:
    """The tensors of an open file by name.

    Raises:
        ClientError: it is no safetensors file (`path` names it), or is damaged.
    """
    size = os.fstat(file.fileno()).st_size
    head = file.read(9)
    length = int.from_bytes(head[:8], "little")
    if len(head) < 9 or head[8:] != b"{" or length > _LONGEST_HEADER:
        raise _not_safetensors(path, head)
    file.seek(8)
    content = file.read(length)
    if len(content) < length:
        raise _damaged(path, f"it ends after {size} bytes, within a header of {length}")
    try:
        header = json.loads(content)
        header.pop("__metadata__", None)
        tensors = {name: _tensor(row, 8 + length) for name, row in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _damaged(path, "its header does not list tensors") from None
    end = 8 + length
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != end:
            raise _damaged(path, f"tensor {name} begins at byte {tensor.begin}, not at {end}")
        end = tensor.end
    if end != size:
        raise _damaged(path, f"it has {size} bytes, and by its header {end}")
    return tensors


def _tensor(row: Any, start: int) -> Tensor:
    """Raises ValueError, KeyError or TypeError when the row describes no tensor."""
    shape = tuple(row["shape"])
    begin, end = row["data_offsets"]
    whole = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
    if not whole or end - begin != math.prod(shape) * _BYTES[row["dtype"]]:
        raise ValueError(row)
    return Tensor(row["dtype"], shape, start + begin, start + end)


def read_values(file: BinaryIO, tensor: Tensor) -> NDArray[np.float32]:
    """The values of a tensor whose type is one of FLOATS, exactly, in its shape."""
    file.seek(tensor.begin)
    content = file.read(tensor.end - tensor.begin)
    if tensor.dtype == "BF16":  # the upper half of a float32
        wide = np.frombuffer(content, "<u2").astype(np.uint32) << 16
        return wide.view(np.float32).reshape(tensor.shape)
    numbers = np.frombuffer(content, {"F32": "<f4", "F16": "<f2"}[tensor.dtype])
    return numbers.astype(np.float32).reshape(tensor.shape)


def _not_safetensors(path: Path, head: bytes) -> ClientError:
    if head.startswith(_PICKLED):
        return ClientError(
            f"{path} looks like a pickled file of PyTorch. Loading one can run anything that is "
            "in it, so it is not opened. Where PyTorch is installed, convert it: python -c "
            "\"import torch, safetensors.torch as s; s.save_file(torch.load('IN.pth', "
            "map_location='cpu', weights_only=True), 'OUT.safetensors')\""
        )
    return ClientError(
        f"{path} is no safetensors file. Give the .safetensors file of a ResNet-50 with the names "
        "of torchvision or timm."
    )


def _damaged(path: Path, reason: str) -> ClientError:
    return ClientError(f"{path} is damaged: {reason}. Download or write it again.")
