"""A process that trains, one of several: `python -m ...worker WORLD DESCRIPTOR PARENT`."""

from __future__ import annotations

import logging
import os
import sys
import time
from multiprocessing.connection import Connection

from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.errors import AlgorithmError, JobError, as_job_error
from sagemaker_object_detection.platform.failure_message import by
from sagemaker_object_detection.platform.job import load_job
from sagemaker_object_detection.platform.orphans import end_with_parent
from sagemaker_object_detection.platform.peer import Member, Peer
from sagemaker_object_detection.platform.process_group import ProcessGroup
from sagemaker_object_detection.platform.processor import allow_amx
from sagemaker_object_detection.platform.stop_request import StopRequest
from sagemaker_object_detection.platform.supervisor import FOLLOWED
from sagemaker_object_detection.platform.world import World

log = logging.getLogger(__name__)

_CAUSE_SECONDS = 3.0
"""A library's error may only be that another process has gone; so long there is time to hear it."""


def main(world: World, descriptor: int) -> int:
    """Train this rank's part; returns the exit code. What fails is told to all processes."""
    logs.setup(level=logging.INFO if world.local_rank == 0 else logging.WARNING)
    host = world.hosts[world.host_rank]
    supervisor = Peer(Member(0, host, f"the supervisor on {host}"), Connection(descriptor))
    group = ProcessGroup(Member(world.local_rank + 1, host), {0: supervisor}, _end)
    try:
        _train(world, group)
    except SystemExit as stopped:
        log.debug("Stopped.")
        if stopped.code:
            raise
    except Exception as error:
        failure = as_job_error(error)
        traceback = error if isinstance(failure, AlgorithmError) else None
        log.error("%s: %s", failure.label, failure, exc_info=traceback)
        if traceback is not None:
            time.sleep(_CAUSE_SECONDS)
        group.fail(by(world, failure))
        return failure.exit_code
    group.close()
    return 0


def _train(world: World, group: ProcessGroup) -> None:
    stop = StopRequest()
    stop.install()
    logging.disable(logging.INFO)  # the supervisor has told what the job is
    job = load_job(os.environ)
    logging.disable(logging.NOTSET)
    allow_amx(os.environ)
    from sagemaker_object_detection.training.communicator import Communicator
    from sagemaker_object_detection.training.run import run_job

    threads = int(os.environ["OMP_NUM_THREADS"].split(",")[0])
    run_job(job, stop, threads, os.environ, Communicator(world, group))


def _end(error: JobError) -> None:
    """Another process has failed: its supervisor tells of it, and this one is of no use alone."""
    sys.stdout.flush()
    os._exit(FOLLOWED)


if __name__ == "__main__":
    end_with_parent(int(sys.argv[3]))
    code = main(World.from_json(sys.argv[1]), int(sys.argv[2]))
    # Without what libraries do at the end: MXNet's kvstore would wait there for all the others,
    # of which the main process may still be writing its report.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
