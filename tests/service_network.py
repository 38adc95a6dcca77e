"""The network of the service's own algorithm, built layer by layer as public artefacts have it.

Names, sizes and attributes are the service's. `width` narrows every layer but the heads, so that
tests take neither time nor room: ResNet-50 has 105 MB at width 1 and 0.8 MB at 1/16.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import mxnet as mx
from mxnet.symbol import Symbol

VARIANCES = (0.1, 0.1, 0.2, 0.2)
NO_STEPS = (-1.0,) * 7

_THREE = (1, 2, 0.5)
_FIVE = (1, 2, 0.5, 3, 1.0 / 3)
_SIX_SIZES = (
    (0.1, 0.141421),
    (0.2, 0.272029),
    (0.37, 0.44699),
    (0.54, 0.619193),
    (0.71, 0.790443),
    (0.88, 0.961249),
)
_SEVEN_SIZES = (
    (0.07, 0.10247),
    (0.15, 0.21213),
    (0.3, 0.36742),
    (0.45, 0.51962),
    (0.6, 0.67082),
    (0.75, 0.82158),
    (0.9, 0.97211),
)


@dataclass(frozen=True)
class Service:
    """A training job of the service, as far as its network and its files tell.

    width: share of the real number of channels.
    deploy: the graph that zhreshold/mxnet-ssd's deploy.py makes of it, suppressing class by class.
    seed: of the values.
    """

    base_network: str = "resnet-50"
    num_classes: int = 2
    image_shape: int = 512
    width: float = 1.0
    deploy: bool = False
    seed: int = 0
    hyperparameters: Mapping[str, str] = field(default_factory=dict)

    def channels(self, full: int) -> int:
        """How many channels a layer has that has `full` in the service."""
        return max(1, int(full * self.width))


@dataclass(frozen=True)
class _Heads:
    """Where heads sit: (name, symbol, L2 norm's channels or 0), extra layers, anchors."""

    layers: list[tuple[str, Symbol, int]]
    sizes: tuple[tuple[float, float], ...]
    ratios: tuple[tuple[float, ...], ...]
    steps: tuple[float, ...]


def graph(service: Service) -> Symbol:
    """The training graph, or the deploy graph where the job says so."""
    with mx.name.NameManager():
        data = mx.sym.var("data")
        heads = (
            _resnet(service, data) if service.base_network == "resnet-50" else _vgg(service, data)
        )
        scores, offsets, anchors = _multibox(heads, service.num_classes)
        return (_deployed if service.deploy else _trained)(scores, offsets, anchors)


def _trained(scores: Symbol, offsets: Symbol, anchors: Symbol) -> Symbol:
    label = mx.sym.var("label")
    box_target, box_mask, class_target = mx.sym.contrib.MultiBoxTarget(
        anchors,
        label,
        scores,
        overlap_threshold=0.5,
        ignore_label=-1,
        negative_mining_ratio=3,
        minimum_negative_samples=0,
        negative_mining_thresh=0.5,
        variances=VARIANCES,
        name="multibox_target",
    )
    shares = mx.sym.SoftmaxOutput(
        data=scores,
        label=class_target,
        ignore_label=-1,
        use_ignore=True,
        grad_scale=1.0,
        multi_output=True,
        normalization="valid",
        name="cls_prob",
    )
    distance = mx.sym.smooth_l1(
        data=box_mask * (offsets - box_target), scalar=1.0, name="loc_loss_"
    )
    loss = mx.sym.MakeLoss(distance, grad_scale=1.0, normalization="valid", name="loc_loss")
    labels = mx.sym.MakeLoss(data=class_target, grad_scale=0, name="cls_label")
    rows = _detection(shares, offsets, anchors)
    return mx.sym.Group([shares, loss, labels, mx.sym.MakeLoss(rows, grad_scale=0, name="det_out")])


def _deployed(scores: Symbol, offsets: Symbol, anchors: Symbol) -> Symbol:
    shares = mx.sym.SoftmaxActivation(data=scores, mode="channel", name="cls_prob")
    return _detection(shares, offsets, anchors)


def _detection(shares: Symbol, offsets: Symbol, anchors: Symbol) -> Symbol:
    return mx.sym.contrib.MultiBoxDetection(
        shares,
        offsets,
        anchors,
        name="detection",
        nms_threshold=0.45,
        nms_topk=400,
        force_suppress=False,
        variances=VARIANCES,
    )


def _resnet(service: Service, data: Symbol) -> _Heads:
    """ResNet-50 v2, pre-activation; heads on the sums of stages 3 and 4 and four extra layers."""
    body = _norm(mx.sym.identity(data, name="id"), "bn_data", fix_gamma=True)
    body = mx.sym.Convolution(
        body,
        num_filter=service.channels(64),
        kernel=(7, 7),
        stride=(2, 2),
        pad=(3, 3),
        no_bias=True,
        name="conv0",
        workspace=256,
    )
    body = mx.sym.Activation(_norm(body, "bn0"), act_type="relu", name="relu0")
    body = mx.sym.Pooling(
        body, kernel=(3, 3), stride=(2, 2), pad=(1, 1), pool_type="max", name="pooling0"
    )
    sums = []
    for stage, (units, filters) in enumerate(((3, 256), (4, 512), (6, 1024), (3, 2048)), 1):
        for unit in range(1, units + 1):
            stride = 2 if unit == 1 and stage > 1 else 1
            name = f"stage{stage}_unit{unit}"
            body = _unit(body, service.channels(filters), stride, unit > 1, name)
            sums.append(body)
    layers = [("_plus12", sums[12], 0), ("_plus15", sums[15], 0)]
    extra = ((512, 2, 1), (256, 2, 1), (256, 2, 1), (128, 2, 1))
    layers += _extra_layers(service, body, extra)
    return _Heads(
        layers,
        _SIX_SIZES,
        (_THREE, _FIVE, _FIVE, _FIVE, _THREE, _THREE),
        NO_STEPS,
    )


def _unit(data: Symbol, filters: int, stride: int, same: bool, name: str) -> Symbol:
    """A bottleneck of three convolutions, each behind its BatchNorm."""
    body = first = data
    shapes = ((filters // 4, 1, 1, 0), (filters // 4, 3, stride, 1), (filters, 1, 1, 0))
    for i, (width, kernel, step, pad) in enumerate(shapes, 1):
        body = _norm(body, f"{name}_bn{i}")
        body = mx.sym.Activation(body, act_type="relu", name=f"{name}_relu{i}")
        first = body if i == 1 else first
        body = mx.sym.Convolution(
            body,
            num_filter=width,
            kernel=(kernel, kernel),
            stride=(step, step),
            pad=(pad, pad),
            no_bias=True,
            workspace=256,
            name=f"{name}_conv{i}",
        )
    if same:
        return body + data
    return body + mx.sym.Convolution(
        first,
        num_filter=filters,
        kernel=(1, 1),
        stride=(stride, stride),
        no_bias=True,
        workspace=256,
        name=f"{name}_sc",
    )


def _norm(data: Symbol, name: str, fix_gamma: bool = False) -> Symbol:
    return mx.sym.BatchNorm(data, fix_gamma=fix_gamma, eps=2e-5, momentum=0.9, name=name)


def _vgg(service: Service, data: Symbol) -> _Heads:
    """Reduced atrous VGG-16; heads on relu4_3 (normalised), relu7 and the extra layers."""
    body = data
    normalised = None
    for block, (count, filters) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
        for i in range(1, count + 1):
            body = _conv(body, f"conv{block}_{i}", service.channels(filters), 3, pad=1)
            body = mx.sym.Activation(body, act_type="relu", name=f"relu{block}_{i}")
        normalised = body if block == 4 else normalised
        body = mx.sym.Pooling(
            body,
            pool_type="max",
            kernel=(3, 3) if block == 5 else (2, 2),
            stride=(1, 1) if block == 5 else (2, 2),
            pad=(1, 1) if block == 5 else (0, 0),
            pooling_convention="full" if block == 3 else "valid",
            name=f"pool{block}",
        )
    wide = service.channels(1024)
    body = _conv(body, "fc6", wide, 3, pad=6, dilate=6)
    body = mx.sym.Activation(body, act_type="relu", name="relu6")
    body = mx.sym.Activation(_conv(body, "fc7", wide, 1), act_type="relu", name="relu7")
    layers = [("relu4_3", normalised, service.channels(512)), ("relu7", body, 0)]
    side = service.image_shape
    if side >= 448:
        extra: tuple[tuple[int, int, int], ...] = ((512, 2, 1), *((256, 2, 1),) * 3, (256, 1, 1))
        sizes: tuple[tuple[float, float], ...] = _SEVEN_SIZES
        ratios: tuple[tuple[float, ...], ...] = (_THREE, _FIVE, _FIVE, _FIVE, _FIVE, _THREE, _THREE)
        known = tuple(step / 512 for step in (8, 16, 32, 64, 128, 256, 512))
    else:
        extra = ((512, 2, 1), (256, 2, 1), (256, 1, 0), (256, 1, 0))
        sizes = _SIX_SIZES
        ratios = (_THREE, _FIVE, _FIVE, _FIVE, _THREE, _THREE)
        known = tuple(step / 300 for step in (8, 16, 32, 64, 100, 300))
    layers += _extra_layers(service, body, extra)
    return _Heads(layers, sizes, ratios, known if side in (300, 512) else NO_STEPS)


def _conv(
    data: Symbol,
    name: str,
    filters: int,
    kernel: int,
    pad: int = 0,
    stride: int = 1,
    dilate: int = 1,
) -> Symbol:
    return mx.sym.Convolution(
        data,
        num_filter=filters,
        kernel=(kernel, kernel),
        pad=(pad, pad),
        stride=(stride, stride),
        dilate=(dilate, dilate),
        name=name,
    )


def _extra_layers(
    service: Service, body: Symbol, layers: tuple[tuple[int, int, int], ...]
) -> Iterator[tuple[str, Symbol, int]]:
    for number, (filters, stride, pad) in enumerate(layers, 2):
        for size, width, step, edge in (
            (1, max(128, filters // 2), 1, 0),
            (3, filters, stride, pad),
        ):
            name = f"multi_feat_{number}_conv_{size}x{size}"
            body = mx.sym.Convolution(
                body,
                bias=_bias(f"{name}_conv_bias"),
                num_filter=service.channels(width),
                kernel=(size, size),
                stride=(step, step),
                pad=(edge, edge),
                name=f"{name}_conv",
            )
            body = mx.sym.Activation(body, act_type="relu", name=f"{name}_relu")
        yield (f"{name}_relu", body, 0)


def _bias(name: str) -> Symbol:
    return mx.sym.var(name, init=mx.init.Constant(0.0), attr={"__lr_mult__": "2.0"})


def _multibox(heads: _Heads, num_classes: int) -> tuple[Symbol, Symbol, Symbol]:
    """Scores (B, C+1, N), offsets (B, 4 N) and anchors (1, N, 4)."""
    scores: list[Symbol] = []
    offsets: list[Symbol] = []
    anchors = []
    for k, (name, layer, norm) in enumerate(heads.layers):
        if norm:
            scale = mx.sym.var(
                f"{name}_scale",
                shape=(1, norm, 1, 1),
                init=mx.init.Constant(20),
                attr={"__wd_mult__": "0.1"},
            )
            unit = mx.sym.L2Normalization(layer, mode="channel", name=f"{name}_norm")
            layer = mx.sym.broadcast_mul(lhs=scale, rhs=unit)
        per_cell = len(heads.sizes[k]) + len(heads.ratios[k]) - 1
        for rows, kind, width in ((offsets, "loc", 4), (scores, "cls", num_classes + 1)):
            conv = mx.sym.Convolution(
                layer,
                bias=_bias(f"{name}_{kind}_pred_conv_bias"),
                kernel=(3, 3),
                stride=(1, 1),
                pad=(1, 1),
                num_filter=per_cell * width,
                name=f"{name}_{kind}_pred_conv",
            )
            rows.append(mx.sym.Flatten(mx.sym.transpose(conv, axes=(0, 2, 3, 1))))
        prior = mx.sym.contrib.MultiBoxPrior(
            layer,
            sizes=heads.sizes[k],
            ratios=heads.ratios[k],
            clip=False,
            steps=(heads.steps[k],) * 2,
            name=f"{name}_anchors",
        )
        anchors.append(mx.sym.Flatten(prior))
    joined = mx.sym.Reshape(mx.sym.Concat(*scores, dim=1), shape=(0, -1, num_classes + 1))
    return (
        mx.sym.transpose(joined, axes=(0, 2, 1), name="multibox_cls_pred"),
        mx.sym.Concat(*offsets, dim=1, name="multibox_loc_pred"),
        mx.sym.Reshape(mx.sym.Concat(*anchors, dim=1), shape=(0, -1, 4), name="multibox_anchors"),
    )
