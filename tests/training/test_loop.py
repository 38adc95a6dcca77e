"""The training loop, on a network of a few weights and batches made by hand."""

from __future__ import annotations

import copy
import errno
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import mxnet as mx
import numpy as np
import pytest

from sagemaker_object_detection.data.augment import Augmentation
from sagemaker_object_detection.data.loader import Batch
from sagemaker_object_detection.evaluation.average_precision import AveragePrecision
from sagemaker_object_detection.model.network import Network
from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.errors import ClientError, JobError, PlatformError
from sagemaker_object_detection.platform.hyperparameters import parse
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.paths import Paths
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.communicator import Communicator
from sagemaker_object_detection.training.epochs import (
    BrokenData,
    EarlyStopping,
    EpochResult,
    Interrupted,
    Progress,
)
from sagemaker_object_detection.training.loop import Trainer
from sagemaker_object_detection.training.optimizer import make_gradient_trainer
from sagemaker_object_detection.training.schedule import LearningRate
from sagemaker_object_detection.training.update import Learner
from tests.training.networks import SIDE, make_network
from tests.training.processes import InThreads, communicators, in_all, worlds


def _batch(images: int = 2, first: int = 0) -> Batch:
    """White pictures with an object of class 1 in the top left quarter."""
    labels = np.full((images, 2, 5), -1, np.float32)
    labels[:, 0] = [1, 0.02, 0.03, 0.5, 0.45]
    records = np.arange(first, first + images)
    images_of = np.full((images, 3, SIDE, SIDE), 255, np.uint8)
    return Batch(images_of, labels, records, np.zeros((images, 2), np.int32))


class Script:
    """Stands for a loader, gives these batches each epoch; and for the validation."""

    def __init__(self, *batches: Batch, scores: tuple[float, ...] = (0.5,) * 9) -> None:
        self.batches = batches
        self.asked: list[tuple[Any, ...]] = []
        self.events: list[str] = []
        self._scores = iter(scores)

    def training_epoch(self, *asked: Any) -> Iterator[Batch]:
        self.asked.append(asked)
        for number, batch in enumerate(self.batches):
            if number < asked[4]:
                continue
            self.events.append(f"batch {number}")
            yield batch

    def validate(self) -> AveragePrecision | None:
        self.events.append("validation")
        score = next(self._scores)
        return None if np.isnan(score) else AveragePrecision(score, (score, score))


@dataclass
class View:
    """Stands for live.json: the batches and images of each line."""

    progress: Progress
    shown: list[tuple[int, int]] = field(default_factory=list)

    def batches(self, losses: Mapping[str, float], learning_rate: float) -> None:
        self.shown.append((self.progress.position.batches, self.progress.position.records))


def _loop(
    script: Script,
    epochs: int = 1,
    network: Network | None = None,
    rate: LearningRate | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    communicator: Communicator | None = None,
    silence: float = 30.0,
    augmentation: str = "none",
) -> Trainer:
    network = network or make_network()
    given = {"num_classes": 2, "num_training_samples": 8, "mini_batch_size": 2, "seed": 11}
    hyperparameters = parse({**given, "epochs": epochs, "augmentation": augmentation})
    job = Job(Paths(Path("/nowhere")), hyperparameters, {}, ("algo-1",), "algo-1", "eth0")
    trainer = make_gradient_trainer(
        dict(network.parameters.items()), "sgd", {"learning_rate": 1.0}, World()
    )
    devices = next(iter(network.parameters.values())).list_ctx()
    told = communicator or Communicator(World())
    learner: Any = Learner(network, trainer, devices, told)
    if told.world.size > 1:  # threads exchange no gradients, so that their weights are not equal
        learner.settle = lambda when: None
    progress = Progress(EarlyStopping(1, 1, 0.0))
    stubs: dict[str, Any] = {
        "data": SimpleNamespace(
            communicator=told, loaders={"train": script}, streams={}, train_images=8
        ),
        "live": View(progress),
        "stop": SimpleNamespace(requested=should_stop),
        **dict.fromkeys(("graph", "engine", "checkpoints")),
    }
    made: Any = Trainer(
        job=job,
        learner=learner,
        schedule=rate or LearningRate(0.1),
        progress=progress,
        silence=silence,
        **stubs,
    )
    made._validate = script.validate
    return cast(Trainer, made)


