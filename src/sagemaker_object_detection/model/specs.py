"""Which SSD a pair (base_network, image_shape) means: one table, numpy only.

Sizes of anchors are fractions of the image side and centres are spread evenly over each feature
map (step = side / map), so that one row serves every side. The fractions are those of the service's
ResNet-50 and, for VGG-16, those of the SSD paper (Liu et al. 2016, arXiv:1512.02325, section 2.2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

THREE_RATIOS = (1.0, 2.0, 0.5)
FIVE_RATIOS = (1.0, 2.0, 0.5, 3.0, 1.0 / 3.0)
VARIANCES = (0.1, 0.1, 0.2, 0.2)
MINIMUM_IMAGE_SHAPE = 300

_SIZES_SIX_LAYERS = (0.1, 0.2, 0.37, 0.54, 0.71, 0.88, 1.05)
_SIZES_SEVEN_LAYERS = (0.07, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.05)
_RATIOS_SIX_LAYERS = (THREE_RATIOS, *(FIVE_RATIOS,) * 3, *(THREE_RATIOS,) * 2)
_RATIOS_SEVEN_LAYERS = (THREE_RATIOS, *(FIVE_RATIOS,) * 4, *(THREE_RATIOS,) * 2)
_VGG_LARGE_FROM = 448


@dataclass(frozen=True)
class Spec:
    """One SSD network.

    Attributes:
        base_network: the hyperparameter's value.
        backbone: GluonCV's name of the backbone; None for VGG, whose extractor is one block.
        features: outputs of the backbone that carry heads.
        extra_filters: output channels of the extra layers, one stride-2 map each.
        image_shape: side of the square input in pixels.
        map_sides: side of each feature map that carries a head.
        sizes: anchor sizes as fractions of the image side, one more than there are maps.
        ratios: aspect ratios (width / height) of each map.
    """

    base_network: str
    backbone: str | None
    features: tuple[str, ...]
    extra_filters: tuple[int, ...]
    image_shape: int
    map_sides: tuple[int, ...]
    sizes: tuple[float, ...]
    ratios: tuple[tuple[float, ...], ...]

    @property
    def anchors_per_cell(self) -> tuple[int, ...]:
        """Anchors of one cell of each map: one per ratio and one of the in-between size."""
        return tuple(len(ratios) + 1 for ratios in self.ratios)

    @property
    def num_anchors(self) -> int:
        """Anchors of the whole network, N."""
        return sum(s * s * k for s, k in zip(self.map_sides, self.anchors_per_cell, strict=True))


@dataclass(frozen=True)
class _Backbone:
    gluon_name: str
    features: tuple[str, ...]


_BACKBONES = {
    "resnet-18": _Backbone("resnet18_v1", ("stage3_activation1", "stage4_activation1")),
    "resnet-50": _Backbone("resnet50_v1", ("stage3_activation5", "stage4_activation2")),
    # torchvision's ResNet-50: stage 2 to 4 stride in their first 3x3 convolution, not before it.
    "resnet-50b": _Backbone("resnet50_v1b", ("layers3_relu17_fwd", "layers4_relu8_fwd")),
    "resnet-101": _Backbone("resnet101_v1", ("stage3_activation22", "stage4_activation2")),
    "mobilenet1.0": _Backbone("mobilenet1.0", ("relu22_fwd", "relu26_fwd")),
}
BASE_NETWORKS = ("vgg-16", *_BACKBONES)


def get_spec(base_network: str, image_shape: int) -> Spec:
    """The network for these two hyperparameters.

    Raises:
        ValueError: an unknown base_network, or image_shape below 300.
    """
    if image_shape < MINIMUM_IMAGE_SHAPE:
        raise ValueError(f"image_shape must be at least {MINIMUM_IMAGE_SHAPE}, got {image_shape}")
    if base_network == "vgg-16":
        return _vgg_spec(image_shape)
    if base_network not in _BACKBONES:
        raise ValueError(f"base_network must be one of {BASE_NETWORKS}, got {base_network!r}")
    backbone = _BACKBONES[base_network]
    side = image_shape
    for _ in range(4):
        side = ceil(side / 2)
    sides = [side]
    for _ in range(5):
        sides.append(ceil(sides[-1] / 2))
    return Spec(
        base_network=base_network,
        backbone=backbone.gluon_name,
        features=backbone.features,
        extra_filters=(512, 512, 256, 256),
        image_shape=image_shape,
        map_sides=tuple(sides),
        sizes=_SIZES_SIX_LAYERS,
        ratios=_RATIOS_SIX_LAYERS,
    )


def _vgg_spec(image_shape: int) -> Spec:
    """VGG-16 with atrous fc6: six maps below 448 px, seven from there, as in the SSD paper."""
    large = image_shape >= _VGG_LARGE_FROM
    stage4 = ceil(ceil(ceil(image_shape / 2) / 2) / 2)
    sides = [stage4, ceil(stage4 / 2)]
    steps: tuple[Callable[[int], int], ...]
    if large:
        steps = (*(_conv(3, 2, 1),) * 4, _conv(4, 1, 1))
    else:
        steps = (_conv(3, 2, 1), _conv(3, 2, 1), _conv(3, 1, 0), _conv(3, 1, 0))
    for step in steps:
        sides.append(step(sides[-1]))
    return Spec(
        base_network="vgg-16",
        backbone=None,
        features=(),
        extra_filters=(),
        image_shape=image_shape,
        map_sides=tuple(sides),
        sizes=_SIZES_SEVEN_LAYERS if large else _SIZES_SIX_LAYERS,
        ratios=_RATIOS_SEVEN_LAYERS if large else _RATIOS_SIX_LAYERS,
    )


def _conv(kernel: int, stride: int, pad: int) -> Callable[[int], int]:
    """Side of a convolution's output as a function of the side of its input."""
    return lambda side: (side + 2 * pad - kernel) // stride + 1


def make_anchors(spec: Spec) -> NDArray[Any]:
    """Anchors in the order of the heads' outputs.

    For map k with size s_k the anchors of a cell are (s_k, ratio 1), (sqrt(s_k s_k+1), ratio 1) and
    (s_k, r) for the other ratios r, where width = s sqrt(r) and height = s / sqrt(r); cells run row
    by row (SSD paper, section 2.2; the same order as GluonCV's SSDAnchorGenerator).

    Returns:
        float32 (1, N, 4), xyxy in 0..1 of the image, not clipped at its borders.
    """
    maps = []
    for k, side in enumerate(spec.map_sides):
        size, following = spec.sizes[k], spec.sizes[k + 1]
        shapes = [(size, 1.0), (sqrt(size * following), 1.0)]
        shapes += [(size, ratio) for ratio in spec.ratios[k][1:]]
        half = np.array([(s * sqrt(r) / 2, s / sqrt(r) / 2) for s, r in shapes])
        centre = (np.arange(side) + 0.5) / side
        cy, cx = np.meshgrid(centre, centre, indexing="ij")
        centres = np.stack([cx, cy], axis=-1)[:, :, None, :]
        maps.append(np.concatenate([centres - half, centres + half], axis=-1).reshape(-1, 4))
    return np.concatenate(maps)[None].astype(np.float32)
