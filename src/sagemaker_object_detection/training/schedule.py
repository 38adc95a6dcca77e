"""The learning rate as a function of the update's number."""

from __future__ import annotations

import math
from dataclasses import dataclass

FINAL_SHARE = 0.01


@dataclass(frozen=True)
class LearningRate:
    """A schedule: linear warm-up, then constant, in steps, or along half a cosine.

    Attributes:
        base: the rate after the warm-up.
        warmup_steps: updates over which it rises from base / warmup_steps.
        kind: "step" or "cosine".
        total_steps: updates of the whole training; cosine ends there at a hundredth of the base.
        drops: updates after which the rate is multiplied by `factor` ("step" only).
    """

    base: float
    warmup_steps: int = 0
    kind: str = "step"
    total_steps: int = 1
    drops: tuple[int, ...] = ()
    factor: float = 0.1

    def __call__(self, update: int) -> float:
        """The rate of an update, counted from 0."""
        if update < self.warmup_steps:
            return self.base * (update + 1) / self.warmup_steps
        if self.kind == "cosine":
            span = max(1, self.total_steps - self.warmup_steps)
            done = min(1.0, (update - self.warmup_steps) / span)
            share = FINAL_SHARE + (1 - FINAL_SHARE) * (1 + math.cos(math.pi * done)) / 2
            return self.base * share
        return self.base * self.factor ** sum(update >= drop for drop in self.drops)


def step_updates(
    epochs: tuple[int, ...], num_training_samples: int, mini_batch_size: int
) -> tuple[int, ...]:
    """Updates at which the epochs of lr_scheduler_step take effect, as the service counts them.

    The service counts num_training_samples // mini_batch_size updates an epoch, whatever the data
    set's true size.
    """
    per_epoch = max(1, num_training_samples // mini_batch_size)
    return tuple(epoch * per_epoch for epoch in epochs)