def _logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


@pytest.fixture(autouse=True)
def _info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def test_an_epoch(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    script = Script(_batch(2), _batch(1, 2), scores=(0.75,))
    (result,) = _loop(script).epochs()
    assert isinstance(result, EpochResult)
    assert script.asked == [(2, 11, 0, None, 0)]
    assert script.events == ["batch 0", "batch 1", "validation"]
    assert (result.epoch, result.records, result.learning_rate) == (0, 3, 0.1)
    assert result.score.mean == 0.75
    assert set(result.losses) == {"cross_entropy", "smooth_l1"}
    assert result.training_seconds > 0
    assert 0 <= result.loader_seconds <= result.training_seconds
    lines = _logged(caplog)
    wanted = [
        logs.loss_line("algo-1", 0, 2, "cross_entropy", result.losses["cross_entropy"]),
        logs.loss_line("algo-1", 0, 2, "smooth_l1", result.losses["smooth_l1"]),
        logs.map_line("algo-1", 0, 0.75),
    ]
    assert [line for line in lines if line in wanted] == wanted
    throughput = next(m.regex for m in logs.METRICS if m.name == "train:throughput")
    assert sum(bool(re.search(throughput, line)) for line in lines) == 1
    printed = [line for line in capsys.readouterr().out.splitlines() if line]
    first, metrics = (json.loads(line.removeprefix("#metrics ")) for line in printed)
    assert first["Dimensions"] == {
        "Algorithm": "AWS/Object Detection",
        "Host": "algo-1",
        "Operation": "training",
        "Meta": "init_train_data_iter",
    }
    assert first["Metrics"]["Total Records Seen"]["sum"] == 0
    assert metrics["Dimensions"] == {
        "Algorithm": "AWS/Object Detection",
        "Host": "algo-1",
        "Operation": "training",
        "epoch": 0,
        "Meta": "training_data_iter",
    }
    assert metrics["Metrics"]["Total Records Seen"]["sum"] == 3
    assert metrics["Metrics"]["Total Batches Seen"]["sum"] == 2


def test_the_first_loss_by_hand() -> None:
    """Weights of zero: each anchor is ln 3 off, of the positive and its three negatives."""
    script = Script(_batch(2))
    (result,) = _loop(script).epochs()
    assert result.losses["cross_entropy"] == pytest.approx(4 * np.log(3), rel=1e-5)
    assert result.losses["smooth_l1"] > 0


def test_it_learns() -> None:
    results = list(_loop(Script(_batch(2), _batch(2)), epochs=8).epochs())
    totals = [sum(result.losses.values()) for result in results]
    assert totals == sorted(totals, reverse=True)
    assert totals[-1] < 0.7 * totals[0]


def test_every_epoch_asks_for_its_own_order() -> None:
    script = Script(_batch(2))
    assert [result.epoch for result in _loop(script, epochs=3).epochs()] == [0, 1, 2]
    assert [asked[2] for asked in script.asked] == [0, 1, 2]
    assert script.events == ["batch 0", "validation"] * 3


def test_the_augmentation_reaches_the_loader() -> None:
    script = Script(_batch(2))
    list(_loop(script, augmentation="flip").epochs())
    assert script.asked[0][3] == Augmentation.of(["flip"])


@pytest.mark.parametrize(
    ("rate", "weights"),
    [
        pytest.param(LearningRate(0.0), 0.0, id="a rate of zero moves nothing"),
        pytest.param(LearningRate(0.1), None, id="otherwise the weights move"),
    ],
)
def test_the_schedule_sets_the_rate(rate: LearningRate, weights: float | None) -> None:
    network = make_network()
    list(_loop(Script(_batch(2)), network=network, rate=rate).epochs())
    moved = np.abs(network.parameters["scores_weight"].data().asnumpy()).max()
    assert (moved == 0) if weights == 0 else (moved > 0)


def test_drops_of_the_rate_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """As the service logs them: updates counted from 1."""
    rate = LearningRate(0.1, drops=(3, 5), factor=0.1)
    results = list(_loop(Script(_batch(2), _batch(2)), epochs=4, rate=rate).epochs())
    changes = [line for line in _logged(caplog) if line.startswith("Update[")]
    assert changes == [
        "Update[4]: Change learning rate to 1.00000e-02",
        "Update[6]: Change learning rate to 1.00000e-03",
    ]
    assert [r.learning_rate for r in results] == pytest.approx([0.1, 0.01, 0.001, 0.001])


def test_a_drop_before_the_first_update_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    list(_loop(Script(_batch(2)), rate=LearningRate(0.1, drops=(0,), factor=0.1)).epochs())
    assert "Update[1]: Change learning rate to 1.00000e-02" in _logged(caplog)


def test_a_cosine_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    rate = LearningRate(0.1, kind="cosine", total_steps=4, warmup_steps=2)
    list(_loop(Script(_batch(2), _batch(2)), epochs=2, rate=rate).epochs())
    assert not [line for line in _logged(caplog) if line.startswith("Update[")]


def test_progress_inside_a_long_epoch(caplog: pytest.LogCaptureFixture) -> None:
    list(_loop(Script(*[_batch(1)] * 205)).epochs())
    told = [line for line in _logged(caplog) if line.startswith("Epoch:")]
    assert len(told) == 2
    assert re.match(r"Epoch:    0, batches:    100, num_examples:    100, \S+ samples/sec", told[0])


def _batches_told(caplog: pytest.LogCaptureFixture) -> list[int]:
    lines = [re.match(r"Epoch: +\d+, batches: +(\d+),", line) for line in _logged(caplog)]
    return [int(line[1]) for line in lines if line]


def test_progress_where_batches_take_long(caplog: pytest.LogCaptureFixture) -> None:
    """Each with what else shows it; and the lines that metrics are read from stay as they are."""
    loop = _loop(Script(*[_batch(1)] * 4), silence=0)
    list(loop.epochs())
    assert _batches_told(caplog) == [1, 2, 3]
    live: Any = loop.live
    assert live.shown == [(1, 1), (2, 2), (3, 3)]
    matched = [m.name for line in _logged(caplog) for m in logs.METRICS if re.search(m.regex, line)]
    assert sorted(matched) == [
        "train:cross_entropy",
        "train:smooth_l1",
        "train:throughput",
        "validation:mAP",
    ]


def _weights(network: Network, name: str, value: float) -> Network:
    parameter = network.parameters[name]
    parameter.set_data(mx.nd.full(parameter.shape, value))
    return network


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        pytest.param("scores_bias", np.nan, "cross_entropy", id="scores that are no number"),
        pytest.param("offsets_bias", np.inf, "smooth_l1", id="infinite offsets"),
    ],
)
@pytest.mark.parametrize("batches", [1, 3])
def test_a_loss_that_is_not_finite(name: str, value: float, part: str, batches: int) -> None:
    script = Script(*[_batch(2)] * batches)
    loop = _loop(script, network=_weights(make_network(), name, value))
    with pytest.raises(
        ClientError, match=rf"The loss {part} became (nan|inf) in epoch 0, batch 0: .*learning_rate"
    ):
        list(loop.epochs())
    assert "validation" not in script.events


