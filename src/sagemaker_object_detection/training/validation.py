"""The validation channel, scored after each epoch.

Every process detects on its share of the images; what all have found is scored as one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from sagemaker_object_detection.data.loader import Batch
from sagemaker_object_detection.evaluation.average_precision import AveragePrecision, score
from sagemaker_object_detection.evaluation.evaluate import evaluate
from sagemaker_object_detection.evaluation.results import Results
from sagemaker_object_detection.evaluation.results_bytes import join_results, pack_results
from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.progress import LONGEST_SILENCE_SECONDS, Heartbeat
from sagemaker_object_detection.training.communicator import Communicator
from sagemaker_object_detection.training.data import Data
from sagemaker_object_detection.training.epochs import guarded

log = logging.getLogger(__name__)


@dataclass
class Validation:
    """Scores the present weights each time it is called.

    Attributes:
        engine: bound to arrays that training changes.
        communicator: to the processes that share the channel.
        batch: images at a time.
        should_stop: asked before every batch.
        kept: results of the best epoch, see keep.
        on_line: called when a line about the images done so far is logged.
        silence: seconds between two such lines at most, see Heartbeat.
    """

    job: Job
    data: Data
    engine: MXNetEngine
    batch: int
    should_stop: Callable[[], bool]
    communicator: Communicator
    kept: Results | None = None
    on_line: Callable[[], None] = lambda: None
    silence: float = LONGEST_SILENCE_SECONDS
    _last: Results | None = field(default=None, repr=False)

    def __call__(self) -> AveragePrecision | None:
        """The score; None when any process was stopped. Raises BrokenData."""
        self.engine.refresh()
        batches = guarded(self.data.loaders["validation"].evaluation_pass(self.batch))
        batches = with_lines("validation", batches, self.on_line, self.silence)
        found = evaluate(self.engine, batches, self.should_stop)
        if self.communicator.world.size > 1:
            found = self._joined(found)
        self._last = found
        if self._last is None:
            return None
        given = self.job.hyperparameters
        return score(self._last, given.num_classes, given.overlap_threshold)

    def _joined(self, found: Results | None) -> Results | None:
        """What all processes have found; None when any was stopped."""
        if found is not None:
            start = self.data.shards["validation"].start
            found = replace(found, records=found.records + start)
        parts = self.communicator.gather(b"" if found is None else pack_results(found))
        return join_results(parts) if all(parts) else None

    def keep(self) -> None:
        """The results of the last call are those of the best epoch."""
        self.kept = self._last


def with_lines(
    channel: str,
    batches: Iterable[Batch],
    on_line: Callable[[], None] = lambda: None,
    silence: float = LONGEST_SILENCE_SECONDS,
) -> Iterator[Batch]:
    """The batches of an evaluation pass; while it takes long, the log counts their images.

    Args:
        on_line: called after each line.
        silence: seconds between two lines at most, see Heartbeat.
    """
    heartbeat, started, images = Heartbeat(silence), time.monotonic(), 0
    for batch in batches:
        yield batch
        images += sum(labels is not None for labels in batch.truth)
        if heartbeat.is_due():
            heartbeat.logged()
            rate = images / (time.monotonic() - started)
            log.info("Channel '%s': %d images done (%.1f a second).", channel, images, rate)
            on_line()
