"""What the epochs so far came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sagemaker_object_detection.training.early_stopping import EarlyStopping
from sagemaker_object_detection.training.history import EpochResult


@dataclass
class Progress:
    """The history of a training, its best epoch, and what early stopping has counted.

    Attributes:
        best: the epoch whose model is kept: of equal scores the later one; None before the first.
    """

    stopping: EarlyStopping
    history: list[EpochResult] = field(default_factory=list)
    best: EpochResult | None = None

    def add(self, result: EpochResult) -> bool:
        """Take in an epoch; whether it is the best so far."""
        self.history.append(result)
        is_best = self.best is None or result.score.mean >= self.best.score.mean
        if is_best:
            self.best = result
        return is_best

    def as_json(self) -> dict[str, Any]:
        """JSON values that restore reads again."""
        return {
            "history": [result.as_json() for result in self.history],
            "best_epoch": None if self.best is None else self.best.epoch,
            "stopping": {
                "best": self.stopping.best,
                "epochs_without_gain": self.stopping.epochs_without_gain,
            },
        }

    def restore(self, values: Mapping[str, Any]) -> None:
        """Take over what as_json gave. Raises KeyError and TypeError when something is missing."""
        self.history = [EpochResult.from_json(row) for row in values["history"]]
        kept = [result for result in self.history if result.epoch == values["best_epoch"]]
        self.best = kept[0] if kept else None
        self.stopping.best = values["stopping"]["best"]
        self.stopping.epochs_without_gain = values["stopping"]["epochs_without_gain"]
