"""How a server that cannot go on says why: the boundary of its processes."""

from __future__ import annotations

import logging
import sys

from sagemaker_object_detection.platform.errors import AlgorithmError, as_job_error, failure_text

log = logging.getLogger(__name__)


def report(error: Exception) -> int:
    """Tell on stderr what is wrong and how to mend it; return the exit code for it."""
    failure = as_job_error(error)
    if isinstance(failure, AlgorithmError):
        log.error("The server failed.", exc_info=error)
    print(failure_text(failure), file=sys.stderr, flush=True)
    return failure.exit_code