@pytest.mark.parametrize(
    ("bad", "epoch", "batch"),
    [
        pytest.param(1, 0, 1, id="the second batch"),
        pytest.param(2, 0, 2, id="the last batch of the epoch"),
        pytest.param(3, 1, 0, id="the first of the next epoch"),
        pytest.param(7, 2, 1, id="later"),
    ],
)
def test_the_batch_is_the_one_that_failed(bad: int, epoch: int, batch: int) -> None:
    """The update before it has thrown the weights out; the losses until then were fine."""
    script = Script(*[_batch(2)] * 3)

    class Rate(LearningRate):
        def __call__(self, update: int) -> float:
            return 1e38 if update == bad - 1 else 1e-3

    results = []
    with pytest.raises(ClientError, match=rf"in epoch {epoch}, batch {batch}:"):  # noqa: PT012
        for result in _loop(script, epochs=5, rate=Rate(0.1)).epochs():
            results.append(result)
    assert len(results) == epoch


@pytest.mark.parametrize(
    ("stop_at", "events"),
    [
        pytest.param(1, ["batch 0"], id="before the first batch is trained on"),
        pytest.param(2, ["batch 0", "batch 1"], id="in the middle"),
        pytest.param(
            4, ["batch 0", "batch 1", "batch 2"], id="after the last batch: no validation"
        ),
    ],
)
def test_a_request_to_stop(stop_at: int, events: list[str]) -> None:
    script = Script(*[_batch(2)] * 3)
    asked: list[None] = []

    def should_stop() -> bool:
        asked.append(None)
        return len(asked) >= stop_at

    with pytest.raises(Interrupted):
        list(_loop(script, should_stop=should_stop).epochs())
    assert script.events == events


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        pytest.param(
            OSError(errno.EIO, "failed", "/mnt/train/1.jpg"),
            PlatformError,
            "Input/output error: '/mnt/train/1.jpg'",
            id="the mounted folder",
        ),
        pytest.param(ClientError("train_0, record 3"), ClientError, "record 3", id="a stream"),
    ],
)
def test_data_that_cannot_be_read_any_more(
    error: Exception, kind: type[JobError], told: str
) -> None:
    """Whoever runs the epochs is to save what was trained until then."""

    class Breaking(Script):
        def training_epoch(self, *asked: Any) -> Iterator[Batch]:
            yield from super().training_epoch(*asked)
            raise error

    loop = _loop(Breaking(_batch(2)))
    with pytest.raises(BrokenData, match=told) as caught:
        list(loop.epochs())
    assert isinstance(caught.value.error, kind)
    assert loop.progress.position.updates == 1


