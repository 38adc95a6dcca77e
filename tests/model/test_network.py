"""The network: our graph is GluonCV's behind a normalisation, with first values that we choose."""

from __future__ import annotations

import zlib
from typing import Any

import mxnet as mx
import numpy as np
import pytest
from gluoncv.model_zoo.ssd.ssd import get_ssd
from gluoncv.model_zoo.ssd.vgg_atrous import vgg16_atrous_300
from mxnet import autograd
from numpy.typing import NDArray

from sagemaker_object_detection.model.names import is_last_of_residual
from sagemaker_object_detection.model.network import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Network,
    build_network,
    initialize,
    make_block,
    trace_heads,
)
from sagemaker_object_detection.model.specs import BASE_NETWORKS, Spec, get_spec
from sagemaker_object_detection.platform.processor import BFLOAT16_FLAGS, cpu_flags

CLASSES = 3

pytestmark = [
    pytest.mark.filterwarnings("ignore:Cannot decide type for the following arguments"),
    pytest.mark.filterwarnings("ignore:.*New initializer .* with name constant_"),
]


def _built(base_network: str, seed: int = 0, precision: str = "float32") -> Network:
    network = build_network(get_spec(base_network, 300), CLASSES, precision)
    initialize(network, [mx.cpu()], seed)
    return network


def _livened(network: Network) -> Network:
    """With random BatchNorm, so that residual branches, which begin at zero, count too."""
    generator = np.random.default_rng(1)
    for name, parameter in sorted(network.parameters.items()):
        if name.endswith(("_gamma", "_var")):
            parameter.set_data(mx.nd.array(generator.uniform(0.5, 1.5, parameter.shape)))
    return network


def _values(network: Network) -> dict[str, NDArray[Any]]:
    return {name: p.data().asnumpy() for name, p in network.parameters.items()}


def _picture() -> mx.nd.NDArray:
    """Smooth noise, (1, 3, 300, 300), 0-255."""
    coarse = np.random.default_rng(0).uniform(0, 255, (1, 3, 10, 10))
    return mx.nd.array(coarse.repeat(30, axis=2).repeat(30, axis=3))


def _gluoncv(spec: Spec) -> Any:
    return get_ssd(
        spec.backbone or "vgg16_atrous",
        300,
        features=list(spec.features) if spec.backbone else vgg16_atrous_300,
        filters=list(spec.extra_filters) if spec.backbone else None,
        sizes=[300 * size for size in spec.sizes],
        ratios=spec.ratios,
        steps=[300 / side for side in spec.map_sides],
        classes=[str(i) for i in range(CLASSES)],
        dataset="",
        pretrained=False,
        pretrained_base=False,
        prefix="ssd_",
    )


