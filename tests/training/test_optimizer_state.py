"""The state of every optimiser, taken out and put back: the next steps are the same."""

from __future__ import annotations

from typing import Any

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

from sagemaker_object_detection.training.optimizer import (
    optimizer_arrays,
    restore_optimizer,
    update_counts,
)

OPTIMIZERS = {
    "sgd": {"momentum": 0.9},
    "adam": {},
    "rmsprop": {},
    "adadelta": {},
}


def _made(name: str, options: dict[str, Any]) -> tuple[list[gluon.Parameter], gluon.Trainer]:
    parameters = [gluon.Parameter(n, shape=(2, 2)) for n in ("b_weight", "a_weight")]
    for parameter in parameters:
        parameter.initialize(init=mx.init.One())
    made = {parameter.name: parameter for parameter in parameters}
    return parameters, gluon.Trainer(made, name, options, kvstore=None)


def _step(parameters: list[gluon.Parameter], trainer: gluon.Trainer, number: int) -> None:
    with autograd.record():
        loss = sum(
            (p.data() * mx.nd.array([[1, -2], [3, k + number]])).sum() ** 2
            for k, p in enumerate(parameters)
        )
    loss.backward()
    trainer.step(1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_goes_on_as_if_nothing_had_happened(name: str) -> None:
    parameters, trainer = _made(name, OPTIMIZERS[name])
    for number in range(3):
        _step(parameters, trainer, number)
    arrays, counts = optimizer_arrays(trainer), update_counts(trainer)
    values = [p.data().asnumpy().copy() for p in parameters]
    assert arrays
    assert counts == {"a_weight": 3, "b_weight": 3}

    others, other = _made(name, OPTIMIZERS[name])
    for parameter, value in zip(others, values, strict=True):
        parameter.set_data(mx.nd.array(value))
    restore_optimizer(other, arrays, counts)
    for number in range(3, 6):
        _step(parameters, trainer, number)
        _step(others, other, number)
    for parameter, twin in zip(parameters, others, strict=True):
        np.testing.assert_array_equal(parameter.data().asnumpy(), twin.data().asnumpy())
    assert other.optimizer.num_update == trainer.optimizer.num_update == 6


def test_before_the_first_step_there_is_nothing() -> None:
    _, trainer = _made("adam", {})
    assert optimizer_arrays(trainer) == {}
    assert update_counts(trainer) == {}
    restore_optimizer(trainer, {}, {})


def test_plain_sgd_has_no_arrays_but_counts() -> None:
    parameters, trainer = _made("sgd", {})
    _step(parameters, trainer, 0)
    assert optimizer_arrays(trainer) == {}
    assert update_counts(trainer) == {"a_weight": 1, "b_weight": 1}


def test_the_state_of_another_optimiser() -> None:
    parameters, trainer = _made("sgd", {"momentum": 0.9})
    _step(parameters, trainer, 0)
    _, other = _made("adam", {})
    with pytest.raises(KeyError, match="a_weight:1"):
        restore_optimizer(other, optimizer_arrays(trainer), update_counts(trainer))


def test_a_momentum_that_there_was_not_before() -> None:
    """The job is the same by its identity; the momentum begins at nothing."""
    parameters, trainer = _made("sgd", {})
    _step(parameters, trainer, 0)
    _, other = _made("sgd", {"momentum": 0.9})
    restore_optimizer(other, optimizer_arrays(trainer), update_counts(trainer))
    arrays = optimizer_arrays(other)
    assert set(arrays) == {"a_weight:0", "b_weight:0"}
    assert not any(array.any() for array in arrays.values())
    assert update_counts(other) == {"a_weight": 1, "b_weight": 1}
