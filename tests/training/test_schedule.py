"""The learning rate, by tables."""

from __future__ import annotations

import pytest

from sagemaker_object_detection.platform.hyperparameters import parse
from sagemaker_object_detection.training.schedule import (
    LearningRate,
    make_learning_rate,
    step_updates,
)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        pytest.param(LearningRate(0.1), {0: 0.1, 10**6: 0.1}, id="constant without steps"),
        pytest.param(
            LearningRate(0.1, drops=(10, 20)),
            {0: 0.1, 9: 0.1, 10: 0.01, 19: 0.01, 20: 0.001, 10**6: 0.001},
            id="falls at each step",
        ),
        pytest.param(
            LearningRate(0.1, drops=(10, 10)), {9: 0.1, 10: 0.001}, id="a step named twice"
        ),
        pytest.param(
            LearningRate(0.1, drops=(10,), factor=0.5), {10: 0.05}, id="by the factor given"
        ),
        pytest.param(
            LearningRate(0.1, warmup_steps=4),
            {0: 0.025, 1: 0.05, 2: 0.075, 3: 0.1, 4: 0.1},
            id="rises, never from zero",
        ),
        pytest.param(
            LearningRate(0.1, warmup_steps=4, warmup_power=2),
            {0: 0.00625, 1: 0.025, 2: 0.05625, 3: 0.1, 4: 0.1},
            id="rises by the square",
        ),
        pytest.param(
            LearningRate(0.1, warmup_steps=4, drops=(2,)),
            {1: 0.05, 2: 0.075, 3: 0.1, 4: 0.01},
            id="a step inside the warm-up counts after it",
        ),
        pytest.param(
            LearningRate(0.1, kind="cosine", total_steps=100),
            {0: 0.1, 50: 0.0505, 100: 0.001, 200: 0.001},
            id="half a cosine down to a hundredth, and it stays there",
        ),
        pytest.param(
            LearningRate(0.1, kind="cosine", total_steps=110, warmup_steps=10),
            {0: 0.01, 9: 0.1, 10: 0.1, 60: 0.0505, 110: 0.001},
            id="the cosine begins after the warm-up",
        ),
        pytest.param(
            LearningRate(0.1, kind="cosine", total_steps=5, warmup_steps=10),
            {4: 0.05, 9: 0.1, 11: 0.001},
            id="a warm-up longer than the training",
        ),
    ],
)
def test_rates(schedule: LearningRate, rates: dict[int, float]) -> None:
    assert {update: schedule(update) for update in rates} == pytest.approx(rates)


def test_a_cosine_never_rises() -> None:
    schedule = LearningRate(0.1, kind="cosine", total_steps=57)
    rates = [schedule(update) for update in range(60)]
    assert rates == sorted(rates, reverse=True)
    assert min(rates) > 0


@pytest.mark.parametrize(
    ("epochs", "samples", "batch", "updates"),
    [
        pytest.param((3,), 16551, 16, (3 * 1034,), id="the service's log: Update[3103], from 1"),
        pytest.param((10, 20), 100, 10, (100, 200), id="two steps"),
        pytest.param((), 100, 10, (), id="none"),
        pytest.param((2,), 5, 32, (2,), id="less than a batch of samples: one update an epoch"),
    ],
)
def test_step_updates(
    epochs: tuple[int, ...], samples: int, batch: int, updates: tuple[int, ...]
) -> None:
    assert step_updates(epochs, samples, batch) == updates


@pytest.mark.parametrize(
    ("given", "rates"),
    [
        pytest.param({}, {0: 0.001, 999: 0.001}, id="the service's default: constant"),
        pytest.param(
            {"lr_scheduler_step": "1, 2"},
            {9: 0.001, 10: 0.0001, 19: 0.0001, 20: 0.00001},
            id="steps are counted by num_training_samples, 100 in batches of 10",
        ),
        pytest.param(
            {"lr_scheduler_step": "1", "lr_scheduler_factor": "0.5", "learning_rate": "0.1"},
            {9: 0.1, 10: 0.05},
            id="by the factor given",
        ),
        pytest.param(
            {"lr_scheduler_step": "1", "optimizer": "rmsprop"},
            {9: 0.0001, 10: 0.00001},
            id="a tenth for rmsprop, at every step",
        ),
        pytest.param(
            {"lr_schedule": "cosine", "epochs": "2"},
            {0: 0.001, 13: 0.000505, 26: 0.00001},
            id="the cosine is counted by the images there are, 125 in 13 batches an epoch",
        ),
        pytest.param(
            {"warmup_steps": "4"}, {0: 0.00025, 3: 0.001, 4: 0.001}, id="warm-up of so many batches"
        ),
    ],
)
def test_from_hyperparameters(given: dict[str, str], rates: dict[int, float]) -> None:
    needed = {
        "num_classes": "1",
        "num_training_samples": "100",
        "mini_batch_size": "10",
        "recipe": "service",
    }
    schedule = make_learning_rate(parse({**needed, **given}), 125)
    assert {update: schedule(update) for update in rates} == pytest.approx(rates)


@pytest.mark.parametrize(
    ("given", "continued", "steps", "power"),
    [
        pytest.param({}, False, 6, 1, id="a fifteenth of 90"),
        pytest.param({"epochs": 10**5}, False, 1000, 1, id="at most so many"),
        pytest.param({"recipe": "service"}, False, 0, 1, id="service has none"),
        pytest.param({"recipe": "service"}, True, 0, 3, id="not even after a model channel"),
        pytest.param({"warmup_steps": 7}, False, 7, 1, id="the user's"),
        pytest.param({}, True, 9, 3, id="three epochs after a model channel"),
        pytest.param({"warmup_steps": 7}, True, 7, 3, id="the user's, after a model channel"),
        pytest.param({"warmup_steps": 0}, True, 0, 3, id="the user wants none"),
    ],
)
def test_warm_up(given: dict[str, object], continued: bool, steps: int, power: int) -> None:
    needed = {"num_classes": 2, "num_training_samples": 9, "mini_batch_size": 4}
    schedule = make_learning_rate(parse({**needed, **given}), 9, continued)
    assert (schedule.warmup_steps, schedule.warmup_power) == (steps, power)


@pytest.mark.parametrize(
    ("given", "base"),
    [
        pytest.param({"optimizer": "adam"}, 0.002, id="adam: by the root of the machines"),
        pytest.param({"optimizer": "sgd"}, 0.004, id="sgd: by the machines"),
        pytest.param({"optimizer": "sgd", "recipe": "service"}, 0.001, id="service: not at all"),
    ],
)
def test_several_machines_share_an_update(given: dict[str, object], base: float) -> None:
    needed = {"num_classes": 2, "num_training_samples": 90, "mini_batch_size": 4, "epochs": 10}
    hyperparameters = parse({**needed, "learning_rate": 0.001, **given})
    schedule = make_learning_rate(hyperparameters, 90, machines=4)
    assert schedule.base == pytest.approx(base)
    assert schedule.total_steps == 10 * 6


def test_the_first_epoch_after_a_model_channel_is_gentle() -> None:
    """On average less than a hundredth of the rate: an annealed model stays where it is."""
    schedule = make_learning_rate(
        parse({"num_classes": 2, "num_training_samples": 800, "mini_batch_size": 8}), 800, True
    )
    assert sum(schedule(update) for update in range(100)) / 100 < schedule.base / 100
    assert schedule(300) == schedule.base
