"""`object-detection weights`: weights to start training from, from files of other libraries."""

from __future__ import annotations

import os
from pathlib import Path

import click

from sagemaker_object_detection.tools.folders import make_folder


@click.group("weights", short_help="Take over weights to start training from.")
def command() -> None:
    """Take over weights to start training from, out of files that are here; nothing is fetched."""


@command.command("import", short_help="Take over a ResNet-50 of torchvision or timm.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the new file, made if needed. Default: where training looks for weights, "
    "which is OBJECT_DETECTION_WEIGHTS or else /opt/object-detection/weights.",
)
def import_command(file: Path, out: Path | None) -> None:
    """Take over the ResNet-50 in FILE, a .safetensors of torchvision or timm.

    Training starts from it with base_network resnet-50b and use_pretrained_model 1, when the new
    file is in its folder of weights or in the channel `pretrained`. docs/weights.md has more.
    """
    # Slow to import, and the command line is to answer at once.
    from sagemaker_object_detection.model.torch_resnet import BASE_NETWORK, import_resnet
    from sagemaker_object_detection.model.weights import weights_folder

    folder = out or weights_folder(os.environ)
    make_folder(folder)
    path = import_resnet(file, folder)
    click.echo(
        f"Wrote {path}: weights for base_network {BASE_NETWORK}. Training finds the file in its "
        "folder of weights, which OBJECT_DETECTION_WEIGHTS names, or in the channel pretrained."
    )
