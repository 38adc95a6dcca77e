"""PyTorch's ResNet-50 (version 1.5) without PyTorch: state dicts, safetensors files, activations.

The network is written down here a second time, by torchvision's description of it, in float64.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
BOTTLENECKS = (3, 4, 6, 3)
_TYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "uint16": "BF16"}


def state_dict() -> dict[str, Array]:
    """Random values by torchvision's names, such that activations stay of the size of one."""
    random = np.random.default_rng(0)
    state: dict[str, Array] = {}

    def convolution(name: str, filters: int, given: int, size: int) -> None:
        spread = np.sqrt(2 / (given * size * size))
        weight = random.normal(0, spread, (filters, given, size, size))
        state[f"{name}.weight"] = weight.astype(np.float32)

    def batch_norm(name: str, channels: int) -> None:
        for what, low, high in (
            ("weight", 0.3, 1.0),
            ("bias", -0.3, 0.3),
            ("running_mean", -0.2, 0.2),
            ("running_var", 0.5, 2.0),
        ):
            state[f"{name}.{what}"] = random.uniform(low, high, channels).astype(np.float32)
        state[f"{name}.num_batches_tracked"] = np.array(1000)

    convolution("conv1", 64, 3, 7)
    batch_norm("bn1", 64)
    given = 64
    for stage, count in enumerate(BOTTLENECKS):
        width = 64 << stage
        for number in range(count):
            block = f"layer{stage + 1}.{number}"
            for part, filters, channels, size in (
                (1, width, given, 1),
                (2, width, width, 3),
                (3, 4 * width, width, 1),
            ):
                convolution(f"{block}.conv{part}", filters, channels, size)
                batch_norm(f"{block}.bn{part}", filters)
            if number == 0:
                convolution(f"{block}.downsample.0", 4 * width, given, 1)
                batch_norm(f"{block}.downsample.1", 4 * width)
            given = 4 * width
    state["fc.weight"] = random.normal(0, 0.01, (1000, given)).astype(np.float32)
    state["fc.bias"] = np.zeros(1000, np.float32)
    return state


def bfloat16(values: Array) -> Array:
    """The bits of the values cut to bfloat16."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def safetensors(tensors: Mapping[str, Array]) -> bytes:
    """A safetensors file, 16-bit integers as bfloat16."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    parts = []
    begin = 0
    for name, values in tensors.items():
        content = np.ascontiguousarray(values).tobytes()
        header[name] = {
            "dtype": _TYPES[str(values.dtype)],
            "shape": list(values.shape),
            "data_offsets": [begin, begin + len(content)],
        }
        begin += len(content)
        parts.append(content)
    described = json.dumps(header).encode()
    described += b" " * (-len(described) % 8)
    return b"".join([len(described).to_bytes(8, "little"), described, *parts])


def write(path: Path, tensors: Mapping[str, Array]) -> Path:
    path.write_bytes(safetensors(tensors))
    return path


def activations(state: Mapping[str, Array], picture: Array) -> dict[str, Array]:
    """The outputs of layer1 to layer4 for a normalised picture (3, S, S)."""
    values = {name: value.astype(np.float64) for name, value in state.items()}

    def norm(name: str, x: Array) -> Array:
        scale = values[f"{name}.weight"] / np.sqrt(values[f"{name}.running_var"] + 1e-5)
        shift = values[f"{name}.bias"] - values[f"{name}.running_mean"] * scale
        return x * scale[:, None, None] + shift[:, None, None]

    x = _convolved(picture.astype(np.float64), values["conv1.weight"], 2)
    x = np.maximum(norm("bn1", x), 0)
    x = _windows(x, 3, 2, -np.inf).max((-2, -1))
    found = {}
    for stage in range(1, 5):
        number = 0
        while f"layer{stage}.{number}.conv1.weight" in values:
            block = f"layer{stage}.{number}"
            stride = 2 if stage > 1 and number == 0 else 1
            y = x
            for part in (1, 2, 3):
                y = _convolved(y, values[f"{block}.conv{part}.weight"], stride if part == 2 else 1)
                y = norm(f"{block}.bn{part}", y)
                y = np.maximum(y, 0) if part < 3 else y
            if number == 0:
                x = _convolved(x, values[f"{block}.downsample.0.weight"], stride)
                x = norm(f"{block}.downsample.1", x)
            x = np.maximum(x + y, 0)
            number += 1
        found[f"layer{stage}"] = x
    return found


def _windows(x: Array, size: int, stride: int, padding: float) -> Array:
    """What a kernel of this size sees, its edge padded by half of it: (C, H, W, size, size)."""
    edge = size // 2
    padded = np.pad(x, ((0, 0), (edge, edge), (edge, edge)), constant_values=padding)
    seen = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    return seen[:, ::stride, ::stride]


def _convolved(x: Array, weight: Array, stride: int) -> Array:
    seen = _windows(x, weight.shape[-1], stride, 0.0)
    return np.tensordot(weight, seen, ((1, 2, 3), (0, 3, 4)))
