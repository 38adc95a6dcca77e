"""Processes that do not outlive the one that started them."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def end_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Have the system send this process a signal when its parent ends, however that ends.

    Args:
        parent: its process id; when it is no longer the parent, this process ends at once.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of what this process's children leave behind when they end."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def fork(run: Callable[[], int]) -> int:
    """Run a function in a process that gets SIGTERM when this one ends; return its number.

    Its exit code is what the function returns; processes that the function forks end here as well.
    """
    parent = os.getpid()
    number = os.fork()
    if number:
        return number
    code = 1
    try:
        end_with_parent(parent, signal.SIGTERM)
        code = run()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        log.exception("A process failed.")
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def kill_children() -> None:
    """Kill all children, and those that are adopted by that, and wait until they are gone."""
    while True:
        for file in Path("/proc/self/task").glob("*/children"):
            for child in file.read_text().split():
                with suppress(OSError):
                    os.kill(int(child), signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return
