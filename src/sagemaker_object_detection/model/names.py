"""Names of layers: ours, and those that the service's algorithm gives the same layers.

A pattern for `freeze_layer_pattern` may be written for either, e.g. `^(conv1_|conv2_).*` for the
first two blocks of VGG-16, or `^(conv0|bn0|stage1_).*` for the first stages of a ResNet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sagemaker_object_detection.platform.errors import ClientError

PREFIX = "ssd_"
"""What every parameter of GluonCV's networks is called by first, and none of the service's."""

_PREFIX = re.compile(rf"^{PREFIX}(resnetv1(\d+|b)|mobilenet\d+|vggatrousextractor\d+)_")
_VGG_BLOCKS = (2, 2, 3, 3, 3)
_VGG_NAMES = {
    f"conv{number}": name
    for number, name in enumerate(
        f"conv{block}_{i}" for block, n in enumerate(_VGG_BLOCKS, 1) for i in range(1, n + 1)
    )
} | {"dilated_conv0": "fc6", "dilated_conv1": "fc7", "normalize0_normalize": "relu4_3"}
_VGG_NUMBERED = re.compile(r"conv\d+_(weight|bias)$")
_KINDS = {"conv": "conv", "batchnorm": "bn"}


def plain_name(name: str) -> str:
    """Our name without the fixed prefix: `stage1_conv0_weight` or `convpredictor0_conv0_bias`."""
    return _PREFIX.sub("", name).removeprefix(PREFIX)


def service_name(name: str, base_network: str) -> str | None:
    """The service's name of the same parameter; None where it has no such layer."""
    plain = plain_name(name)
    head = re.fullmatch(r"convpredictor(\d+)_conv0_(weight|bias)", plain)
    if head:
        return _head_name(int(head[1]), head[2], base_network)
    extra = re.fullmatch(r"extra(\d+)_conv([01])_(\w+)", plain)
    if extra:
        return (
            f"multi_feat_{int(extra[1]) + 2}_conv_{('1x1', '3x3')[int(extra[2])]}_conv_{extra[3]}"
        )
    expand = re.fullmatch(r"expand_(trans_)?conv(\d+)_(\w+)", plain)
    if expand:
        size = "1x1" if expand[1] else "3x3"
        return f"multi_feat_{int(expand[2]) + 2}_conv_{size}_conv_{expand[3]}"
    if base_network == "vgg-16":
        layer, _, what = plain.rpartition("_")
        return f"{_VGG_NAMES[layer]}_{what}" if layer in _VGG_NAMES else None
    if base_network.startswith("resnet"):
        return _resnet_name(plain, base_network)
    return None


def _head_name(number: int, what: str, base_network: str) -> str:
    layer, kind = number // 2, ("cls", "loc")[number % 2]
    first = ("relu4_3", "relu7") if base_network == "vgg-16" else ("_plus12", "_plus15")
    feature = first[layer] if layer < 2 else f"multi_feat_{layer}_conv_3x3_relu"
    return f"{feature}_{kind}_pred_conv_{what}"


def _resnet_name(plain: str, base_network: str) -> str | None:
    stem = re.fullmatch(r"(conv|batchnorm)0_(\w+)", plain)
    if stem:
        return f"{_KINDS[stem[1]]}0_{stem[2]}"
    shortcut = re.fullmatch(r"down(\d)_(?:conv|batchnorm)0_(\w+)", plain)
    if shortcut:
        return f"stage{shortcut[1]}_unit1_sc_{shortcut[2]}"
    found = re.fullmatch(r"(stage|layers)(\d)_(conv|batchnorm)(\d+)_(\w+)", plain)
    if not found:
        return None
    stage, kind, number, what = int(found[2]), found[3], int(found[4]), found[5]
    convs = 2 if base_network == "resnet-18" else 3
    # GluonCV's v1b calls the shortcuts apart, by the names of above.
    has_shortcut = found[1] == "stage" and (stage > 1 or convs == 3)
    if has_shortcut and number == convs:
        return f"stage{stage}_unit1_sc_{what}"
    if has_shortcut and number > convs:
        number -= 1
    return f"stage{stage}_unit{number // convs + 1}_{_KINDS[kind]}{number % convs + 1}_{what}"


def is_last_of_residual(name: str, base_network: str) -> bool:
    """Whether this is the gamma of the BatchNorm that ends a residual branch."""
    if not base_network.startswith("resnet"):
        return False
    last = 2 if base_network == "resnet-18" else 3
    return (
        re.fullmatch(rf"stage\d_unit\d+_bn{last}_gamma", service_name(name, base_network) or "")
        is not None
    )


def frozen_names(pattern: str, names: Iterable[str], base_network: str) -> set[str]:
    """Parameters whose full, plain or service's name begins with a match of the pattern.

    The plain names of VGG's layers, conv0 to conv12, do not count: in the service's names conv3 is
    a block of layers, and not the fourth layer.

    Raises:
        ClientError: the pattern matches nothing.
    """
    names = list(names)
    compiled = re.compile(pattern)
    frozen = set()
    for name in names:
        aliases = {name, plain_name(name), service_name(name, base_network) or name}
        if base_network == "vgg-16":
            aliases = {alias for alias in aliases if not _VGG_NUMBERED.match(alias)}
        if any(compiled.match(alias) for alias in aliases):
            frozen.add(name)
    if not frozen:
        examples = ", ".join(service_name(n, base_network) or plain_name(n) for n in names[:200:40])
        raise ClientError(
            f"freeze_layer_pattern {pattern!r} matches no layer of {base_network}. Names are like "
            f"{examples}; a pattern is matched from their beginning. Correct it or leave it out."
        )
    return frozen
