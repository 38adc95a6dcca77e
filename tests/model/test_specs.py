"""The table of networks: figures by hand, and against the graphs that are really traced."""

from __future__ import annotations

import mxnet as mx
import pytest

from sagemaker_object_detection.model.network import trace_heads
from sagemaker_object_detection.model.specs import (
    BASE_NETWORKS,
    FIVE_RATIOS,
    THREE_RATIOS,
    get_spec,
)

SIDES = (300, 301, 447, 448, 512, 640)


@pytest.mark.parametrize(
    ("base_network", "side", "maps", "anchors"),
    [
        pytest.param("vgg-16", 300, (38, 19, 10, 5, 3, 1), 8732, id="the SSD300 of the paper"),
        pytest.param("vgg-16", 512, (64, 32, 16, 8, 4, 2, 1), 24564, id="SSD512"),
        pytest.param("resnet-50", 300, (19, 10, 5, 3, 2, 1), 2268, id="the service's at 300"),
        pytest.param("resnet-50", 512, (32, 16, 8, 4, 2, 1), 6132, id="the service's at 512"),
        pytest.param("resnet-50b", 512, (32, 16, 8, 4, 2, 1), 6132, id="as resnet-50"),
        pytest.param("vgg-16", 447, (56, 28, 14, 7, 5, 3), 18854, id="six maps below 448"),
        pytest.param("vgg-16", 448, (56, 28, 14, 7, 4, 2, 1), 18834, id="seven maps from 448"),
    ],
)
def test_anchor_counts(base_network: str, side: int, maps: tuple[int, ...], anchors: int) -> None:
    spec = get_spec(base_network, side)
    assert spec.map_sides == maps
    assert spec.num_anchors == anchors


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("base_network", BASE_NETWORKS)
def test_the_graph_has_the_anchors_of_the_table(base_network: str, side: int) -> None:
    spec = get_spec(base_network, side)
    _, shapes, _ = trace_heads(spec, 3).infer_shape(data=(2, 3, side, side))
    assert shapes == [(2, spec.num_anchors, 4), (2, spec.num_anchors, 4)]


@pytest.mark.parametrize("side", [1040, 1300, 2100])
@pytest.mark.parametrize("base_network", ["vgg-16", "resnet-18"])
def test_large_images(base_network: str, side: int) -> None:
    """Larger than GluonCV allots its own anchors for, which we do not use."""
    spec = get_spec(base_network, side)
    _, shapes, _ = trace_heads(spec, 3).infer_shape(data=(1, 3, side, side))
    assert shapes == [(1, spec.num_anchors, 4)] * 2


@pytest.mark.parametrize("base_network", BASE_NETWORKS)
@pytest.mark.parametrize("side", SIDES)
def test_rows_of_the_table_fit_each_other(base_network: str, side: int) -> None:
    spec = get_spec(base_network, side)
    assert len(spec.ratios) == len(spec.map_sides) == len(spec.sizes) - 1
    assert list(spec.sizes) == sorted(spec.sizes)
    assert list(spec.map_sides) == sorted(spec.map_sides, reverse=True)
    assert set(spec.ratios) == {THREE_RATIOS, FIVE_RATIOS}
    assert spec.anchors_per_cell == tuple(len(ratios) + 1 for ratios in spec.ratios)


@pytest.mark.parametrize(
    ("base_network", "side", "message"),
    [
        ("resnet-50", 299, "image_shape must be at least 300, got 299"),
        ("resnet50", 300, "base_network must be one of .*'vgg-16', .*got 'resnet50'"),
    ],
)
def test_unknown(base_network: str, side: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_spec(base_network, side)


def test_classes_only_change_the_scores() -> None:
    spec = get_spec("mobilenet1.0", 300)
    for num_classes in (1, 20):
        _, shapes, _ = trace_heads(spec, num_classes).infer_shape(data=(1, 3, 300, 300))
        assert shapes == [(1, 2268, num_classes + 1), (1, 2268, 4)]
    assert isinstance(trace_heads(spec, 1), mx.sym.Symbol)
