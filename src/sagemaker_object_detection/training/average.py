"""Averaged weights: an exponential moving average over the updates.

Polyak and Juditsky 1992 for the average itself; the rise of the decay is that of TensorFlow's
ExponentialMovingAverage. BatchNorm's running statistics are averaged with the weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import mxnet as mx

EVERY = 4
EVERY_BEFORE = 100
_LONGEST = 0.9998


def decay_over(updates: int) -> float:
    """The decay of an average over about so many updates; never beyond 5,000."""
    return min(_LONGEST, 1 - 1 / max(1, updates))


class WeightAverage:
    """Follows the weights of a network.

    Attributes:
        arrays: averaged values by name, in float32; updated in place.

    Args:
        parameters: name -> parameter, of those whose values change.
        decay: what stays of the average at an update, once (1 + n) / (10 + n) has come so far.
    """

    def __init__(self, parameters: Mapping[str, mx.gluon.Parameter], decay: float) -> None:
        self._decay = decay
        self._sources = {name: parameter.list_data()[0] for name, parameter in parameters.items()}
        self.arrays = {name: source.copy() for name, source in self._sources.items()}

    def update(self, count: int) -> None:
        """Take in the weights after the update that was number `count`, from 1.

        After the first EVERY_BEFORE updates only each EVERY-th counts, for all of them. MXNet's
        engine does not know that the backward pass writes BatchNorm's statistics, so that they can
        be read only when nothing is running.
        """
        span = EVERY if count > EVERY_BEFORE else 1
        if count % span:
            return
        mx.nd.waitall()
        decay = min(self._decay, (1 + count) / (10 + count)) ** span
        for name, array in self.arrays.items():
            # array += (1 - decay) * (source - array) in one pass and in place: with a weight decay
            # of 1 and a gradient of -source, this is what a step of SGD does.
            mx.nd.sgd_update(
                array, self._sources[name], lr=1 - decay, wd=1, rescale_grad=-1, out=array
            )
