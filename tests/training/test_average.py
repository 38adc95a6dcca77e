"""Averaged weights, against the formula in numpy."""

from __future__ import annotations

import mxnet as mx
import numpy as np
import pytest
from mxnet import gluon

from sagemaker_object_detection.training.optimizer import WeightAverage, decay_over


def _parameter(value: list[float]) -> gluon.Parameter:
    parameter = gluon.Parameter("weight", shape=(len(value),))
    parameter.initialize()
    parameter.set_data(mx.nd.array(value))
    return parameter


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.9998])
def test_it_is_the_exponential_moving_average(decay: float) -> None:
    parameter = _parameter([1.0, -2.0])
    average = WeightAverage({"weight": parameter}, decay)
    expected = np.array([1.0, -2.0])
    generator = np.random.default_rng(0)
    for count in range(1, 140):
        weights = generator.normal(size=2)
        parameter.set_data(mx.nd.array(weights))
        average.update(count)
        span = 1 if count <= 100 else 4
        if count % span:
            continue
        kept = min(decay, (1 + count) / (10 + count)) ** span
        expected = kept * expected + (1 - kept) * weights
    np.testing.assert_allclose(average.arrays["weight"].asnumpy(), expected, rtol=1e-5)


def test_it_begins_at_the_weights_and_does_not_touch_them() -> None:
    parameter = _parameter([3.0])
    average = WeightAverage({"weight": parameter}, 0.9)
    assert average.arrays["weight"].asscalar() == 3
    parameter.set_data(mx.nd.array([5.0]))
    assert average.arrays["weight"].asscalar() == 3
    average.update(1)
    assert parameter.data().asscalar() == 5
    assert average.arrays["weight"].asscalar() == pytest.approx(3 * 2 / 11 + 5 * 9 / 11)


def test_the_arrays_stay_the_same_objects() -> None:
    """A deploy graph is made of them once."""
    average = WeightAverage({"weight": _parameter([1.0])}, 0.9)
    before = average.arrays["weight"]
    average.update(1)
    assert average.arrays["weight"] is before


@pytest.mark.parametrize(
    ("updates", "decay"),
    [
        pytest.param(1, 0.0, id="one batch an epoch: no memory"),
        pytest.param(26, 1 - 1 / 26, id="about an epoch"),
        pytest.param(10**6, 0.9998, id="never longer than this"),
    ],
)
def test_decay_over(updates: int, decay: float) -> None:
    assert decay_over(updates) == pytest.approx(decay)
