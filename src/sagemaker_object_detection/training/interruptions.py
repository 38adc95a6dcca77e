"""What ends a training before its last epoch."""

from __future__ import annotations

from collections.abc import Iterator

from sagemaker_object_detection.data.loader import Batch
from sagemaker_object_detection.platform.errors import JobError, as_job_error


class Interrupted(Exception):
    """SIGTERM asked the training to end."""


class BrokenData(Exception):
    """Data was refused, or did not come, while training went on.

    Attributes:
        error: what the user is to be told.
    """

    def __init__(self, error: JobError) -> None:
        super().__init__(str(error))
        self.error = error


def guarded(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches; raises BrokenData where getting one raises JobError or OSError."""
    try:
        yield from batches
    except (JobError, OSError) as error:
        raise BrokenData(as_job_error(error)) from error
