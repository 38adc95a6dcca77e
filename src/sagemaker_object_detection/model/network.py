"""The SSD network of GluonCV as a graph that we own.

GluonCV builds the layers; we trace its training branch once and keep the two heads. Its inference
branch is never used: hybridised, the switch between the two breaks on shapes. Every graph has one
input `data`, RGB 0-255, and begins with the normalisation, so that nobody can forget it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import mxnet as mx
import numpy as np
from gluoncv.model_zoo.ssd.ssd import get_ssd
from gluoncv.model_zoo.ssd.vgg_atrous import vgg16_atrous_300, vgg16_atrous_512
from mxnet import autograd, gluon
from mxnet.contrib import amp
from numpy.typing import NDArray

from sagemaker_object_detection.model.names import PREFIX, is_last_of_residual
from sagemaker_object_detection.model.specs import Spec, make_anchors

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_CHANNEL_MULTIPLE = 32
"""oneDNN has AMX kernels for all three directions of a convolution only for such channels; with
others the gradient comes back in a layout for which BatchNorm has no fast kernel either."""
_CONSTANTS = ("pixel_mean", "pixel_scale", "init_scale")


@dataclass(frozen=True)
class Network:
    """A traced SSD: GluonCV's, or the one that an artefact of the service holds.

    Attributes:
        base_network: the hyperparameter's value.
        image_shape: side of the square input in pixels, S.
        num_classes: foreground classes, C.
        heads: symbol `data` (B, 3, S, S) -> class scores (B, N, C+1), background first, and box
            offsets (B, N, 4), both before softmax and decoding.
        anchors: float32 (1, N, 4), xyxy in 0..1.
        block: the same graph as a Gluon block that owns the parameters; in the precision asked for.
        anchor_graph: `data` -> anchors (1, N, 4) for a network that lays them out itself, on nodes
            that the heads share.
    """

    base_network: str
    image_shape: int
    num_classes: int
    heads: mx.sym.Symbol
    anchors: NDArray[Any]
    block: gluon.SymbolBlock
    anchor_graph: mx.sym.Symbol | None = None

    @property
    def parameters(self) -> gluon.ParameterDict:
        """Every parameter by its name in the graph, constants included."""
        return self.block.collect_params()


@contextmanager
def _without_noise() -> Iterator[None]:
    """Without two warnings of Gluon that mean nothing.

    That a block's input has no type before the first batch; and that an initializer of a constant
    has a name that one of an earlier network, long gone, had: names hold a memory address.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Cannot decide type for the following arguments")
        warnings.filterwarnings("ignore", ".*New initializer .*Init registered with name constant_")
        yield


def vgg_extractor(spec: Spec) -> Callable[..., gluon.HybridBlock]:
    """GluonCV's builder of the VGG-16 extractor with as many maps as the spec has."""
    return vgg16_atrous_512 if len(spec.map_sides) == 7 else vgg16_atrous_300


def make_ssd(spec: Spec, num_classes: int) -> gluon.HybridBlock:
    """GluonCV's SSD by the spec's table, without values."""
    if spec.backbone is None:
        name = "vgg16_atrous"
        features: Any = vgg_extractor(spec)
        filters = None
    else:
        name, features, filters = spec.backbone, list(spec.features), list(spec.extra_filters)
    with _without_noise():
        return get_ssd(
            name,
            spec.image_shape,
            features=features,
            filters=filters,
            sizes=[s * spec.image_shape for s in spec.sizes],
            ratios=[list(r) for r in spec.ratios],
            steps=[spec.image_shape / side for side in spec.map_sides],
            classes=[str(i) for i in range(num_classes)],
            dataset="",
            pretrained=False,
            pretrained_base=False,
            prefix=PREFIX,
        )


def trace_heads(spec: Spec, num_classes: int, channel_multiple: int | None = None) -> mx.sym.Symbol:
    """The heads of GluonCV's SSD behind our normalisation, as a symbol of `data`.

    Args:
        channel_multiple: compute the class scores and the box offsets of a feature map by one
            convolution, whose channels are padded with zeros to a multiple of this: the same
            parameters and results, faster where odd numbers of channels have no fast kernel.
    """
    net = make_ssd(spec, num_classes)
    pixels = mx.sym.var("data", dtype="float32")
    mean = mx.sym.var("pixel_mean", shape=(1, 3, 1, 1))
    scale = mx.sym.var("pixel_scale", shape=(1, 3, 1, 1))
    centred = mx.sym.broadcast_sub(pixels, mean, name="centred")
    normalised = mx.sym.broadcast_mul(centred, scale, name="normalised")
    with autograd.train_mode(), mx.name.NameManager():
        if channel_multiple is None:
            class_scores, box_offsets, _ = net(normalised)
        else:
            class_scores, box_offsets = _joined(net, normalised, channel_multiple)
    return name_heads(class_scores, box_offsets)


def _joined(
    net: gluon.HybridBlock, normalised: mx.sym.Symbol, multiple: int
) -> tuple[mx.sym.Symbol, mx.sym.Symbol]:
    """Class scores and box offsets, by one convolution for each feature map."""
    scores, offsets = [], []
    predictors = zip(net.class_predictors, net.box_predictors, strict=True)
    for features, pair in zip(net.features(normalised), predictors, strict=True):
        layers = [predictor.predictor for predictor in pair]
        classes, boxes = (layer.weight.shape[0] for layer in layers)
        padding = -(classes + boxes) % multiple
        convolved = mx.sym.Convolution(
            features,
            _padded([layer.weight.var() for layer in layers], padding),
            _padded([layer.bias.var() for layer in layers], padding),
            num_filter=classes + boxes + padding,
            kernel=(3, 3),
            pad=(1, 1),
        )
        last = mx.sym.transpose(convolved, axes=(0, 2, 3, 1))
        scores.append(mx.sym.flatten(last.slice_axis(axis=3, begin=0, end=classes)))
        offsets.append(mx.sym.flatten(last.slice_axis(axis=3, begin=classes, end=classes + boxes)))
    return (
        mx.sym.concat(*scores, dim=1).reshape((0, -1, len(net.classes) + 1)),
        mx.sym.concat(*offsets, dim=1).reshape((0, -1, 4)),
    )