@pytest.mark.parametrize("base_network", ["mobilenet1.0", "resnet-18", "resnet-50b", "vgg-16"])
def test_the_graph_is_gluoncvs_behind_the_normalisation(base_network: str) -> None:
    """Normalised by MXNet's own transform, and with our values, GluonCV's block answers alike."""
    network = _livened(_built(base_network))
    theirs = _gluoncv(get_spec(base_network, 300))
    theirs.initialize()
    ours = network.parameters
    for name, parameter in theirs.collect_params().items():
        if "anchor" not in name:
            parameter.set_data(ours[name].data())
    picture = _picture()
    to_tensor = mx.nd.image.to_tensor(picture.transpose((0, 2, 3, 1)).astype("uint8"))
    normalised = mx.nd.image.normalize(to_tensor, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    with autograd.train_mode():
        scores, offsets, _ = theirs(normalised)
        got_scores, got_offsets = network.block(picture.floor())
    np.testing.assert_allclose(got_scores.asnumpy(), scores.asnumpy(), atol=2e-4)
    np.testing.assert_allclose(got_offsets.asnumpy(), offsets.asnumpy(), atol=2e-4)
    assert scores.asnumpy().std() > 0.01  # and it says something


@pytest.mark.parametrize(("classes", "multiple"), [(3, 32), (1, 32), (4, 36)])
def test_predictors_that_are_computed_together_give_the_same(classes: int, multiple: int) -> None:
    """Scores, offsets and the gradients of all parameters; a padded convolution and a full one."""
    spec = get_spec("resnet-18", 300)
    image = _picture()
    found = []
    for heads in (trace_heads(spec, classes), trace_heads(spec, classes, multiple)):
        block = make_block(heads, 300, "float32")
        for name, parameter in sorted(block.collect_params().items()):
            seed = zlib.crc32(name.encode())
            values = np.random.default_rng(seed).uniform(0.01, 0.03, parameter.shape)
            parameter.initialize(init=mx.init.Zero(), force_reinit=True)
            parameter.set_data(mx.nd.array(values))
        with autograd.record():
            scores, offsets = block(image)
            total = (scores * scores).sum() + (offsets * offsets).sum()
        total.backward()
        parameters = block.collect_params()
        gradients = {n: p.grad().asnumpy() for n, p in parameters.items() if p.grad_req != "null"}
        found.append({"scores": scores.asnumpy(), "offsets": offsets.asnumpy(), **gradients})
    apart, together = found
    assert apart.keys() == together.keys()
    assert np.abs(apart["scores"]).max() > 0.01
    for name, expected in apart.items():
        scale = np.abs(expected).max()
        np.testing.assert_allclose(together[name], expected, atol=1e-4 * scale, err_msg=name)


@pytest.mark.parametrize("base_network", BASE_NETWORKS)
def test_names_are_the_same_in_every_network_of_a_process(base_network: str) -> None:
    spec = get_spec(base_network, 300)
    first, second = trace_heads(spec, CLASSES), trace_heads(spec, CLASSES)
    assert first.list_inputs() == second.list_inputs()
    assert first.get_internals().list_outputs() == second.get_internals().list_outputs()
    assert first.list_outputs() == ["class_scores_output", "box_offsets_output"]
    assert first.list_arguments()[0] == "data"


@pytest.mark.parametrize("base_network", BASE_NETWORKS)
def test_first_values(base_network: str) -> None:
    values = _values(_built(base_network))
    assert all(np.isfinite(value).all() for value in values.values())
    for name, value in values.items():
        if is_last_of_residual(name, base_network):
            assert (value == 0).all(), name
        elif name.endswith(("_gamma", "_var")):
            assert (value == 1).all(), name
        elif name.endswith(("_beta", "_mean", "_bias")) and name != "pixel_mean":
            assert (value == 0).all(), name
        elif "predictor" in name:
            assert 0 < value.std() < 0.01, name
    np.testing.assert_allclose(values["pixel_mean"].ravel(), [123.675, 116.28, 103.53], rtol=1e-6)
    np.testing.assert_allclose(
        values["pixel_scale"].ravel(), 1 / np.array([58.395, 57.12, 57.375]), rtol=1e-6
    )


@pytest.mark.parametrize(
    ("base_network", "name", "shape", "fan_out"),
    [
        pytest.param("resnet-18", "resnetv10_stage2_conv1", (128, 128, 3, 3), 128 * 9, id="plain"),
        pytest.param("mobilenet1.0", "mobilenet0_conv25", (1024, 1, 3, 3), 9, id="depthwise"),
        pytest.param("resnet-18", "expand_trans_conv0", (512, 512, 1, 1), 512, id="extra layer"),
    ],
)
def test_first_values_of_a_convolution(
    base_network: str, name: str, shape: tuple[int, ...], fan_out: int
) -> None:
    """He et al. by the outgoing connections of an input: variance 2 / fan out."""
    weight = _values(_built(base_network))[f"ssd_{name}_weight"]
    assert weight.shape == shape
    assert weight.std() == pytest.approx(np.sqrt(2 / fan_out), rel=0.02)
    assert abs(weight.mean()) < 0.02 * weight.std()


def test_residual_blocks_begin_as_the_identity() -> None:
    """The last BatchNorm of each branch, and no other, has gamma 0."""
    for base_network, blocks, last in (
        ("resnet-18", 8, "resnetv10_stage1_batchnorm1"),
        ("resnet-50", 16, "resnetv10_stage1_batchnorm2"),
        ("resnet-50b", 16, "resnetv1b_layers1_batchnorm2"),
    ):
        values = _values(_built(base_network))
        silent = {name for name, value in values.items() if "gamma" in name and not value.any()}
        assert len(silent) == blocks
        assert f"ssd_{last}_gamma" in silent


def test_vgg_gets_the_pixels_it_was_trained_on() -> None:
    """Centred, but not divided: Caffe's pixels. And conv4_3 is scaled to a norm of 20."""
    values = _values(_built("vgg-16"))
    both = values["pixel_scale"] * values["ssd_vggatrousextractor0_init_scale"]
    np.testing.assert_allclose(both, np.ones((1, 3, 1, 1)), rtol=1e-6)
    assert (values["ssd_vggatrousextractor0_normalize0_normalize_scale"] == 20).all()


def test_first_values_follow_from_the_seed_alone() -> None:
    mx.random.seed(1)
    np.random.seed(1)  # noqa: NPY002 the state that the values must not depend on
    first = _values(_built("mobilenet1.0", seed=5))
    mx.random.seed(2)
    np.random.seed(2)  # noqa: NPY002
    again, other = (_values(_built("mobilenet1.0", seed=seed)) for seed in (5, 6))
    assert all((first[name] == again[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)


def test_initialize_again_forgets_what_was_learnt() -> None:
    network = _built("mobilenet1.0")
    first = _values(network)
    for parameter in network.parameters.values():
        parameter.set_data(parameter.data() + 1)
    initialize(network, [mx.cpu()], 0)
    again = _values(network)
    assert all((first[name] == again[name]).all() for name in first)


def test_gluoncvs_own_first_values_are_no_start() -> None:
    """Known bug: the extra layers' BatchNorm, variance included, are uniform around zero."""
    theirs = _gluoncv(get_spec("mobilenet1.0", 300))
    theirs.initialize()
    theirs(mx.nd.zeros((1, 3, 300, 300)))
    variances = [
        parameter.data().asnumpy()
        for name, parameter in theirs.collect_params().items()
        if "expand" in name and name.endswith("_var")
    ]
    assert len(variances) == 8
    assert all(variance.min() < 0 for variance in variances)


@pytest.mark.parametrize("base_network", BASE_NETWORKS)
def test_it_answers_before_any_training(base_network: str) -> None:
    """Finite heads for any picture, with moving averages too, and no class preferred by far."""
    network = _built(base_network)
    pictures = mx.nd.concat(_picture(), mx.nd.zeros((1, 3, 300, 300)), dim=0)
    scores, offsets = (head.asnumpy() for head in network.block(pictures))
    assert scores.shape == (2, get_spec(base_network, 300).num_anchors, CLASSES + 1)
    assert offsets.shape == (2, get_spec(base_network, 300).num_anchors, 4)
    assert np.isfinite(scores).all()
    assert np.isfinite(offsets).all()
    assert np.abs(scores).mean() < 1


def test_what_learns() -> None:
    network = _built("vgg-16")
    still = {name for name, p in network.parameters.items() if p.grad_req == "null"}
    assert still == {"pixel_mean", "pixel_scale", "ssd_vggatrousextractor0_init_scale"}
    network = _built("resnet-18")
    still = {name for name, p in network.parameters.items() if p.grad_req == "null"}
    averages = {name for name in network.parameters if name.endswith(("_mean", "_var"))}
    assert still == averages | {"pixel_mean", "pixel_scale"}
    assert still >= set(network.heads.list_auxiliary_states())


@pytest.mark.skipif(not cpu_flags() & BFLOAT16_FLAGS, reason="this CPU has no bfloat16")
@pytest.mark.parametrize("base_network", ["mobilenet1.0", "resnet-18", "vgg-16"])
def test_bfloat16_answers_nearly_the_same(base_network: str) -> None:
    exact, narrow = _built(base_network), _built(base_network, precision="bfloat16")
    assert {str(np.dtype(p.dtype)) for p in narrow.parameters.values()} == {"float32"}
    picture = _picture()
    expected = [head.asnumpy() for head in _livened(exact).block(picture)]
    got = [head.asnumpy() for head in _livened(narrow).block(picture)]
    for head, wanted in zip(got, expected, strict=True):
        assert head.dtype == np.float32
        assert not np.array_equal(head, wanted)  # it did compute in bfloat16
        assert np.sqrt(np.mean((head - wanted) ** 2)) < 0.03 * wanted.std()


@pytest.mark.skipif(not cpu_flags() & BFLOAT16_FLAGS, reason="this CPU has no bfloat16")
def test_bfloat16_gradients_point_the_same_way() -> None:
    gradients = []
    for precision in ("float32", "bfloat16"):
        network = _built("vgg-16", precision=precision)
        with autograd.record():
            scores, offsets = network.block(_picture())
            total = (scores * scores).mean() + (offsets * offsets).mean()
        total.backward()
        learning = [p for _, p in sorted(network.parameters.items()) if p.grad_req != "null"]
        gradients.append([p.grad().asnumpy().ravel() for p in learning])
    for exact, narrow in zip(*gradients, strict=True):
        assert narrow.dtype == np.float32
        assert exact @ narrow > 0.99 * np.linalg.norm(exact) * np.linalg.norm(narrow)
