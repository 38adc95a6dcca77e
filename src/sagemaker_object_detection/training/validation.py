"""The validation channel, scored after each epoch.

Every process detects on its share of the images; what all have found is scored as one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from sagemaker_object_detection.data.loader import Batch
from sagemaker_object_detection.evaluation.average_precision import AveragePrecision, score
from sagemaker_object_detection.evaluation.evaluate import evaluate
from sagemaker_object_detection.evaluation.results import Results
from sagemaker_object_detection.evaluation.results_bytes import join_results, pack_results
from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.platform.progress import LONGEST_SILENCE_SECONDS, Heartbeat
from sagemaker_object_detection.training.data import Data
from sagemaker_object_detection.training.epochs import guarded

log = logging.getLogger(__name__)


@dataclass
class Validation:
    """Scores the present weights each time it is called.

    Attributes:
        engine: bound to arrays that training changes.
        should_stop: asked before every batch.
        silence: seconds between two lines about the images done so far at most, see Heartbeat.
        results: of all processes, of the last call; None when any was stopped.
    """

    job: Job
    data: Data
    engine: MXNetEngine
    should_stop: Callable[[], bool]
    silence: float = LONGEST_SILENCE_SECONDS
    results: Results | None = None

    def __call__(self, on_line: Callable[[], None] = lambda: None) -> AveragePrecision | None:
        """The score; None when any process was stopped. Raises BrokenData.

        Args:
            on_line: called when a line about the images done so far is logged.
        """
        self.engine.refresh()
        loader, batch = self.data.loaders["validation"], self.data.scoring_batch("validation")
        batches = guarded(loader.evaluation_pass(batch))
        batches = with_lines("validation", batches, on_line, self.silence)
        self.results = self._joined(evaluate(self.engine, batches, self.should_stop))
        if self.results is None:
            return None
        given = self.job.hyperparameters
        return score(self.results, given.num_classes, given.overlap_threshold)

    def _joined(self, found: Results | None) -> Results | None:
        """What all processes have found; None when any was stopped."""
        if self.data.communicator.world.size == 1:
            return found
        if found is not None:
            start = self.data.shards["validation"].start
            found = replace(found, records=found.records + start)
        content = b"" if found is None else pack_results(found)
        parts = self.data.communicator.gather(content)
        return join_results(parts) if all(parts) else None


def with_lines(
    channel: str,
    batches: Iterable[Batch],
    on_line: Callable[[], None] = lambda: None,
    silence: float = LONGEST_SILENCE_SECONDS,
) -> Iterator[Batch]:
    """The batches of an evaluation pass; while it takes long, the log counts their images."""
    heartbeat, started, images = Heartbeat(silence), time.monotonic(), 0
    for batch in batches:
        yield batch
        images += sum(labels is not None for labels in batch.truth)
        if heartbeat.is_due():
            heartbeat.logged()
            rate = images / (time.monotonic() - started)
            log.info("Channel '%s': %d images done (%.1f a second).", channel, images, rate)
            on_line()
