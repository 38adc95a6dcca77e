"""Which layers of a job learn."""

from __future__ import annotations

from pathlib import Path

import pytest

from sagemaker_object_detection.model.network import build_network
from sagemaker_object_detection.model.specs import get_spec
from sagemaker_object_detection.training.plan import find_trainable
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
