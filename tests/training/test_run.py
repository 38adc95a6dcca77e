"""Between channels and artefact: which weights, which layers learn, which epoch's model is kept."""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from sagemaker_object_detection.evaluation.average_precision import AveragePrecision
from sagemaker_object_detection.model import artifact
from sagemaker_object_detection.model.network import build_network
from sagemaker_object_detection.model.specs import get_spec
from sagemaker_object_detection.platform.channels import Channel
from sagemaker_object_detection.platform.errors import ClientError
from sagemaker_object_detection.platform.hyperparameters import parse
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.paths import Paths
from sagemaker_object_detection.training import run
from sagemaker_object_detection.training.history import EpochResult
from sagemaker_object_detection.training.loop import Interrupted

SPEC = get_spec("resnet-18", 300)


def _job(base: Path, channels: Sequence[str] = (), **given: object) -> Job:
    paths = Paths(base)
    needed = {"num_classes": 2, "num_training_samples": 8, "base_network": "resnet-18"}
    for folder in (paths.model_dir, *(paths.channel_dir(name) for name in channels)):
        folder.mkdir(parents=True)
    return Job(
        paths=paths,
        hyperparameters=parse({**needed, **given}),
        channels={name: Channel(name, paths.channel_dir(name)) for name in channels},
        form="recordio",
        hosts=("algo-1",),
        current_host="algo-1",
        network_interface_name="eth0",
    )


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
    job = _job(tmp_path, ["pretrained"] if channel else [], use_pretrained_model=asked)
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
    job = _job(tmp_path, use_pretrained_model=1)
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
    trainable = run._trainable(
        network, _job(tmp_path, freeze_layer_pattern=pattern).hyperparameters
    )
    assert learning in trainable
    assert "pixel_mean" not in trainable
    assert all(parameter.grad_req != "null" for parameter in trainable.values())
    if frozen is not None:
        assert frozen not in trainable
        assert network.parameters[frozen].grad_req == "null"


@dataclass
class Epochs:
    """Stands for the loop: these mAPs, then it is interrupted where there is a None."""

    values: Sequence[float | None]

    def epochs(self) -> Iterator[EpochResult]:
        for epoch, value in enumerate(self.values):
            if value is None:
                raise Interrupted
            score = AveragePrecision(value, (value, math.nan))
            yield EpochResult(epoch, {"cross_entropy": 1.0}, score, 0.1, 8, 1.0, 0.0, 1.0)


@dataclass
class Graph:
    """Stands for the deploy graph: counts how often it was saved."""

    saved: list[Path] = field(default_factory=list)

    def save(self, folder: Path) -> Path:
        self.saved.append(folder)
        return folder / artifact.PARAMS_FILE


def _follow(
    base: Path, values: Sequence[float | None], **given: object
) -> tuple[list[int], Graph, Job]:
    """Epochs done, what was saved, and the job."""
    job = _job(base, epochs=20, **given)
    loop: Any = Epochs(values)
    stub = Graph()
    graph: Any = stub
    history = run._follow(job, loop, graph, ("red", "blue"))
    return [result.epoch for result in history], stub, job


@pytest.mark.parametrize(
    ("values", "best", "saves"),
    [
        pytest.param([0.1, 0.3, 0.2], 1, 2, id="the best, not the last"),
        pytest.param([0.1, 0.3, 0.3], 2, 3, id="of equals the later, as the service has it"),
        pytest.param([0.0, 0.0], 1, 2, id="even a model that finds nothing is one"),
    ],
)
def test_the_best_model_is_kept(values: list[float], best: int, saves: int, tmp_path: Path) -> None:
    _, graph, job = _follow(tmp_path, values)
    assert graph.saved == [job.paths.model_dir] * saves
    validation = artifact.read_config(job.paths.model_dir).validation
    assert validation["epoch"] == best
    assert validation["mAP"] == values[best]
    assert validation["AP"] == {"red": values[best], "blue": None}  # blue does not occur
    hyperparameters = (job.paths.model_dir / artifact.HYPERPARAMETERS_FILE).read_text()
    assert parse(json.loads(hyperparameters)) == job.hyperparameters


@pytest.mark.parametrize(
    ("given", "epochs"),
    [
        pytest.param({"early_stopping": "True"}, 3, id="asked for"),
        pytest.param({"early_stopping": "False"}, 5, id="not asked for, whatever the rule says"),
    ],
)
def test_early_stopping(
    given: dict[str, str], epochs: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rule = {"early_stopping_min_epochs": 1, "early_stopping_patience": 2}
    done, _, job = _follow(tmp_path, [0.5, 0.4, 0.3, 0.6, 0.7], **rule, **given)
    assert done == list(range(epochs))
    said = any("Early stopping after epoch 2" in record.getMessage() for record in caplog.records)
    assert said == (epochs == 3)
    table = (job.paths.output_data_dir / "metrics.csv").read_text().splitlines()
    assert [row["mAP"] for row in csv.DictReader(table)] == ["0.5", "0.4", "0.3", "0.6", "0.7"][
        :epochs
    ]


@pytest.mark.parametrize(
    ("values", "epochs", "told"),
    [
        pytest.param([None], [], "there is no model yet", id="in the first epoch"),
        pytest.param([0.5, None], [0], "the best model so far stays", id="later"),
    ],
)
def test_interrupted(
    values: list[float | None],
    epochs: list[int],
    told: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    done, graph, _ = _follow(tmp_path, values)
    assert done == epochs
    assert len(graph.saved) == len(epochs)
    assert any(told in r.getMessage() for r in caplog.records if r.levelname == "WARNING")
