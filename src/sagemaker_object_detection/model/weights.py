"""Weights of a backbone trained on ImageNet, from a file; nothing is ever fetched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import mxnet as mx
import numpy as np
from gluoncv.model_zoo import get_model

from sagemaker_object_detection.model.names import PREFIX
from sagemaker_object_detection.model.network import Network, vgg_extractor
from sagemaker_object_detection.model.specs import Spec, get_spec
from sagemaker_object_detection.platform.errors import ClientError, first_line

DEFAULT_FOLDER = "/opt/object-detection/weights"
FOLDER_VARIABLE = "OBJECT_DETECTION_WEIGHTS"
_VGG_FILE = "vgg16_atrous"


def find_weights(
    base_network: str, backbone: str | None, channel: Path | None, environ: Mapping[str, str]
) -> Path | None:
    """The GluonCV .params file for this backbone, or None.

    The `pretrained` channel counts first and must hold one; then the image's weights folder. There
    `resnet50_v1.params`, the user's own, counts before `resnet50_v1-<hash>.params`, as GluonCV
    names the files of its zoo.

    Raises:
        ClientError: the channel holds no .params file, or several that could be meant.
    """
    stem = backbone or _VGG_FILE
    if channel is not None:
        files = sorted(channel.rglob("*.params"))
        named = [path for path in files if _is_named(path, stem)] or files
        if len(named) != 1:
            found = ", ".join(path.name for path in files) or "none"
            raise ClientError(
                f"The channel 'pretrained' must hold one .params file for {base_network}, named "
                f"{stem}.params or {stem}-*.params; found: {found}. For "
                "resnet-50b `object-detection weights import` makes one of a .safetensors file."
            )
        return named[0]
    folder = weights_folder(environ)
    files = sorted(folder.glob("*.params"), key=lambda path: (path.stem != stem, path.name))
    return next((path for path in files if _is_named(path, stem)), None)


def weights_folder(environ: Mapping[str, str]) -> Path:
    """The image's folder of weights, or the one that is named instead."""
    return Path(environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER)


def _is_named(path: Path, stem: str) -> bool:
    """Whether the file is for this backbone; `resnet50_v1b` is another one than `resnet50_v1`."""
    return path.stem == stem or path.stem.startswith(f"{stem}-")


def load_backbone(network: Network, path: Path) -> int:
    """Copy the file's values into the network's backbone; returns how many parameters.

    Raises:
        ClientError: the file is damaged, belongs to another network or holds NaN or infinity.
    """
    values = _read(get_spec(network.base_network, network.image_shape), path)
    shared = [name for name in network.parameters if name in values]
    for name in shared:
        network.parameters[name].set_data(values[name])
    return len(shared)


def _read(spec: Spec, path: Path) -> dict[str, mx.nd.NDArray]:
    """The file's values by their names in our graph."""
    is_vgg = spec.backbone is None
    if spec.backbone is None:
        donor, family = vgg_extractor(spec)(), "vggatrousextractor0_"
    else:
        donor, family = get_model(spec.backbone, pretrained=False), _family(spec.backbone)
    try:
        if not isinstance(mx.nd.load(str(path)), dict):
            raise _refusal(spec, path, "it holds no named arrays")
        # GluonCV's extractor has layers that the file of VGG-16 need not know: those of the SSD.
        donor.load_parameters(str(path), allow_missing=True, ignore_extra=is_vgg)
    except (AssertionError, ValueError, KeyError, mx.MXNetError) as error:
        raise _refusal(spec, path, first_line(error)) from error
    values = {}
    for name, parameter in donor.collect_params().items():
        plain = name.removeprefix(donor.prefix)
        try:
            value = parameter.data()
        except RuntimeError:  # not in the file
            if not _is_dispensable(plain, is_vgg):
                raise _refusal(spec, path, f"it lacks {plain}") from None
            continue
        if not np.isfinite(value.asnumpy()).all():
            raise _refusal(spec, path, f"{plain} holds NaN or infinity")
        values[PREFIX + family + plain] = value
    return values


def _family(backbone: str) -> str:
    """What the parameters of GluonCV's network begin with in ours."""
    if backbone.startswith("mobilenet"):
        return "mobilenet0_"
    return "resnetv1b_" if backbone.endswith("_v1b") else "resnetv10_"


def _is_dispensable(name: str, is_vgg: bool) -> bool:
    """Whether a detector can start without it: the classifier, or what VGG-16 has for the SSD."""
    if is_vgg:
        return "conv" not in name or name.startswith("extra")
    return "dense" in name


def _refusal(spec: Spec, path: Path, reason: str) -> ClientError:
    return ClientError(
        f"{path} does not hold weights of GluonCV's {spec.backbone or _VGG_FILE}, which "
        f"base_network {spec.base_network} needs ({reason:.200}). Give the .params file of "
        "GluonCV's model zoo for it."
    )
