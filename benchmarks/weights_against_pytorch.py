"""How near GluonCV's resnet50_v1b comes to PyTorch's ResNet-50 with the weights taken over.

python benchmarks/weights_against_pytorch.py --python PYTHON [--side 224] [--dtype float32]
PYTHON is an interpreter with torch and safetensors, in an environment of its own, since GluonCV
refuses to be imported beside PyTorch 2. There a network of random values, whose state dict has
torchvision's names, is written as a safetensors file by the library of that name, and looks at a
random picture. Here the file is taken over, as `object-detection weights import` does, and the
activations are compared after each stage.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS = "resnet50.safetensors"
SEEN = "seen.safetensors"
STAGES = ("layer1", "layer2", "layer3", "layer4")


def make_resnet() -> nn.Module:
    """A torch module whose state dict is that of torchvision's resnet50."""
    from torch import nn

    class Bottleneck(nn.Module):
        def __init__(self, given: int, width: int, stride: int, shortcut: bool) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(given, width, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)
            self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(4 * width)
            self.downsample = None
            if shortcut:
                self.downsample = nn.Sequential(
                    nn.Conv2d(given, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
                )

        def forward(self, x: Tensor) -> Tensor:
            y = self.bn1(self.conv1(x)).relu()
            y = self.bn2(self.conv2(y)).relu()
            y = self.bn3(self.conv3(y))
            return (y + (x if self.downsample is None else self.downsample(x))).relu()

    class ResNet50(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(64)
            self.maxpool = nn.MaxPool2d(3, 2, 1)
            given = 64
            for number, (name, count) in enumerate(zip(STAGES, (3, 4, 6, 3), strict=True)):
                width = 64 << number
                blocks = []
                for block in range(count):
                    stride = 2 if number > 0 and block == 0 else 1
                    blocks.append(Bottleneck(given, width, stride, block == 0))
                    given = 4 * width
                self.add_module(name, nn.Sequential(*blocks))
            self.fc = nn.Linear(given, 1000)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            x = self.maxpool(self.bn1(self.conv1(x)).relu())
            seen = {}
            for name in STAGES:
                x = self.get_submodule(name)(x)
                seen[name] = x
            return seen

    return ResNet50()


def write_reference(folder: Path, side: int, dtype: str) -> None:
    """With PyTorch: write WEIGHTS, and as SEEN a normalised picture and its activations."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = make_resnet().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.3, 1.0)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    stored = network.to(getattr(torch, dtype))
    save_file(stored.state_dict(), folder / WEIGHTS)
    network = stored.float()
    with torch.no_grad():
        picture = torch.randn(1, 3, side, side)
        seen = network(picture)
    save_file({"picture": picture, **seen}, folder / SEEN)
    print(f"PyTorch {torch.__version__}, {dtype}, {side} px")


def differences(python: str, side: int, dtype: str) -> dict[str, tuple[float, float]]:
    """For each stage the largest difference of an activation, and the largest activation."""
    import mxnet as mx
    import numpy as np
    from gluoncv.model_zoo import get_model
    from safetensors.numpy import load_file

    from sagemaker_object_detection.model.torch_resnet import import_resnet

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        options = ["--python", python, "--side", str(side), "--dtype", dtype]
        subprocess.run([python, __file__, *options, "--reference", folder], check=True)
        seen = load_file(folder / SEEN)
        network = get_model("resnet50_v1b", pretrained=False)
        path = import_resnet(folder / WEIGHTS, folder)
        network.load_parameters(str(path), allow_missing=True)
    x = network.maxpool(network.relu(network.bn1(network.conv1(mx.nd.array(seen["picture"])))))
    found = {}
    for name in STAGES:
        x = getattr(network, name)(x)
        difference = np.abs(x.asnumpy() - seen[name]).max()
        found[name] = (float(difference), float(np.abs(seen[name]).max()))
    return found


def main() -> None:
    """Print a line for each stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32")
    parser.add_argument("--reference", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reference:
        write_reference(options.reference, options.side, options.dtype)
        return
    found = differences(options.python, options.side, options.dtype)
    for name, (difference, largest) in found.items():
        print(f"{name}: differs by {difference:.1e} at most, of activations up to {largest:.2f}")


if __name__ == "__main__":
    main()
