"""A ResNet-50 of torchvision or timm as GluonCV's resnet50_v1b, which is the same network.

Both stride in the 3x3 convolution of a bottleneck (version 1.5), add 1e-5 to the variance in
BatchNorm, and were trained on pixels of ImageNet's mean and deviation, which begin our graphs too.
So values are renamed and nothing is computed. The classifier is left out: a detector has none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np
import safetensors
from numpy.typing import NDArray

from sagemaker_object_detection.model.artifact import written_aside
from sagemaker_object_detection.platform.errors import ClientError

BASE_NETWORK = "resnet-50b"
FILE_NAME = "resnet50_v1b.params"
"""Where training looks for the weights of BASE_NETWORK: this in its folder of weights."""

_BLOCKS = (3, 4, 6, 3)
_BATCH_NORM = {  # PyTorch's name -> Gluon's
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "running_mean",
    "running_var": "running_var",
}
_FLOATS = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_PICKLED = (b"PK\x03\x04", *(b"\x80" + bytes([protocol]) for protocol in range(2, 6)))
_UNUSED = ("fc.weight", "fc.bias")
_COUNTER = ".num_batches_tracked"
_SHOWN = 6


def _layers() -> dict[str, tuple[int, ...]]:
    """Shape of each convolution, and number of channels of each BatchNorm, by PyTorch's name."""
    layers: dict[str, tuple[int, ...]] = {"conv1": (64, 3, 7, 7), "bn1": (64,)}
    given = 64
    for stage, count in enumerate(_BLOCKS, 1):
        width = 32 * 2**stage
        for number in range(count):
            block = f"layer{stage}.{number}"
            layers |= {
                f"{block}.conv1": (width, given, 1, 1),
                f"{block}.bn1": (width,),
                f"{block}.conv2": (width, width, 3, 3),
                f"{block}.bn2": (width,),
                f"{block}.conv3": (4 * width, width, 1, 1),
                f"{block}.bn3": (4 * width,),
            }
            if number == 0:
                layers[f"{block}.downsample.0"] = (4 * width, given, 1, 1)
                layers[f"{block}.downsample.1"] = (4 * width,)
            given = 4 * width
    return layers


def _parameters() -> dict[str, tuple[str, tuple[int, ...]]]:
    """PyTorch's name of each parameter -> Gluon's, and its shape."""
    parameters = {}
    for layer, shape in _layers().items():
        kinds = {"weight": "weight"} if len(shape) == 4 else _BATCH_NORM
        for theirs, ours in kinds.items():
            parameters[f"{layer}.{theirs}"] = (f"{layer}.{ours}", shape)
    return parameters


PARAMETERS: Mapping[str, tuple[str, tuple[int, ...]]] = _parameters()
"""The backbone's parameters: PyTorch's name -> Gluon's, and the shape, which is the same."""


def read_resnet(path: Path) -> dict[str, NDArray[np.float32]]:
    """The values of the backbone in a safetensors file, by Gluon's names.

    Raises:
        ClientError: it is no such file, or holds another network; the message names the tensors.
    """
    tensors = _read(path)
    _check(tensors, path)
    values = {ours: _values(tensors[theirs]) for theirs, (ours, _) in PARAMETERS.items()}
    broken = [name for name, value in values.items() if not np.isfinite(value).all()]
    if broken:
        raise ClientError(
            f"{path} holds values that are no finite numbers, in {_listed(broken)}. Give a file "
            "of a network that was trained without fault."
        )
    return values


def _read(path: Path) -> dict[str, Mapping[str, Any]]:
    """The tensors of a safetensors file: name -> shape, dtype and data."""
    content = path.read_bytes()
    if content.startswith(_PICKLED):
        raise ClientError(
            f"{path} looks like a pickled file of PyTorch. Loading one can run anything that is "
            "in it, so it is not opened. Where PyTorch is installed, convert it: python -c "
            "\"import torch, safetensors.torch as s; s.save_file(torch.load('IN.pth', "
            "map_location='cpu', weights_only=True), 'OUT.safetensors')\""
        )
    try:
        return dict(safetensors.deserialize(content))  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise ClientError(
            f"{path} is no safetensors file, or is damaged ({error}). Give the .safetensors file "
            "of a ResNet-50 with the names of torchvision or timm; download or write it again."
        ) from None


def _values(tensor: Mapping[str, Any]) -> NDArray[np.float32]:
    """Exactly, as float32."""
    numbers = np.frombuffer(tensor["data"], _FLOATS[tensor["dtype"]])
    if tensor["dtype"] == "BF16":  # the upper half of a float32
        numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.astype(np.float32).reshape(tensor["shape"])


def import_resnet(path: Path, folder: Path) -> Path:
    """Write the values of a safetensors file as FILE_NAME into `folder`; returns the new file.

    Raises:
        ClientError: as `read_resnet`.
    """
    arrays: dict[str, Any] = {
        name: mx.nd.array(value, dtype=np.float32) for name, value in read_resnet(path).items()
    }
    with written_aside(folder / FILE_NAME) as aside:
        mx.nd.save(str(aside), arrays)
    return folder / FILE_NAME


def _check(tensors: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Names, shapes and types; every fault at once."""
    other = _other_network(tensors)
    if other:
        raise ClientError(
            f"{path} holds {other}. base_network {BASE_NETWORK} takes the ResNet-50 of torchvision "
            "or timm, called resnet50 there, and no relative of it."
        )
    faults = []
    missing = [name for name in PARAMETERS if name not in tensors]
    if missing:
        faults.append(f"it lacks {_listed(missing)}")
    unexpected = [
        name
        for name in sorted(tensors)
        if name not in PARAMETERS and name not in _UNUSED and not name.endswith(_COUNTER)
    ]
    if unexpected:
        faults.append(f"a ResNet-50 has no {_listed(unexpected)}")
    for name, (_, shape) in PARAMETERS.items():
        tensor = tensors.get(name)
        if tensor is None:
            continue
        found, kind = tuple(tensor["shape"]), tensor["dtype"]
        if found != shape:
            faults.append(f"{name} has shape {found}, expected {shape}")
        elif kind not in _FLOATS:
            faults.append(f"{name} is of type {kind}, expected one of {', '.join(_FLOATS)}")
    if faults:
        raise ClientError(
            f"{path} does not hold a ResNet-50 by the names of torchvision or timm: "
            f"{_listed(faults, '; ')}. Give the .safetensors file of such a network, its state "
            "dict as it is."
        )


def _other_network(names: Collection[str]) -> str | None:
    """What a file of a relative holds, by the names of its tensors."""
    if any(name.startswith("conv1.0.") for name in names):
        return "a ResNet with a deep stem, such as resnet50d"
    if "layer1.0.downsample.2.weight" in names:
        return "a ResNet whose shortcuts average, such as resnet50d"
    if "layer1.0.conv2.weight" in names and "layer1.0.conv3.weight" not in names:
        return "a ResNet of basic blocks, such as resnet18 or resnet34"
    if "layer3.6.conv1.weight" in names or "layer2.4.conv1.weight" in names:
        return "a deeper ResNet, such as resnet101 or resnet152"
    return None


def _listed(items: list[str], separator: str = ", ") -> str:
    more = len(items) - _SHOWN
    return separator.join([*items[:_SHOWN], *([f"{more} more"] if more > 0 else [])])
