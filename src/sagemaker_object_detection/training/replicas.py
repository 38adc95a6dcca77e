"""The copies of a network on several devices and processes, and keeping them equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mxnet as mx

from sagemaker_object_detection.model.network import Network
from sagemaker_object_detection.training.communicator import (
    Communicator,
    average,
    require_equal,
    spread,
)
from sagemaker_object_detection.training.optimizer import WeightAverage

Copies = Mapping[str, Sequence[mx.nd.NDArray]]


@dataclass(frozen=True)
class Replicas:
    """All copies of one network and of the average of its weights.

    Gradients keep the weights equal. BatchNorm's running statistics do not go that way: every
    device follows its own records, and MXNet has no BatchNorm that is synchronised between
    processes. So they are averaged whenever the network is to be used.
    """

    communicator: Communicator
    network: Network
    average: WeightAverage | None

    @property
    def _alone(self) -> bool:
        devices = len(next(iter(self._weights().values())))
        return self.communicator.world.size == 1 and devices == 1

    def begin(self) -> None:
        """Take over the main process's values everywhere."""
        if not self._alone:
            spread(self.communicator, self._weights() | self._averages())

    def settle(self, when: str) -> None:
        """Make all copies equal.

        Args:
            when: for a message, as "epoch 3".

        Raises:
            AlgorithmError: the weights of processes were not equal before.
        """
        if self._alone:
            return
        weights, averages = self._weights(), self._averages()
        statistics = set(self.network.heads.list_auxiliary_states())
        average(self.communicator, _only(weights, statistics))
        if averages:
            average(self.communicator, _only(averages, {f"average:{n}" for n in statistics}))
        require_equal(self.communicator, weights | averages, when)

    def _weights(self) -> dict[str, Sequence[mx.nd.NDArray]]:
        return {name: p.list_data() for name, p in self.network.parameters.items()}

    def _averages(self) -> dict[str, Sequence[mx.nd.NDArray]]:
        arrays = self.average.arrays if self.average else {}
        return {f"average:{name}": [array] for name, array in arrays.items()}


def _only(copies: Copies, names: set[str]) -> Copies:
    return {name: arrays for name, arrays in copies.items() if name in names}
