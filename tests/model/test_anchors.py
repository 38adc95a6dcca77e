"""Anchors against GluonCV's generator and, for the conventions, by hand."""

from __future__ import annotations

from typing import Any

import mxnet as mx
import numpy as np
import pytest
from gluoncv.model_zoo.ssd.anchor import SSDAnchorGenerator
from numpy.typing import NDArray

from sagemaker_object_detection.model.specs import BASE_NETWORKS, Spec, get_spec, make_anchors

# Names of initializers hold a memory address, which may have been another's.
pytestmark = pytest.mark.filterwarnings("ignore:.*New initializer .* with name constant_")


def _gluoncv(spec: Spec, sizes: list[float], steps: list[float]) -> NDArray[Any]:
    """GluonCV's anchors of all maps, xyxy in 0..1; sizes and steps in pixels."""
    side = spec.image_shape
    parts = []
    for k, map_side in enumerate(spec.map_sides):
        generator = SSDAnchorGenerator(
            k,
            (side, side),
            (sizes[k], sizes[k + 1]),
            spec.ratios[k],
            steps[k],
            alloc_size=(map_side, map_side),
        )
        generator.initialize()
        parts.append(generator(mx.nd.zeros((1, 1, map_side, map_side))).asnumpy())
    centre, size = np.split(np.concatenate(parts, axis=1), 2, axis=-1)
    return np.concatenate([centre - size / 2, centre + size / 2], axis=-1) / side


@pytest.mark.parametrize("side", [300, 447, 448, 512])
@pytest.mark.parametrize("base_network", BASE_NETWORKS)
def test_as_gluoncv(base_network: str, side: int) -> None:
    spec = get_spec(base_network, side)
    sizes = [fraction * side for fraction in spec.sizes]
    steps = [side / map_side for map_side in spec.map_sides]
    anchors = make_anchors(spec)
    assert anchors.dtype == np.float32
    assert anchors.shape == (1, spec.num_anchors, 4)
    np.testing.assert_allclose(anchors, _gluoncv(spec, sizes, steps), atol=1e-6)


@pytest.mark.parametrize(
    ("base_network", "steps", "sizes"),
    [
        pytest.param(
            "resnet-50",
            [16, 32, 64, 128, 256, 512],
            [51.2, 102.4, 189.44, 276.48, 363.52, 450.56, 537.6],
            id="resnet-50: the fractions of the service, .1 .2 .37 .54 .71 .88",
        ),
        pytest.param(
            "vgg-16",
            [8, 16, 32, 64, 128, 256, 512],
            [35.84, 76.8, 153.6, 230.4, 307.2, 384.0, 460.8, 537.6],
            id="vgg-16: GluonCV's SSD512 preset for Pascal VOC",
        ),
    ],
)
def test_as_the_presets_at_512(base_network: str, steps: list[float], sizes: list[float]) -> None:
    spec = get_spec(base_network, 512)
    np.testing.assert_allclose(make_anchors(spec), _gluoncv(spec, sizes, steps), atol=1e-6)


def test_first_cell_by_hand() -> None:
    """Side .1: the square, the larger square, wide, tall; around the middle of a cell 1/32 wide."""
    first = make_anchors(get_spec("resnet-50", 512))[0, :4]
    middle = 1 / 64
    larger = np.sqrt(0.1 * 0.2)
    wide, flat = 0.1 * np.sqrt(2), 0.1 / np.sqrt(2)
    shapes = np.array([[0.1, 0.1], [larger, larger], [wide, flat], [flat, wide]])
    expected = np.hstack([middle - shapes / 2, middle + shapes / 2])
    np.testing.assert_allclose(first, expected, atol=1e-6)


def test_cells_run_row_by_row() -> None:
    anchors = make_anchors(get_spec("resnet-50", 512))[0]
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    step = 1 / 32
    np.testing.assert_allclose(centres[4] - centres[0], [step, 0], atol=1e-6)
    np.testing.assert_allclose(centres[4 * 32] - centres[0], [0, step], atol=1e-6)


def test_the_last_map_sees_the_whole_image() -> None:
    anchors = make_anchors(get_spec("vgg-16", 300))[0, -4:]
    np.testing.assert_allclose((anchors[:, :2] + anchors[:, 2:]) / 2, 0.5, atol=1e-6)
    assert (np.abs(anchors[1] - [0, 0, 1, 1]) < 0.02).all()  # about the whole image
