"""The server process: settings and artefact are checked, then gunicorn runs."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import resource
import sys
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

from sagemaker_object_detection.platform import logs
from sagemaker_object_detection.platform.paths import Paths
from sagemaker_object_detection.platform.threads import set_threads
from sagemaker_object_detection.serving import request_log
from sagemaker_object_detection.serving.engines import choose, make_plan
from sagemaker_object_detection.serving.failure import report
from sagemaker_object_detection.serving.gunicorn_settings import shared_memory
from sagemaker_object_detection.serving.metrics_folder import shared_folder
from sagemaker_object_detection.serving.server import Server
from sagemaker_object_detection.serving.settings import Settings

log = logging.getLogger(__name__)


def main() -> int:
    """Serve the model folder until a signal ends it; return the exit code.

    Raises SystemExit for --help and for arguments, of which the platform passes none.
    """
    argparse.ArgumentParser(
        "serve",
        description="Answer requests with the model in /opt/ml/model, or in the folder model below "
        "SAGEMAKER_BASE_DIR. Settings are environment variables, not arguments.",
    ).parse_args()
    logs.setup(sys.stderr)
    try:
        return serve(os.environ)
    except Exception as error:  # noqa: BLE001 - the boundary of the process
        return report(error)


def serve(environ: MutableMapping[str, str]) -> int:
    """Check settings and artefact, then run gunicorn; return its exit code.

    Raises ClientError before anything listens when they cannot work.
    """
    settings = Settings.from_environment(environ)
    logs.setup(sys.stderr, settings.log_level)
    request_log.setup(sys.stdout, settings.log_level)
    _raise_file_limit()
    model_dir = Paths.from_environment(environ).model_dir
    threads = set_threads(environ, settings.workers)
    environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")
    plan = None if settings.multi_model else make_plan(model_dir, settings, environ)
    if plan is None:
        engine, why = choose(settings)
        log.info(
            "Serving many models on port %d, each of %d threads. Engine %s: %s.",
            settings.port,
            threads,
            engine,
            why,
        )
    else:
        log.info(
            "Serving %s (%s, %d px, %d classes) on port %d: %d workers of %d threads.",
            model_dir,
            plan.config.base_network,
            plan.config.image_shape,
            len(plan.config.class_names),
            settings.port,
            settings.workers,
            threads,
        )
    parent = shared_memory() or Path(tempfile.gettempdir())
    with shared_folder(environ, parent) as metrics_folder:
        return Server(settings, plan, threads, metrics_folder).run_until_stopped()


def _raise_file_limit() -> None:
    """As many open files as the system lets us have: a connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
