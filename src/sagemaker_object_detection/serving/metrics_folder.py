"""The folder in which the workers of a server keep their numbers, see metrics."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where prometheus_client finds the folder, when it is first imported."""

_PREFIX = "serve-metrics-"
_SECONDS_TO_LOCK = 60


@contextmanager
def shared_folder(environ: MutableMapping[str, str], parent: Path) -> Iterator[Path]:
    """Make the folder in `parent`, name it in `environ`, and remove it at the end.

    A worker leaves this block too, when it ends inside of it: only the process that made the
    folder removes it. What servers left that were killed is removed first.
    """
    _remove_abandoned(parent)
    maker = os.getpid()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    lock = os.open(folder, os.O_RDONLY)  # workers inherit it: it is held while one of them lives
    fcntl.flock(lock, fcntl.LOCK_EX)
    environ[VARIABLE] = str(folder)
    try:
        yield folder
    finally:
        if os.getpid() == maker:
            shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def forget_worker(folder: Path, pid: int) -> None:
    """A worker has ended: what it had waiting counts no more."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
    for path in folder.glob(f"*_{pid}.db"):
        if path.stat().st_size == 0:  # killed while it made the file, which no one could read
            path.unlink()


def _remove_abandoned(parent: Path) -> None:
    """Remove folders that no process has locked, but for those whose server is about to."""
    for folder in parent.glob(f"{_PREFIX}*"):
        # Locked, gone meanwhile, or another user's: not ours to remove.
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > _SECONDS_TO_LOCK:
                _remove_unlocked(folder)


def _remove_unlocked(folder: Path) -> None:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    finally:
        os.close(lock)
