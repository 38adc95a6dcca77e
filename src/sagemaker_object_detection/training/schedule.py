"""The learning rate as a function of the update's number."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sagemaker_object_detection.platform.hyperparameters import Hyperparameters, scaled

FINAL_SHARE = 0.01
WARMUP_SHARE = 15
LONGEST_WARMUP = 1000
CONTINUED_WARMUP_EPOCHS = 3
CONTINUED_WARMUP_POWER = 3
RMSPROP_DIVISOR = 10  # the service's algorithm does the same


@dataclass(frozen=True)
class LearningRate:
    """A schedule: warm-up, then constant, in steps, or along half a cosine.

    Attributes:
        base: the rate after the warm-up.
        warmup_steps: updates over which it rises to the base.
        warmup_power: of the rise; 1 is linear, from base / warmup_steps.
        kind: "step" or "cosine".
        total_steps: updates of the whole training; cosine ends there at FINAL_SHARE of the base.
        drops: updates after which the rate is multiplied by `factor` ("step" only).
    """

    base: float
    warmup_steps: int = 0
    warmup_power: int = 1
    kind: str = "step"
    total_steps: int = 1
    drops: tuple[int, ...] = ()
    factor: float = 0.1

    def __call__(self, update: int) -> float:
        """The rate of an update, counted from 0."""
        if update < self.warmup_steps:
            return self.base * ((update + 1) / self.warmup_steps) ** self.warmup_power
        if self.kind == "cosine":
            span = max(1, self.total_steps - self.warmup_steps)
            done = min(1.0, (update - self.warmup_steps) / span)
            share = FINAL_SHARE + (1 - FINAL_SHARE) * (1 + math.cos(math.pi * done)) / 2
            return self.base * share
        return self.base * self.factor ** sum(update >= drop for drop in self.drops)


def step_updates(
    epochs: tuple[int, ...], num_training_samples: int, mini_batch_size: int, machines: int = 1
) -> tuple[int, ...]:
    """Updates at which the epochs of lr_scheduler_step take effect, as the service counts them.

    The service counts num_training_samples // mini_batch_size updates an epoch, whatever the data
    set's true size.
    """
    per_epoch = max(1, num_training_samples // (mini_batch_size * machines))
    return tuple(epoch * per_epoch for epoch in epochs)


def base_learning_rate(hyperparameters: Hyperparameters, machines: int = 1) -> float:
    """learning_rate for the batch of so many machines; a tenth for rmsprop, as in the service."""
    rate = hyperparameters.learning_rate
    if hyperparameters.recipe == "modern":
        rate = scaled(rate, hyperparameters.optimizer, machines)
    return rate / RMSPROP_DIVISOR if hyperparameters.optimizer == "rmsprop" else rate


def batches_per_epoch(hyperparameters: Hyperparameters, images: int, machines: int = 1) -> int:
    """Updates of an epoch over so many images in all."""
    return -(-images // (hyperparameters.mini_batch_size * machines))


def make_learning_rate(
    given: Hyperparameters, num_images: int, continued: bool = False, machines: int = 1
) -> LearningRate:
    """The schedule of the hyperparameters for a train channel of so many images.

    Args:
        continued: training goes on from an earlier model. Then the rate rises by the cube, over
            three epochs unless warmup_steps says otherwise: a rate that is not small throughout
            the first epoch undoes much of what an annealed model has learnt, and the service's
            algorithm loses 7 points there (figures in docs/decisions.md).
        machines: that make an epoch together.
    """
    batches = batches_per_epoch(given, num_images, machines)
    total, warmup = batches * given.epochs, given.warmup_steps
    if warmup is None:
        new = min(LONGEST_WARMUP, total // WARMUP_SHARE)
        warmup = CONTINUED_WARMUP_EPOCHS * batches if continued else new
    samples, batch = given.num_training_samples, given.mini_batch_size
    return LearningRate(
        base=base_learning_rate(given, machines),
        warmup_steps=warmup,
        warmup_power=CONTINUED_WARMUP_POWER if continued else 1,
        kind=given.lr_schedule,
        total_steps=total,
        drops=step_updates(given.lr_scheduler_step, samples, batch, machines),
        factor=given.lr_scheduler_factor,
    )