def test_a_request_during_the_validation(caplog: pytest.LogCaptureFixture) -> None:
    """The epoch that was not scored is not given: its model could not be compared."""
    script = Script(_batch(2), scores=(0.5, np.nan))
    loop = _loop(script, epochs=3).epochs()
    assert next(loop).score.mean == 0.5
    with pytest.raises(Interrupted):
        next(loop)
    assert sum("validation mAP" in line for line in _logged(caplog)) == 1


def test_no_progress_bar_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    list(_loop(Script(_batch(2))).epochs())
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "images" not in captured.out


def _interrupted(stop_at: int, script: Script, network: Network) -> Trainer:
    """A loop that was asked to stop when it asked for the so-manieth time."""
    asked: list[None] = []

    def should_stop() -> bool:
        asked.append(None)
        return len(asked) >= stop_at

    loop = _loop(script, epochs=2, network=network, should_stop=should_stop)
    with pytest.raises(Interrupted):
        list(loop.epochs())
    return loop


@pytest.mark.parametrize("stop_at", range(1, 9))
def test_it_goes_on_where_it_was_interrupted(stop_at: int) -> None:
    """Two epochs of three batches, each of its own: the same losses and weights in the end."""
    batches = [_batch(1), _batch(2), _batch(3)]
    whole = make_network()
    expected = list(_loop(Script(*batches), epochs=2, network=whole).epochs())
    network = make_network()
    first = _interrupted(stop_at, Script(*batches), network)
    second = _loop(Script(*batches), epochs=2, network=network)
    second.progress.position = copy.deepcopy(first.progress.position)
    results = list(second.epochs())
    assert [r.epoch for r in results] == list(range(first.progress.position.epoch, 2))
    for result, wanted in zip(results, expected[first.progress.position.epoch :], strict=True):
        assert result.losses == wanted.losses
        assert (result.records, result.learning_rate) == (wanted.records, wanted.learning_rate)
    for name, parameter in whole.parameters.items():
        np.testing.assert_array_equal(
            network.parameters[name].data().asnumpy(), parameter.data().asnumpy()
        )


