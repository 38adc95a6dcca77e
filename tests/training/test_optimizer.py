"""Which hyperparameters reach which optimiser, and that a step does what they say."""

from __future__ import annotations

from collections.abc import Mapping

import mxnet as mx
import pytest
from mxnet import autograd, gluon

from sagemaker_object_detection.platform.hyperparameters import Hyperparameters, parse
from sagemaker_object_detection.platform.world import World
from sagemaker_object_detection.training.optimizer import make_trainer
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
