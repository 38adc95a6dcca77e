"""Which hyperparameters reach which optimiser, its steps, its state, and averaged weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd, gluon

from sagemaker_object_detection.platform.hyperparameters import Hyperparameters, parse
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.optimizer import (
    WeightAverage,
    decay_over,
    make_trainer,
    optimizer_arrays,
    restore_optimizer,
    update_counts,
)
from sagemaker_object_detection.training.schedule import base_learning_rate


def _hyperparameters(**given: object) -> Hyperparameters:
    needed = {"num_classes": 1, "num_training_samples": 1}
    return parse({**needed, **given})


def _trainer(parameters: Mapping[str, gluon.Parameter], **given: object) -> gluon.Trainer:
    hyperparameters = _hyperparameters(**given)
    rate = base_learning_rate(hyperparameters)
    return make_trainer(parameters, hyperparameters, World(), rate).trainer


def _step(gradient: float, steps: int, rate: float, **given: object) -> float:
    """Where a weight of 1 comes with this gradient in so many steps."""
    weight = gluon.Parameter("weight", shape=(1, 1, 1, 1))
    weight.initialize(init=mx.init.One())
    trainer = _trainer({"weight": weight}, **{"optimizer": "sgd", **given})
    for _ in range(steps):
        trainer.set_learning_rate(rate)
        with autograd.record():
            loss = weight.data() * gradient
        loss.backward()
        trainer.step(1)
    return float(weight.data().asscalar())


@pytest.mark.parametrize(
    ("optimizer", "base"),
    [("sgd", 0.01), ("adam", 0.01), ("adadelta", 0.01), ("rmsprop", 0.001)],
)
def test_base_learning_rate(optimizer: str, base: float) -> None:
    """A tenth for rmsprop, as in the service, which logs 1e-5 after a step from 1e-3 by 0.1."""
    hyperparameters = _hyperparameters(optimizer=optimizer, learning_rate=0.01)
    assert base_learning_rate(hyperparameters) == pytest.approx(base)


@pytest.mark.parametrize(
    ("optimizer", "momentum", "weight_decay"),
    [
        pytest.param("sgd", 0.7, 0.02, id="sgd takes both"),
        pytest.param("rmsprop", None, 0.02, id="rmsprop has no momentum"),
        pytest.param("adam", None, 0.0, id="adam takes neither"),
        pytest.param("adadelta", None, 0.0, id="adadelta takes neither"),
    ],
)
def test_what_each_takes(optimizer: str, momentum: float | None, weight_decay: float) -> None:
    weight = gluon.Parameter("weight", shape=(1,))
    weight.initialize()
    trainer = _trainer({"weight": weight}, optimizer=optimizer, momentum=0.7, weight_decay=0.02)
    made = trainer.optimizer
    assert type(made).__name__.lower() == optimizer
    assert made.wd == weight_decay
    assert getattr(made, "momentum", None) == momentum


@pytest.mark.parametrize(
    ("given", "gradient", "steps", "result"),
    [
        pytest.param({"momentum": 0, "weight_decay": 0}, 2, 1, 1 - 0.1 * 2, id="plain sgd"),
        pytest.param(
            {"momentum": 0.5, "weight_decay": 0}, 1, 2, 1 - 0.1 - 0.15, id="the step before counts"
        ),
        pytest.param(
            {"momentum": 0, "weight_decay": 0.5}, 0, 1, 1 - 0.1 * 0.5, id="decay without a gradient"
        ),
        pytest.param(
            {"optimizer": "adam", "weight_decay": 0.5}, 0, 1, 1, id="adam has no weight decay"
        ),
        pytest.param(
            {"optimizer": "adam"}, 5, 1, 0.9, id="adam's first step is as long as the rate"
        ),
    ],
)
def test_steps(given: dict[str, object], gradient: float, steps: int, result: float) -> None:
    assert _step(gradient, steps, 0.1, **given) == pytest.approx(result, abs=1e-5)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop", "adadelta"])
def test_every_optimizer_goes_down(optimizer: str) -> None:
    assert _step(1, 3, 0.1, optimizer=optimizer) < 1


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_the_rate_set_before_a_step_counts(optimizer: str) -> None:
    assert _step(1, 1, 0.0, optimizer=optimizer) == pytest.approx(1)


@pytest.mark.parametrize(
    ("recipe", "decays", "learns"),
    [
        pytest.param("modern", (1, 0, 0, 0, 0, 1), 1, id="modern"),
        pytest.param("service", (1, 0, 0, 1, 0, 0.1), 2, id="service, as MXNet's Module and SSD"),
    ],
)
def test_rates_of_parameters(recipe: str, decays: tuple[float, ...], learns: float) -> None:
    shapes = {
        "conv_weight": (2, 3, 1, 1),
        "conv_bias": (2,),
        "predictor_bias": (2,),
        "gamma": (2,),
        "beta": (2,),
        "scale": (1, 2, 1, 1),
    }
    parameters = {f"a_{name}": gluon.Parameter(name, shape=shape) for name, shape in shapes.items()}
    for parameter in parameters.values():
        parameter.initialize()
    _trainer(parameters, optimizer="sgd", recipe=recipe)
    assert tuple(parameter.wd_mult for parameter in parameters.values()) == decays
    rates = {name: parameter.lr_mult for name, parameter in parameters.items()}
    assert rates.pop("a_predictor_bias") == learns
    assert set(rates.values()) == {1.0}


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


def _step_all(parameters: list[gluon.Parameter], trainer: gluon.Trainer, number: int) -> None:
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
        _step_all(parameters, trainer, number)
    arrays, counts = optimizer_arrays(trainer), update_counts(trainer)
    values = [p.data().asnumpy().copy() for p in parameters]
    assert arrays
    assert counts == {"a_weight": 3, "b_weight": 3}

    others, other = _made(name, OPTIMIZERS[name])
    for parameter, value in zip(others, values, strict=True):
        parameter.set_data(mx.nd.array(value))
    restore_optimizer(other, arrays, counts)
    for number in range(3, 6):
        _step_all(parameters, trainer, number)
        _step_all(others, other, number)
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
    _step_all(parameters, trainer, 0)
    assert optimizer_arrays(trainer) == {}
    assert update_counts(trainer) == {"a_weight": 1, "b_weight": 1}


def test_the_state_of_another_optimiser() -> None:
    parameters, trainer = _made("sgd", {"momentum": 0.9})
    _step_all(parameters, trainer, 0)
    _, other = _made("adam", {})
    with pytest.raises(KeyError, match="a_weight:1"):
        restore_optimizer(other, optimizer_arrays(trainer), update_counts(trainer))


def test_a_momentum_that_there_was_not_before() -> None:
    """The job is the same by its identity; the momentum begins at nothing."""
    parameters, trainer = _made("sgd", {})
    _step_all(parameters, trainer, 0)
    _, other = _made("sgd", {"momentum": 0.9})
    restore_optimizer(other, optimizer_arrays(trainer), update_counts(trainer))
    arrays = optimizer_arrays(other)
    assert set(arrays) == {"a_weight:0", "b_weight:0"}
    assert not any(array.any() for array in arrays.values())
    assert update_counts(other) == {"a_weight": 1, "b_weight": 1}


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