def _trained(devices: int, sizes: tuple[int, ...]) -> list[np.ndarray[Any, Any]]:
    """Weights after batches of pictures that all differ, on every device."""
    network = make_network(devices)
    random = np.random.default_rng(5)
    batches = []
    for size in sizes:
        batch = _batch(size)
        batch.images[:] = random.integers(0, 256, batch.images.shape)
        batches.append(batch)
    list(_loop(Script(*batches), network=network).epochs())
    arrays = [p.list_data() for _, p in sorted(network.parameters.items())]
    for copies in arrays:
        for other in copies[1:]:
            np.testing.assert_array_equal(other.asnumpy(), copies[0].asnumpy())
    return [copies[0].asnumpy() for copies in arrays]


@pytest.mark.parametrize("devices", [2, 3])
def test_devices_that_share_batches_come_where_one_comes(devices: int) -> None:
    """Even where some have no picture of a batch."""
    sizes = (4, 3, 1, 2) * 5
    for several, one in zip(_trained(devices, sizes), _trained(1, sizes), strict=True):
        np.testing.assert_allclose(several, one, atol=1e-5)
        assert one.any()


def _together(
    sizes: Sequence[Sequence[int]],
    stop_at: Mapping[int, int] | None = None,
    silence: Mapping[int, float] | None = None,
) -> list[tuple[Trainer, list[EpochResult], bool]]:
    """Processes with batches of these sizes, each with weights of its own, as threads.

    Args:
        stop_at: process -> the batch before which it is asked to stop.
        silence: process -> that of its loop.
    """

    def train(communicator: InThreads) -> tuple[Trainer, list[EpochResult], bool]:
        rank = communicator.world.rank
        asked: list[None] = []

        def should_stop() -> bool:
            asked.append(None)
            return len(asked) >= (stop_at or {}).get(rank, 99)

        batches = [_batch(size) for size in sizes[rank]]
        loop = _loop(
            Script(*batches),
            should_stop=should_stop,
            communicator=communicator,
            silence=(silence or {}).get(rank, 30.0),
        )
        try:
            return loop, list(loop.epochs()), False
        except Interrupted:
            return loop, [], True

    return in_all(communicators(worlds(len(sizes))), train)


def test_processes_in_step_make_as_many_updates_as_that_with_most() -> None:
    """Every result is that of all."""
    done = _together([(2, 2, 1), (2,)])
    for loop, (result,), _ in done:
        assert (result.records, loop.progress.position.updates) == (7, 3)
    (_, (first,), _), (_, (second,), _) = done
    assert first.losses == second.losses


def test_one_process_that_has_to_log_a_line(caplog: pytest.LogCaptureFixture) -> None:
    """Their losses are added up for it, so that all log one."""
    _together([(2, 2, 1), (2, 2, 1)], silence={1: 0.0})
    assert sorted(_batches_told(caplog)) == [1, 1, 2, 2]


def test_one_process_that_is_asked_to_stop_stops_all() -> None:
    """All at the same batch."""
    done = _together([(2, 2, 2), (2, 2, 2)], stop_at={1: 2})
    assert [loop.progress.position.updates for loop, _, _ in done] == [1, 1]
    assert all(stopped for _, _, stopped in done)
