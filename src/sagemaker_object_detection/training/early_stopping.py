"""When to stop: the service's rule on validation mAP."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Stops after `patience` epochs in a row without a relative gain above `tolerance`.

    Attributes:
        min_epochs: no stop before this many epochs are done.
        patience: epochs in a row.
        tolerance: gain that counts, (new - best) / best, 0..1.
    """

    min_epochs: int
    patience: int
    tolerance: float
    best: float | None = None
    epochs_without_gain: int = 0

    def should_stop(self, epochs_done: int, value: float) -> bool:
        """Take in an epoch's validation mAP and decide.

        Args:
            epochs_done: how many epochs, this one included.
        """
        if self.best is None or self._is_gain(value):
            self.epochs_without_gain = 0
        else:
            self.epochs_without_gain += 1
        self.best = value if self.best is None else max(self.best, value)
        return self.is_due(epochs_done)

    def is_due(self, epochs_done: int) -> bool:
        """Whether it is time to stop after so many epochs, by what was taken in."""
        return epochs_done >= self.min_epochs and self.epochs_without_gain >= self.patience

    def _is_gain(self, value: float) -> bool:
        assert self.best is not None
        if self.best <= 0:
            return value > self.best
        return (value - self.best) / self.best > self.tolerance
