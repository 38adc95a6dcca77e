"""The validation channel, scored after each epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sagemaker_object_detection.evaluation.average_precision import AveragePrecision, score
from sagemaker_object_detection.evaluation.evaluate import evaluate
from sagemaker_object_detection.evaluation.results import Results
from sagemaker_object_detection.inference.engine_mxnet import MXNetEngine
from sagemaker_object_detection.platform.job import Job
from sagemaker_object_detection.training.data import Data
from sagemaker_object_detection.training.interruptions import guarded


@dataclass
class Validation:
    """Scores the present weights each time it is called.

    Attributes:
        engine: bound to arrays that training changes.
        batch: images at a time.
        should_stop: asked before every batch.
        kept: results of the best epoch, see keep.
    """

    job: Job
    data: Data
    engine: MXNetEngine
    batch: int
    should_stop: Callable[[], bool]
    kept: Results | None = None
    _last: Results | None = field(default=None, repr=False)

    def __call__(self) -> AveragePrecision | None:
        """The score; None when it was stopped. Raises BrokenData."""
        self.engine.refresh()
        batches = guarded(self.data.loaders["validation"].evaluation_pass(self.batch))
        self._last = evaluate(self.engine, batches, self.should_stop)
        if self._last is None:
            return None
        given = self.job.hyperparameters
        return score(self._last, given.num_classes, given.overlap_threshold)

    def keep(self) -> None:
        """The results of the last call are those of the best epoch."""
        self.kept = self._last
