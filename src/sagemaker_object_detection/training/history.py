"""What an epoch was like, and the table of all epochs in `output/data`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sagemaker_object_detection.evaluation.average_precision import AveragePrecision
from sagemaker_object_detection.model.artifact import write_text_whole

METRICS_FILE = "metrics.csv"


@dataclass(frozen=True)
class EpochResult:
    """One epoch.

    Attributes:
        epoch: from 0.
        losses: mean over the batches, by part.
        score: of the validation channel.
        learning_rate: of the last batch.
        records: images trained on.
        training_seconds: of the batches alone; loader_seconds of these were spent waiting for data.
        validation_seconds: of the validation.
    """

    epoch: int
    losses: Mapping[str, float]
    score: AveragePrecision
    learning_rate: float
    records: int
    training_seconds: float
    loader_seconds: float
    validation_seconds: float

    def as_row(self) -> dict[str, float | int]:
        """The epoch as a row of the table."""
        row: dict[str, float | int] = {"epoch": self.epoch, **self.losses}
        row["mAP"] = self.score.mean
        row |= {f"AP_class_{i}": value for i, value in enumerate(self.score.per_class)}
        row["learning_rate"] = self.learning_rate
        row["images_per_second"] = self.records / self.training_seconds
        row["loader_seconds"] = self.loader_seconds
        row["step_seconds"] = self.training_seconds - self.loader_seconds
        row["training_seconds"] = self.training_seconds
        row["validation_seconds"] = self.validation_seconds
        return row

    def as_json(self) -> dict[str, Any]:
        """JSON values that from_json reads again; AP may be NaN."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EpochResult:
        """Raises KeyError and TypeError when something is missing."""
        score = values["score"]
        average = AveragePrecision(score["mean"], tuple(score["per_class"]))
        return cls(**{**values, "score": average})


def write_history(folder: Path, history: Sequence[EpochResult]) -> Path:
    """Write metrics.csv, a row an epoch; raises OSError when the folder cannot be written to."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [result.as_row() for result in history]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path = folder / METRICS_FILE
    write_text_whole(path, text.getvalue())
    return path
