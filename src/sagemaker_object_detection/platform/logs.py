"""Log lines in the shapes of SageMaker's object detection, beside the regexes that read them.

A tuning job and CloudWatch read metrics out of the log by regular expressions. METRICS holds one
for each line that the functions below write.
"""

import io
import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TextIO

from sagemaker_object_detection.platform import terminal

ALGORITHM = "AWS/Object Detection"

_FORMAT = "[%(asctime)s %(levelname)s %(thread)d] %(message)s"
_DATE = "%m/%d/%Y %H:%M:%S"
_HANDLER = "sagemaker_object_detection"
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


def setup(stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Send the root logger to `stream` (default: stdout) as `[06/08/2021 00:20:14 INFO 1397] text`.

    On a terminal, where nothing else is said, lines are for a person; see platform.terminal. The
    number is the thread's. A second call replaces the stream of the first. Characters that
    the stream cannot encode, as in odd file names, are written as escapes.
    """
    target = sys.stdout if stream is None else stream
    if isinstance(target, io.TextIOWrapper):
        target.reconfigure(errors="backslashreplace")
    handler: logging.Handler = logging.StreamHandler(target)
    handler.setFormatter(logging.Formatter(_FORMAT, datefmt=_DATE))
    if stream is None and terminal.is_shown():
        handler = terminal.Handler()
    handler.set_name(_HANDLER)
    root = logging.getLogger()
    for old in [h for h in root.handlers if h.get_name() == _HANDLER]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)


@dataclass(frozen=True)
class LogLevel:
    """A level of Python's logging, by its number or its name; a kind of value, see kinds."""

    @property
    def description(self) -> str:
        return "one of " + ", ".join(f"{number} ({name})" for name, number in _LEVELS.items())

    def parse(self, text: str) -> int:
        if text.lower() in _LEVELS:
            return _LEVELS[text.lower()]
        if not text.isdecimal() or int(text) not in _LEVELS.values():
            raise ValueError("is no level of the log")
        return int(text)

    def write(self, value: object) -> str:
        return str(value)


@dataclass(frozen=True)
class Metric:
    """A metric's name and the regular expression whose first group is its value."""

    name: str
    regex: str


METRICS: tuple[Metric, ...] = (
    Metric("train:progress", r"#progress_metric: host=\S+, completed (\S+) %"),
    Metric(
        "train:smooth_l1",
        r"#quality_metric: host=\S+, epoch=\S+, batch=\S+ train smooth_l1 <loss>=\((\S+)\)",
    ),
    Metric(
        "train:cross_entropy",
        r"#quality_metric: host=\S+, epoch=\S+, batch=\S+ train cross_entropy <loss>=\((\S+)\)",
    ),
    Metric(
        "train:throughput",
        r"#throughput_metric: host=\S+, train throughput=(\S+) records/second",
    ),
    Metric(
        "validation:mAP",
        r"#quality_metric: host=\S+, epoch=\S+, validation mAP <score>=\((\S+)\)",
    ),
    Metric("test:mAP", r"#quality_metric: host=\S+, epoch=\S+, test mAP <score>=\((\S+)\)"),
)


def metric_definitions() -> list[dict[str, str]]:
    """METRICS as the `MetricDefinitions` of a training or tuning job."""
    return [{"Name": metric.name, "Regex": metric.regex} for metric in METRICS]


def loss_line(host: str, epoch: int, batch: int, name: str, value: float) -> str:
    """The mean of one part of the loss over an epoch that had `batch` batches (epochs from 0)."""
    return (
        f"#quality_metric: host={host}, epoch={epoch}, batch={batch} "
        f"train {name} <loss>=({float(value)!r})"
    )


def map_line(host: str, epoch: int, value: float, channel: str = "validation") -> str:
    """The mean average precision on a channel of the model after an epoch (from 0)."""
    return f"#quality_metric: host={host}, epoch={epoch}, {channel} mAP <score>=({float(value)!r})"


def progress_line(host: str, epochs_done: int, epochs: int) -> str:
    """How much of the training is done, in percent of the epochs."""
    return f"#progress_metric: host={host}, completed {100 * epochs_done / epochs} % of epochs"


def throughput_line(host: str, records_per_second: float) -> str:
    """The speed of an epoch's training."""
    return (
        f"#throughput_metric: host={host}, "
        f"train throughput={float(records_per_second)!r} records/second"
    )


def batches_line(epoch: int, batches: int, examples: int, rate: float, seconds: float) -> str:
    """Progress inside an epoch: what was done in it so far, at `rate` samples a second."""
    return (
        f"Epoch: {epoch:4d}, batches: {batches:6d}, num_examples: {examples:6d}, "
        f"{rate:.1f} samples/sec, epoch time so far:  {timedelta(seconds=seconds)}"
    )


def learning_rate_line(update: int, rate: float) -> str:
    """A step of the learning rate's schedule, at an update counted from the start."""
    return f"Update[{update}]: Change learning rate to {rate:.5e}"


def best_model_line(value: float) -> str:
    """The validation was at least as good as every one before."""
    return f"Updating the best model with validation-mAP={float(value)!r}"


def saved_line(path: Path) -> str:
    """A file of parameters was written."""
    return f'Saved checkpoint to "{path}"'


def batch_count_line(expected: int, processed: int) -> str:
    """The warning when num_training_samples and the data disagree."""
    return (
        f"Expected number of batches: {expected}, did not match the number of batches processed: "
        f"{processed}. This may happen when some images or annotations are invalid and cannot be "
        "parsed. Please check the dataset and ensure it follows the format in the documentation."
    )


def dimensions(host: str, meta: str | None = None, epoch: int | None = None) -> dict[str, object]:
    """What a `#metrics` line is about; `meta` is init_train_data_iter or training_data_iter."""
    result: dict[str, object] = {"Algorithm": ALGORITHM, "Host": host, "Operation": "training"}
    if epoch is not None:
        result["epoch"] = epoch
    if meta is not None:
        result["Meta"] = meta
    return result


def print_metrics(
    start: float, end: float, dimensions: Mapping[str, object], metrics: Mapping[str, float]
) -> None:
    """Print a `#metrics` line as it is, which only programs read; arguments as of the line."""
    if not terminal.is_shown():
        print(metrics_json_line(start, end, dimensions, metrics), flush=True)


def metrics_json_line(
    start: float, end: float, dimensions: Mapping[str, object], metrics: Mapping[str, float]
) -> str:
    """A `#metrics` line, to be printed as it is and not logged.

    start, end: seconds since 1970. Every metric is one observation, so its sum, minimum and
    maximum are the value. Raises ValueError on a value that is not finite.
    """
    body = {
        "StartTime": start,
        "EndTime": end,
        "Dimensions": dict(dimensions),
        "Metrics": {
            name: {"sum": float(value), "count": 1, "min": value, "max": value}
            for name, value in metrics.items()
        },
    }
    return "#metrics " + json.dumps(body, allow_nan=False)


class IterationCounters:
    """What the `#metrics` lines count over a data iterator: records, batches and resets."""

    def __init__(self) -> None:
        self._records = self._batches = self._resets = 0
        self._records_since_reset = self._batches_since_reset = 0
        self._max_records = self._max_batches = 0

    def batch(self, records: int) -> None:
        """Count one batch of so many records."""
        self._records += records
        self._batches += 1
        self._records_since_reset += records
        self._batches_since_reset += 1
        self._max_records = max(self._max_records, self._records_since_reset)
        self._max_batches = max(self._max_batches, self._batches_since_reset)

    def reset(self) -> None:
        """The iterator starts again, as it does before every epoch."""
        self._resets += 1
        self._records_since_reset = self._batches_since_reset = 0

    def metrics(self) -> dict[str, float]:
        """The seven counts by the names of the service, ready for metrics_json_line."""
        return {
            "Total Records Seen": self._records,
            "Total Batches Seen": self._batches,
            "Max Records Seen Between Resets": self._max_records,
            "Max Batches Seen Between Resets": self._max_batches,
            "Reset Count": self._resets,
            "Number of Records Since Last Reset": self._records_since_reset,
            "Number of Batches Since Last Reset": self._batches_since_reset,
        }
