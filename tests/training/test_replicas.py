"""Copies of a network on devices and in processes: which values they agree on, and when."""

from __future__ import annotations

import mxnet as mx
import numpy as np
import pytest

from sagemaker_object_detection.platform.errors import AlgorithmError
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.communicator import Communicator
from sagemaker_object_detection.training.optimizer import WeightAverage, make_gradient_trainer
from sagemaker_object_detection.training.update import Learner
from tests.training.networks import make_network
from tests.training.processes import InThreads, communicators, in_all, worlds


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
