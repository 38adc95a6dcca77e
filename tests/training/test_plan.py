"""What the hyperparameters come to: which layers learn, and what is averaged."""

from __future__ import annotations

from pathlib import Path

import mxnet as mx
import pytest

from sagemaker_object_detection.model.network import build_network, initialize
from sagemaker_object_detection.model.specs import get_spec
from sagemaker_object_detection.training.run import find_trainable, make_average
from tests.training.jobs import make_job

SPEC = get_spec("resnet-18", 300)


@pytest.mark.parametrize(
    ("pattern", "frozen", "learning"),
    [
        pytest.param("", None, "ssd_resnetv10_conv0_weight", id="no pattern: all learn"),
        pytest.param(
            "^(conv0|bn0|stage1_).*",
            "ssd_resnetv10_stage1_conv0_weight",
            "ssd_resnetv10_stage2_conv0_weight",
            id="the service's names",
        ),
        pytest.param(
            "^ssd_expand", "ssd_expand_conv0_weight", "ssd_resnetv10_conv0_weight", id="our names"
        ),
    ],
)
def test_which_layers_learn(
    pattern: str, frozen: str | None, learning: str, tmp_path: Path
) -> None:
    network = build_network(SPEC, 2)
    trainable = find_trainable(
        network, make_job(tmp_path, freeze_layer_pattern=pattern).hyperparameters
    )
    assert learning in trainable
    assert "pixel_mean" not in trainable
    assert all(parameter.grad_req != "null" for parameter in trainable.values())
    if frozen is not None:
        assert frozen not in trainable
        assert network.parameters[frozen].grad_req == "null"


def test_what_is_averaged(tmp_path: Path) -> None:
    """What is trained and BatchNorm's statistics, but no weight that is frozen."""
    network = build_network(SPEC, 2)
    initialize(network, [mx.cpu()], 0)
    given = make_job(tmp_path, freeze_layer_pattern="^ssd_expand").hyperparameters
    trainable = find_trainable(network, given)
    average = make_average(network, trainable, given, 100, 1)
    assert average is not None
    statistics = set(network.heads.list_auxiliary_states())
    assert statistics
    assert set(average.arrays) == set(trainable) | statistics
    assert "ssd_expand_conv0_weight" not in average.arrays


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"ema_decay": 0}, id="asked"),
        pytest.param({"recipe": "service"}, id="the service has none"),
    ],
)
def test_weights_that_are_not_averaged(given: dict[str, object], tmp_path: Path) -> None:
    hyperparameters = make_job(tmp_path, **given).hyperparameters
    assert make_average(build_network(SPEC, 2), {}, hyperparameters, 100, 1) is None
