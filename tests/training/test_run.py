"""What a job begins with: weights, number format, layers that learn, and what is averaged."""

from __future__ import annotations

import logging
from pathlib import Path

import mxnet as mx
import pytest

from sagemaker_object_detection.model.network import build_network, initialize
from sagemaker_object_detection.model.specs import get_spec
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.training import run
from sagemaker_object_detection.training.run import choose_precision, find_trainable, make_average
from tests.training.jobs import make_job

SPEC = get_spec("resnet-18", 300)


@pytest.mark.parametrize(
    ("asked", "channel", "image", "found", "level"),
    [
        pytest.param("", True, False, "channel", "INFO", id="not said, but the channel has them"),
        pytest.param("", False, True, "image", "INFO", id="not said, but the image has them"),
        pytest.param("", False, False, None, "WARNING", id="not said and none there: a warning"),
        pytest.param("1", True, True, "channel", "INFO", id="the channel counts first"),
        pytest.param("1", False, True, "image", "INFO", id="the image"),
        pytest.param("0", True, True, None, "INFO", id="not wanted, whatever is there"),
    ],
)
def test_where_training_starts(
    asked: str,
    channel: bool,
    image: bool,
    found: str | None,
    level: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    job = make_job(tmp_path, ["pretrained"] if channel else [], use_pretrained_model=asked)
    places = {"channel": job.paths.channel_dir("pretrained"), "image": tmp_path / "weights"}
    places["image"].mkdir()
    for name, there in (("channel", channel), ("image", image)):
        if there:
            (places[name] / "resnet18_v1.params").touch()
    environ = {"OBJECT_DETECTION_WEIGHTS": str(places["image"])}
    path = run._weights(job, SPEC, environ)
    assert path == (None if found is None else places[found] / "resnet18_v1.params")
    assert [record.levelname for record in caplog.records] == [level]


def test_weights_that_are_asked_for_and_missing(tmp_path: Path) -> None:
    job = make_job(tmp_path, use_pretrained_model=1)
    with pytest.raises(ClientError, match=r"no weights for resnet-18.*channel 'pretrained'"):
        run._weights(job, SPEC, {"OBJECT_DETECTION_WEIGHTS": str(tmp_path)})


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


NONE: frozenset[str] = frozenset()
ZEN4 = frozenset({"avx2", "avx512_bf16"})
SAPPHIRE = frozenset({"avx2", "amx_bf16"})


@pytest.mark.parametrize(
    ("asked", "on_gpu", "flags", "chosen"),
    [
        ("float32", False, NONE, "float32"),
        ("float32", True, NONE, "float32"),
        ("bfloat16", False, ZEN4, "bfloat16"),
        ("bfloat16", False, SAPPHIRE, "bfloat16"),
        pytest.param("bfloat16", False, NONE, "bfloat16", id="asked for, so done, though slow"),
        ("float16", True, NONE, "float16"),
        pytest.param("auto", False, NONE, "float32", id="auto: a CPU without instructions for it"),
    ],
)
def test_chosen(asked: str, on_gpu: bool, flags: frozenset[str], chosen: str) -> None:
    assert choose_precision(asked, on_gpu, flags) == chosen


@pytest.mark.parametrize(
    ("on_gpu", "flags"), [(False, NONE), (False, ZEN4), (False, SAPPHIRE), (True, NONE)]
)
def test_auto_says_what_it_chose(
    on_gpu: bool, flags: frozenset[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert choose_precision("auto", on_gpu, flags) == "float32"
    (record,) = caplog.records
    assert "float32" in record.getMessage()
    assert ("precision=bfloat16 takes" in record.getMessage()) == (flags != NONE)


def test_slow_bfloat16_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    choose_precision("bfloat16", False, NONE)
    assert [r.levelname for r in caplog.records] == ["WARNING"]
    caplog.clear()
    choose_precision("bfloat16", False, ZEN4)
    assert not caplog.records


@pytest.mark.parametrize(
    ("asked", "on_gpu", "message"),
    [("float16", False, "float16 needs a GPU"), ("bfloat16", True, "bfloat16 is for CPUs")],
)
def test_impossible(asked: str, on_gpu: bool, message: str) -> None:
    with pytest.raises(ClientError, match=f"precision: {message}.*auto"):
        choose_precision(asked, on_gpu, ZEN4)
