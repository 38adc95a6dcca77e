"""Updates that neither padding nor matching changes, and copies of a network that stay equal."""

from __future__ import annotations

import mxnet as mx
import numpy as np
import pytest

from sagemaker_object_detection.data.loader import Batch, pad_labels
from sagemaker_object_detection.platform.errors import AlgorithmError
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training import update
from sagemaker_object_detection.training.communicator import Communicator
from sagemaker_object_detection.training.optimizer import WeightAverage, make_gradient_trainer
from sagemaker_object_detection.training.update import Learner
from tests.training.networks import SIDE, make_network
from tests.training.processes import InThreads, communicators, in_all, worlds


def batch(rows: int) -> Batch:
    """Five images with 40, 0, 1, 9 and 3 boxes, their labels padded to so many rows."""
    random = np.random.default_rng(0)
    objects = []
    for count in (40, 0, 1, 9, 3):
        corners = np.sort(random.random((count, 2, 2)), axis=1).reshape(-1, 4)
        objects.append((corners, random.integers(0, 2, count)))
    labels = pad_labels(objects)
    more = np.full((5, rows - labels.shape[1], 5), -1, np.float32)
    images = random.integers(0, 256, (5, 3, SIDE, SIDE), np.uint8)
    labels = np.concatenate([labels, more], axis=1)
    return Batch(images, labels, np.arange(5), np.zeros((5, 2), np.int32))


def step(given: Batch, devices: int = 1) -> tuple[list[float], list[np.ndarray]]:
    """Losses and parameters of two updates by one batch."""
    network = make_network(devices)
    parameters = dict(network.parameters.items())
    trainer = make_gradient_trainer(parameters, "sgd", {"learning_rate": 0.1}, World())
    contexts = [mx.cpu(device) for device in range(devices)]
    learner = Learner(network, trainer, contexts, Communicator(World()))
    losses = []
    for number in (1, 2):
        for pair in learner.make(learner.prepare(given, False, False), number, 0.1):
            losses += [loss.asscalar() for loss in pair]
    return losses, [p.list_data()[0].asnumpy() for p in parameters.values()]


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(
    ("rows", "together"),
    [
        pytest.param(64, 1, id="each image by itself"),
        pytest.param(64, 44 * 4 * 64 * 2, id="two at a time"),
        pytest.param(256, 2**28, id="more padding"),
        pytest.param(256, 1, id="more padding, each image by itself"),
    ],
)
def test_padding_changes_nothing(
    rows: int, together: int, devices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = step(batch(64), devices)
    monkeypatch.setattr(update, "_MATCHING_BYTES", together)
    losses, parameters = step(batch(rows), devices)
    assert losses == expected[0]
    assert min(losses) > 0
    for one, other in zip(parameters, expected[1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_images_with_few_boxes_are_matched_without_the_padding_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(update, "_MATCHING_BYTES", 44 * 4 * 64)
    network = make_network()
    trainer = make_gradient_trainer(dict(network.parameters.items()), "sgd", {}, World())
    learner = Learner(network, trainer, [mx.cpu()], Communicator(World()))
    shapes = []
    targets = learner._targets

    def noted(anchors: mx.nd.NDArray, labels: mx.nd.NDArray) -> tuple[mx.nd.NDArray, ...]:
        shapes.append(labels.shape[:2])
        return targets(anchors, labels)

    monkeypatch.setattr(learner, "_targets", noted)
    learner.prepare(batch(64), False, False)
    assert shapes == [(1, 64), (1, 8), (1, 8), (1, 16), (1, 8)]


def _learner(communicator: Communicator, weight: float, devices: int = 1) -> Learner:
    """Weights and their averages of this value; statistics are the rank, half more on device 1."""
    network = make_network(devices, batchnorm=True)
    statistics = network.heads.list_auxiliary_states()
    for name, parameter in network.parameters.items():
        for device, copy in enumerate(parameter.list_data()):
            copy[:] = communicator.world.rank + device / 2 if name in statistics else weight
    parameters = dict(network.parameters.items())
    trainer = make_gradient_trainer(parameters, "sgd", {}, World())
    contexts = [mx.cpu(device) for device in range(devices)]
    return Learner(network, trainer, contexts, communicator, WeightAverage(parameters, 0.9))


def _values(learner: Learner, name: str) -> list[float]:
    """Of the copies on all devices and of the average."""
    assert learner.average is not None
    copies = [*learner.network.parameters[name].list_data(), learner.average.arrays[name]]
    return [float(np.unique(copy.asnumpy()).item()) for copy in copies]


def test_all_begin_with_the_main_processes_values() -> None:
    def begin(communicator: InThreads) -> tuple[list[float], list[float]]:
        learner = _learner(communicator, 5.0 + communicator.world.rank, devices=2)
        learner.begin()
        return _values(learner, "scores_weight"), _values(learner, "norm_moving_mean")

    assert in_all(communicators(worlds(2)), begin) == [([5, 5, 5], [0, 0, 0])] * 2


def test_statistics_are_averaged_and_weights_must_be_equal() -> None:
    """The averages' statistics follow the first device of each process."""

    def settle(communicator: InThreads) -> tuple[list[float], list[float]]:
        learner = _learner(communicator, 5.0, devices=2)
        learner.settle("epoch 1")
        return _values(learner, "scores_weight"), _values(learner, "norm_moving_mean")

    expected = [5, 5, 5], [0.75, 0.75, 0.5]
    assert in_all(communicators(worlds(2)), settle) == [expected] * 2


@pytest.mark.parametrize("averaged", [False, True])
def test_weights_that_are_not_equal(averaged: bool) -> None:
    """Those of the network, or of its average alone."""

    def settle(communicator: InThreads) -> None:
        learner = _learner(communicator, 5.0)
        if communicator.world.rank:
            name = "scores_weight"
            assert learner.average is not None
            average, parameter = learner.average.arrays[name], learner.network.parameters[name]
            (average if averaged else parameter.data())[0] = 6
        with pytest.raises(AlgorithmError, match=r"After epoch 1 the weights of rank 1 on algo-2"):
            learner.settle("epoch 1")

    in_all(communicators(worlds(2)), settle)


def test_one_copy_alone_is_left_as_it_is() -> None:
    learner = _learner(Communicator(World()), 5.0)
    learner.begin()
    learner.settle("epoch 1")
    assert _values(learner, "scores_weight") == [5, 5]
