"""Recipes: what training does where the user says nothing.

`service` is SageMaker's algorithm as it is documented. `modern` learns more in the same time;
docs/decisions.md has the figures. A hyperparameter that is given counts with both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

RECIPES = ("modern", "service")
REFERENCE_BATCH = 32
_REFERENCE_RATE = 0.001

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "modern": {"optimizer": "adam", "warmup_steps": None, "ema_decay": None},
    "service": {"optimizer": "sgd", "warmup_steps": 0, "ema_decay": 0.0},
}


def complete(values: Mapping[str, Any]) -> dict[str, Any]:
    """Hyperparameters with what their recipe says of those that were not given.

    Args:
        values: with `recipe`, `mini_batch_size`, `lr_scheduler_step`, `lr_schedule` and what was
            given. What still is None afterwards depends on the number of images.
    """
    recipe = values["recipe"]
    full = {**_DEFAULTS[recipe], **{k: v for k, v in values.items() if v is not None}}
    if full["lr_schedule"] == "auto":
        modern = recipe == "modern" and not full["lr_scheduler_step"]
        full["lr_schedule"] = "cosine" if modern else "step"
    if full.get("learning_rate") is None:
        share = full["mini_batch_size"] / REFERENCE_BATCH if recipe == "modern" else 1.0
        full["learning_rate"] = min(1.0, scaled(_REFERENCE_RATE, full["optimizer"], share))
    return full


def scaled(rate: float, optimizer: str, share: float) -> float:
    """A learning rate for a batch `share` times as large as the one that `rate` was meant for.

    In proportion for sgd (Goyal et al. 2017, arXiv:1706.02677); by the square root for the others,
    which divide by the size of the gradients (Malladi et al. 2022, arXiv:2205.10287).
    """
    return rate * (share if optimizer == "sgd" else math.sqrt(share))
