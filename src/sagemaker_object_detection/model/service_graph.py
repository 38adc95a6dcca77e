"""A network of the service's own algorithm, from its input to its heads and anchors.

Pixels are taken as they are, 0-255: the service's graph has no normalisation of ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import mxnet as mx
import numpy as np
from numpy.typing import NDArray

from sagemaker_object_detection.model.artifact import ArtifactError
from sagemaker_object_detection.model.graph_json import refusal
from sagemaker_object_detection.platform.errors import first_line

MAX_ANCHORS = 10**7  # VGG-16 has some 400,000 on an image of 2048 px
_MULTIPLIERS = {"__lr_mult__": "lr_mult", "__wd_mult__": "wd_mult"}


@dataclass(frozen=True)
class ServiceGraph:
    """A network of the service from its input to its heads.

    Attributes:
        base_network: the hyperparameter's value.
        heads: symbol `data` (B, 3, S, S) -> class scores (B, N, C+1), background first, and box
            offsets (B, N, 4), both before softmax and decoding.
        anchors: symbol `data` -> anchors (1, N, 4), xyxy in 0..1, on nodes that the heads share.
        maps: symbol `data` -> the feature maps that anchors are laid on.
        layout: symbol `map0`, `map1`, ... -> anchors; only the sides of the maps count.
        step: distance of two centres on the first map as a share of the image side; None where
            they are spread evenly, as they are unless the side is 300 or 512 and the base VGG-16.
    """

    base_network: str
    heads: mx.sym.Symbol
    anchors: mx.sym.Symbol
    maps: mx.sym.Symbol
    layout: mx.sym.Symbol
    step: float | None

    def num_classes(self, image_shape: int) -> int:
        """Foreground classes, C, by the graph's shapes.

        Raises:
            ArtifactError: scores, offsets and anchors do not fit together at this image_shape.
        """
        _, (scores, offsets, anchors), _ = _infer(
            mx.sym.Group([*self.heads, self.anchors]), image_shape
        )
        if not (
            len(scores) == len(offsets) == len(anchors) == 3
            and scores[1] == offsets[1] == anchors[1]
            and scores[2] > 1
            and anchors[2] == 4
            and 0 < anchors[1] <= MAX_ANCHORS
        ):
            raise refusal(
                f"has scores {scores}, offsets {offsets} and anchors {anchors}, which do not fit "
                "together"
            )
        return int(scores[2]) - 1

    def lay_anchors(self, image_shape: int) -> NDArray[Any]:
        """Anchors at this side of the image, float32 (1, N, 4), xyxy in 0..1.

        Raises:
            ArtifactError: the graph lays them out for another side.
        """
        _, shapes, _ = _infer(self.maps, image_shape)
        if any(len(shape) != 4 or not all(shape) for shape in shapes):
            raise refusal(f"lays anchors on what are no feature maps: {shapes}")
        trained = self._trained_at(image_shape, shapes[0][2])
        if trained != image_shape:
            raise ArtifactError(
                f"the anchors of this {self.base_network} of the service are laid out for an "
                f"image_shape of {trained}, and do not cover an image of {image_shape}; set "
                f"image_shape to {trained}"
            )
        # The operator looks at nothing of a map but its sides.
        maps = {f"map{i}": mx.nd.zeros((1, 1, *shape[2:])) for i, shape in enumerate(shapes)}
        executor = self.layout.bind(mx.cpu(), maps, grad_req="null")
        anchors: NDArray[Any] = executor.forward(is_train=False)[0].asnumpy()
        return anchors.astype(np.float32)

    def multipliers(self) -> dict[str, dict[str, float]]:
        """Parameters that learn or decay at other rates: name -> lr_mult, wd_mult or both."""
        found: dict[str, dict[str, float]] = {}
        for name, attributes in self.heads.attr_dict().items():
            for key, multiplier in _MULTIPLIERS.items():
                try:
                    value = float(attributes.get(key, 1))
                except ValueError as error:
                    raise refusal(f"has {key} {attributes[key]:.60} at {name}") from error
                if value != 1:
                    found.setdefault(name, {})[multiplier] = value
        return found

    def _trained_at(self, image_shape: int, side: int) -> int:
        """The side of the image that a step in pixels, which is a power of two, speaks of."""
        if self.step is None:
            return image_shape
        return round(2 ** round(math.log2(image_shape / side)) / self.step)


def _infer(symbol: mx.sym.Symbol, image_shape: int) -> Any:
    """Shapes of arguments, outputs and auxiliary states."""
    try:
        shapes = symbol.infer_shape(data=(1, 3, image_shape, image_shape))
    except (mx.MXNetError, UnicodeDecodeError) as error:
        raise refusal(
            f"cannot take an image of {image_shape} px ({first_line(error):.200})"
        ) from error
    if shapes[0] is None:
        raise refusal("leaves shapes of parameters open")
    return shapes
