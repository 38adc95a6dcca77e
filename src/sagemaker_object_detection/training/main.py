"""The process `./train`: checks first, then everything else behind one error boundary."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, MutableMapping

from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.driver import require_driver
from sagemaker_object_detection.platform.errors import JobError, as_job_error, run_guarded
from sagemaker_object_detection.platform.job import Job, find_hosts, load_job
from sagemaker_object_detection.platform.paths import Paths, ensure_writable
from sagemaker_object_detection.platform.processor import allow_amx
from sagemaker_object_detection.platform.stop_request import StopRequest
from sagemaker_object_detection.platform.threads import set_threads
from sagemaker_object_detection.platform.world import HOROVOD, World, cpu_devices, make_world
from sagemaker_object_detection.training.launch import count_gpus, launch, tell_hosts


def main() -> int:
    """Run the job of the tree that SAGEMAKER_BASE_DIR names; returns the exit code.

    Raises SystemExit for --help and for arguments, of which the platform passes none.
    """
    argparse.ArgumentParser(
        "train",
        description="Train a detector on the job found under /opt/ml, or under the folder that "
        "SAGEMAKER_BASE_DIR names. Settings are in input/config there, not in arguments.",
    ).parse_args()
    logs.setup()
    paths = Paths.from_environment(os.environ)
    return run_guarded(lambda: train(os.environ), paths.failure_file)


def train(environ: MutableMapping[str, str]) -> None:
    """Check the job, then train. Raises JobError and OSError, which run_guarded explains."""
    stop = StopRequest()
    stop.install()
    Paths.from_environment(environ).failure_file.unlink(missing_ok=True)  # of an earlier run
    environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")  # a line for every validation
    try:
        job, world = _check(environ)
    except (JobError, OSError, SystemExit) as error:
        hosts = find_hosts(environ)
        if hosts is not None:
            known = None if isinstance(error, SystemExit) else as_job_error(error)
            tell_hosts(hosts, known, environ)
        raise
    if world.size > 1:
        launch(job, world, environ, stop)
        return
    threads = set_threads(environ)
    allow_amx(environ)
    # Only now: OMP_NUM_THREADS counts when MXNet is imported, and a faulty job need not wait.
    from sagemaker_object_detection.training.communicator import Communicator
    from sagemaker_object_detection.training.run import run_job

    run_job(job, stop, threads, environ, Communicator(world))


def _check(environ: Mapping[str, str]) -> tuple[Job, World]:
    """The job, and the part of it that is this host's. Raises JobError and OSError."""
    job = load_job(environ)
    for folder in (job.paths.model_dir, job.paths.output_data_dir):
        ensure_writable(folder)
    require_driver()
    devices = 1
    if job.hyperparameters.distribution == HOROVOD:  # a process for each
        devices = count_gpus(environ) or cpu_devices(environ)
    return job, make_world(job, devices)


if __name__ == "__main__":
    sys.exit(main())
