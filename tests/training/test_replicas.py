"""Copies of a network on devices and in processes: which values they agree on, and when."""

from __future__ import annotations

import numpy as np
import pytest

from sagemaker_object_detection.platform.errors import AlgorithmError
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.communicator import Alone, Communicator
from sagemaker_object_detection.training.optimizer import WeightAverage
from sagemaker_object_detection.training.update import Replicas
from tests.training.networks import make_network
from tests.training.processes import InThreads, communicators, in_all, worlds


def _replicas(communicator: Communicator, weight: float, devices: int = 1) -> Replicas:
    """Weights and their averages of this value; statistics are the rank, half more on device 1."""
    network = make_network(devices, batchnorm=True)
    statistics = network.heads.list_auxiliary_states()
    for name, parameter in network.parameters.items():
        for device, copy in enumerate(parameter.list_data()):
            copy[:] = communicator.world.rank + device / 2 if name in statistics else weight
    average = WeightAverage(dict(network.parameters.items()), 0.9)
    return Replicas(communicator, network, average)


def _values(replicas: Replicas, name: str) -> list[float]:
    """Of the copies on all devices and of the average."""
    assert replicas.average is not None
    copies = [*replicas.network.parameters[name].list_data(), replicas.average.arrays[name]]
    return [float(np.unique(copy.asnumpy()).item()) for copy in copies]


def test_all_begin_with_the_main_processes_values() -> None:
    def begin(communicator: InThreads) -> tuple[list[float], list[float]]:
        replicas = _replicas(communicator, 5.0 + communicator.world.rank, devices=2)
        replicas.begin()
        return _values(replicas, "scores_weight"), _values(replicas, "norm_moving_mean")

    assert in_all(communicators(worlds(2)), begin) == [([5, 5, 5], [0, 0, 0])] * 2


def test_statistics_are_averaged_and_weights_must_be_equal() -> None:
    """The averages' statistics follow the first device of each process."""

    def settle(communicator: InThreads) -> tuple[list[float], list[float]]:
        replicas = _replicas(communicator, 5.0, devices=2)
        replicas.settle("epoch 1")
        return _values(replicas, "scores_weight"), _values(replicas, "norm_moving_mean")

    expected = [5, 5, 5], [0.75, 0.75, 0.5]
    assert in_all(communicators(worlds(2)), settle) == [expected] * 2


@pytest.mark.parametrize("averaged", [False, True])
def test_weights_that_are_not_equal(averaged: bool) -> None:
    """Those of the network, or of its average alone."""

    def settle(communicator: InThreads) -> None:
        replicas = _replicas(communicator, 5.0)
        if communicator.world.rank:
            name = "scores_weight"
            assert replicas.average is not None
            average, parameter = replicas.average.arrays[name], replicas.network.parameters[name]
            (average if averaged else parameter.data())[0] = 6
        with pytest.raises(AlgorithmError, match=r"After epoch 1 the weights of rank 1 on algo-2"):
            replicas.settle("epoch 1")

    in_all(communicators(worlds(2)), settle)


def test_one_copy_alone_is_left_as_it_is() -> None:
    replicas = _replicas(Alone(World()), 5.0)
    replicas.begin()
    replicas.settle("epoch 1")
    assert _values(replicas, "scores_weight") == [5, 5]