def _padded(arrays: list[mx.sym.Symbol], padding: int) -> mx.sym.Symbol:
    """Arrays one below the other, and rows of zeros, fewer than they have."""
    both = mx.sym.concat(*arrays, dim=0)
    if not padding:
        return both
    zeros = mx.sym.zeros_like(both.slice_axis(axis=0, begin=0, end=padding))
    return mx.sym.concat(both, zeros, dim=0)


def name_heads(class_scores: mx.sym.Symbol, box_offsets: mx.sym.Symbol) -> mx.sym.Symbol:
    """The heads of any network as one symbol, whose outputs have the same names in each."""
    return mx.sym.Group(
        [
            mx.sym.identity(class_scores, name="class_scores"),
            mx.sym.identity(box_offsets, name="box_offsets"),
        ]
    )


def build_network(spec: Spec, num_classes: int, precision: str = "float32") -> Network:
    """Build and trace; parameters have shapes but no values yet.

    Args:
        precision: float32, bfloat16 or float16. Parameters and heads stay float32 in each; below
            float32 the convolutions compute in the narrower type (MXNet's AMP lists).
    """
    heads = trace_heads(spec, num_classes)
    trained = trace_heads(spec, num_classes, _CHANNEL_MULTIPLE)
    return Network(
        spec.base_network,
        spec.image_shape,
        num_classes,
        heads,
        make_anchors(spec),
        make_block(trained, spec.image_shape, precision),
    )


def make_block(heads: mx.sym.Symbol, image_shape: int, precision: str) -> gluon.SymbolBlock:
    """The heads as a Gluon block in this precision; parameters have shapes but no values.

    Constants and auxiliary states get no gradient.
    """
    graph = heads if precision == "float32" else lower_precision(heads, precision)
    with _without_noise():
        block = gluon.SymbolBlock(graph, mx.sym.var("data", dtype="float32"))
    arg_shapes, _, aux_shapes = heads.infer_shape(data=(1, 3, image_shape, image_shape))
    auxiliary = heads.list_auxiliary_states()
    shapes = dict(zip(heads.list_arguments(), arg_shapes, strict=True))
    shapes.update(zip(auxiliary, aux_shapes, strict=True))
    for name, parameter in block.collect_params().items():
        parameter.shape = shapes[name]
        parameter.dtype = "float32"
        if name.endswith(_CONSTANTS) or name in auxiliary:
            parameter.grad_req = "null"
    return block


def lower_precision(heads: mx.sym.Symbol, precision: str) -> mx.sym.Symbol:
    """The same graph with convolutions in `precision` and float32 outputs."""
    graph = amp.convert_symbol(heads, target_dtype=precision)
    outputs = [mx.sym.amp_cast(output, dtype="float32") for output in graph]
    return mx.sym.Group(outputs)


def initialize(network: Network, ctx: list[mx.Context], seed: int) -> None:
    """Fill every parameter from `seed`, the same values on every machine.

    Convolutions by He et al. 2015 (normal, fan out), heads so small that the first scores are
    near 0, BatchNorm at gamma 1, beta 0, mean 0, variance 1: GluonCV's default fills even
    the variance of the extra layers at random, which gives NaN before the first step. The last
    BatchNorm of a residual branch starts at gamma 0, so that every block is the identity at first
    (Goyal et al. 2017, arXiv:1706.02677, section 5.1): without it ResNet-50 hardly learns in the
    first epochs.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    for name, parameter in sorted(network.parameters.items()):
        value = _initial_value(name, parameter.shape, network.base_network, generator)
        parameter.initialize(init=mx.init.Zero(), ctx=ctx, force_reinit=True)
        parameter.set_data(mx.nd.array(value))


def _initial_value(
    name: str, shape: tuple[int, ...], base_network: str, generator: np.random.Generator
) -> NDArray[Any]:
    if name == "pixel_mean":
        return 255 * np.reshape(IMAGENET_MEAN, shape)
    if name == "pixel_scale":
        return 1 / (255 * np.reshape(IMAGENET_STD, shape))
    if name.endswith("init_scale"):  # GluonCV's VGG was trained on Caffe's pixels
        return 255 * np.reshape(IMAGENET_STD, shape)
    if is_last_of_residual(name, base_network):
        return np.zeros(shape)
    if name.endswith(("gamma", "_var")):
        return np.ones(shape)
    if name.endswith(("beta", "_mean", "bias")):
        return np.zeros(shape)
    if name.endswith("scale"):  # L2 normalisation of VGG's conv4_3 (ParseNet, arXiv:1506.04579)
        return np.full(shape, 20.0)
    if "predictor" in name:
        return generator.normal(0.0, 0.1 / np.sqrt(np.prod(shape[1:])), shape)
    filters = 1 if shape[1] == 1 else shape[0]  # one for each channel: depthwise, in MobileNet
    fan_out = filters * int(np.prod(shape[2:]))
    return generator.normal(0.0, np.sqrt(2.0 / fan_out), shape)
