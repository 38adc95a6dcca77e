"""Names of layers in the service's words, and what a freeze pattern catches."""

from __future__ import annotations

from functools import cache

import pytest

from sagemaker_object_detection.model.names import frozen_names, plain_name, service_name
from sagemaker_object_detection.model.network import trace_heads
from sagemaker_object_detection.model.specs import BASE_NETWORKS, get_spec
from sagemaker_object_detection.platform.errors import ClientError

VGG = "ssd_vggatrousextractor0_"
RESNET = "ssd_resnetv10_"
RESNET_B = "ssd_resnetv1b_"


@cache
def _names(base_network: str, side: int = 300) -> tuple[str, ...]:
    names = trace_heads(get_spec(base_network, side), 2).list_arguments()
    return tuple(name for name in names if name != "data" and "pixel" not in name)


def _frozen(pattern: str, base_network: str) -> list[str]:
    frozen = frozen_names(pattern, _names(base_network), base_network)
    return [plain_name(name) for name in _names(base_network) if name in frozen]


@pytest.mark.parametrize(
    ("ours", "base_network", "theirs"),
    [
        (f"{VGG}conv0_weight", "vgg-16", "conv1_1_weight"),
        (f"{VGG}conv3_bias", "vgg-16", "conv2_2_bias"),
        (f"{VGG}conv4_weight", "vgg-16", "conv3_1_weight"),
        (f"{VGG}conv12_weight", "vgg-16", "conv5_3_weight"),
        (f"{VGG}dilated_conv0_weight", "vgg-16", "fc6_weight"),
        (f"{VGG}dilated_conv1_bias", "vgg-16", "fc7_bias"),
        (f"{VGG}normalize0_normalize_scale", "vgg-16", "relu4_3_scale"),
        (f"{VGG}extra0_conv0_weight", "vgg-16", "multi_feat_2_conv_1x1_conv_weight"),
        (f"{VGG}extra3_conv1_bias", "vgg-16", "multi_feat_5_conv_3x3_conv_bias"),
        ("ssd_convpredictor0_conv0_weight", "vgg-16", "relu4_3_cls_pred_conv_weight"),
        ("ssd_convpredictor3_conv0_bias", "vgg-16", "relu7_loc_pred_conv_bias"),
        (
            "ssd_convpredictor5_conv0_bias",
            "vgg-16",
            "multi_feat_2_conv_3x3_relu_loc_pred_conv_bias",
        ),
        (f"{VGG}init_scale", "vgg-16", None),
        (f"{RESNET}conv0_weight", "resnet-50", "conv0_weight"),
        (f"{RESNET}batchnorm0_gamma", "resnet-50", "bn0_gamma"),
        (f"{RESNET}stage1_conv0_weight", "resnet-50", "stage1_unit1_conv1_weight"),
        (f"{RESNET}stage1_conv3_weight", "resnet-50", "stage1_unit1_sc_weight"),
        (f"{RESNET}stage1_conv4_weight", "resnet-50", "stage1_unit2_conv1_weight"),
        (f"{RESNET}stage3_batchnorm9_beta", "resnet-50", "stage3_unit3_bn3_beta"),
        (f"{RESNET}stage4_conv9_weight", "resnet-50", "stage4_unit3_conv3_weight"),
        (f"{RESNET}stage1_conv3_weight", "resnet-18", "stage1_unit2_conv2_weight"),
        (f"{RESNET}stage2_conv2_weight", "resnet-18", "stage2_unit1_sc_weight"),
        (f"{RESNET}stage2_conv4_weight", "resnet-18", "stage2_unit2_conv2_weight"),
        (f"{RESNET_B}conv0_weight", "resnet-50b", "conv0_weight"),
        (f"{RESNET_B}layers1_conv3_weight", "resnet-50b", "stage1_unit2_conv1_weight"),
        (f"{RESNET_B}layers3_batchnorm17_gamma", "resnet-50b", "stage3_unit6_bn3_gamma"),
        (f"{RESNET_B}down2_conv0_weight", "resnet-50b", "stage2_unit1_sc_weight"),
        (f"{RESNET_B}down2_batchnorm0_gamma", "resnet-50b", "stage2_unit1_sc_gamma"),
        ("ssd_expand_trans_conv0_weight", "resnet-50", "multi_feat_2_conv_1x1_conv_weight"),
        ("ssd_expand_conv3_weight", "resnet-50", "multi_feat_5_conv_3x3_conv_weight"),
        ("ssd_expand_bn0_gamma", "resnet-50", None),
        ("ssd_convpredictor0_conv0_weight", "resnet-50", "_plus12_cls_pred_conv_weight"),
        ("ssd_mobilenet0_conv0_weight", "mobilenet1.0", None),
    ],
)
def test_service_name(ours: str, base_network: str, theirs: str | None) -> None:
    assert service_name(ours, base_network) == theirs


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        (f"{VGG}conv0_weight", "conv0_weight"),
        (f"{RESNET}stage1_conv0_weight", "stage1_conv0_weight"),
        ("ssd_mobilenet0_conv0_weight", "conv0_weight"),
        ("ssd_convpredictor0_conv0_bias", "convpredictor0_conv0_bias"),
        ("pixel_mean", "pixel_mean"),
    ],
)
def test_plain_name(name: str, plain: str) -> None:
    assert plain_name(name) == plain


