"""What training is to do, and where it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from sagemaker_object_detection.data.augment import Augmentation
from sagemaker_object_detection.model.loss import LOSS_PARTS
from sagemaker_object_detection.training.schedule import LearningRate


@dataclass(frozen=True)
class Recipe:
    """What the loop needs to know beside the network and the data.

    Attributes:
        epochs, batch_size, seed: the hyperparameters; the batch is that of one machine.
        augmentation: None trains on the images as they are.
        learning_rate: rate of every update.
        host: name in the log lines.
    """

    epochs: int
    batch_size: int
    seed: int
    augmentation: Augmentation | None
    learning_rate: LearningRate
    host: str


@dataclass
class Position:
    """Where training is, and what the epoch has added up to so far.

    Attributes:
        epoch: from 0; batches, records: of it that are done, records by all processes; updates:
            since the beginning.
        losses: sums over its batches, by part; of what this process adds to each.
        seconds: spent on its batches; waited: of these for data.
    """

    epoch: int = 0
    updates: int = 0
    batches: int = 0
    records: int = 0
    losses: dict[str, float] = field(default_factory=lambda: dict.fromkeys(LOSS_PARTS, 0.0))
    seconds: float = 0.0
    waited: float = 0.0
