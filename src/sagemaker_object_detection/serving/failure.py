"""How a server that cannot go on says why: the boundary of its processes."""

from __future__ import annotations

import logging
import sys

from sagemaker_object_detection.platform.errors import (
    AlgorithmError,
    ClientError,
    as_job_error,
    failure_text,
    first_line,
    lacks_memory,
)

log = logging.getLogger(__name__)


def report(error: Exception) -> int:
    """Tell on stderr what is wrong and how to mend it; return the exit code for it."""
    failure = as_job_error(error)
    if lacks_memory(error):
        failure = ClientError(
            f"Out of memory ({first_line(error)}). Use fewer workers "
            "(SAGEMAKER_MODEL_SERVER_WORKERS), a smaller OBJECT_DETECTION_MAX_BATCH, or an "
            "instance with more memory."
        )
    if isinstance(failure, AlgorithmError):
        log.error("The server failed.", exc_info=error)
    print(failure_text(failure), file=sys.stderr, flush=True)
    return failure.exit_code