@pytest.mark.parametrize("side", [300, 512])
@pytest.mark.parametrize("base_network", BASE_NETWORKS)
def test_names_are_unique(base_network: str, side: int) -> None:
    names = _names(base_network, side)
    assert len({plain_name(name) for name in names}) == len(names)
    known = [service_name(name, base_network) for name in names]
    given = [name for name in known if name is not None]
    assert len(set(given)) == len(given)


SERVICE_RESNET_50 = {
    # beginnings of names, and how many convolutions there are of each
    "conv0_weight": 1,
    "stage1_unit": 3 * 3 + 1,
    "stage2_unit": 4 * 3 + 1,
    "stage3_unit": 6 * 3 + 1,
    "stage4_unit": 3 * 3 + 1,
}


@pytest.mark.parametrize("base_network", ["resnet-50", "resnet-50b"])
def test_every_convolution_of_the_service_has_a_counterpart(base_network: str) -> None:
    weights = [
        name
        for name in (service_name(name, base_network) for name in _names(base_network))
        if name and name.endswith("_weight")
    ]
    counts = {start: sum(name.startswith(start) for name in weights) for start in SERVICE_RESNET_50}
    assert counts == SERVICE_RESNET_50


@pytest.mark.parametrize(
    ("pattern", "base_network", "layers"),
    [
        pytest.param(
            "^(conv1_|conv2_).*",
            "vgg-16",
            [f"conv{i}_{what}" for i in range(4) for what in ("weight", "bias")],
            id="the service's example: the first two blocks, four layers",
        ),
        pytest.param(
            "^conv3_",
            "vgg-16",
            [f"conv{i}_{what}" for i in (4, 5, 6) for what in ("weight", "bias")],
            id="the third block, and not our fourth layer, which is called conv3",
        ),
        pytest.param(
            "fc6",
            "vgg-16",
            ["dilated_conv0_weight", "dilated_conv0_bias"],
            id="matched from the beginning even without ^",
        ),
        pytest.param(
            f"{VGG}conv1_",
            "vgg-16",
            ["conv1_weight", "conv1_bias"],
            id="full names are ours",
        ),
        pytest.param(
            "conv0_weight$|dilated_conv1",
            "vgg-16",
            [f"dilated_conv1_{w}" for w in ("weight", "bias")],
            id="plain names are ours where they cannot be mistaken",
        ),
        pytest.param(
            "^expand_conv0",
            "resnet-50",
            ["expand_conv0_weight"],
            id="an extra layer by our name",
        ),
        pytest.param(
            "multi_feat_2_conv_3x3_conv",
            "resnet-50",
            ["expand_conv0_weight"],
            id="the same by the service's name",
        ),
        pytest.param(
            "^(conv0|batchnorm0)_",
            "mobilenet1.0",
            ["conv0_weight", "batchnorm0_gamma", "batchnorm0_beta"],
            id="mobilenet has only our names",
        ),
    ],
)
def test_frozen(pattern: str, base_network: str, layers: list[str]) -> None:
    assert _frozen(pattern, base_network) == layers


def test_the_first_stage_of_a_resnet_with_its_shortcuts_apart() -> None:
    frozen = _frozen("^(conv0|bn0|stage1_).*", "resnet-50b")
    assert {name.split("_")[0] for name in frozen} == {"conv0", "batchnorm0", "layers1", "down1"}
    assert sum("_conv" in name and "weight" in name for name in frozen) == 10


def test_the_first_stage_of_a_resnet() -> None:
    frozen = _frozen("^(conv0|bn0|stage1_).*", "resnet-50")
    assert {name.split("_")[0] for name in frozen} == {"conv0", "batchnorm0", "stage1"}
    assert sum(name.startswith("stage1_conv") and "weight" in name for name in frozen) == 10
    assert sum(name.startswith("stage1_batchnorm") for name in frozen) == 20


@pytest.mark.parametrize("base_network", BASE_NETWORKS)
def test_everything(base_network: str) -> None:
    assert frozen_names(".*", _names(base_network), base_network) == set(_names(base_network))


@pytest.mark.parametrize("base_network", BASE_NETWORKS)
def test_a_pattern_that_matches_nothing(base_network: str) -> None:
    """The error shows names that would match."""
    with pytest.raises(ClientError, match="'weight' matches no layer of ") as caught:
        frozen_names("weight", _names(base_network), base_network)
    examples = str(caught.value).partition("Names are like ")[2].partition(";")[0].split(", ")
    assert len(examples) > 1
    for example in examples:
        assert frozen_names(example, _names(base_network), base_network), example
