"""Memory that was freed and is still held, and memory that can still be taken."""

import ctypes
from pathlib import Path

from sagemaker_object_detection.platform.control_groups import folders, text

_ROOT = Path("/")
_FILES_OF_GROUP = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Limit, use, and the part of the use that is cached files; of version 2 and of version 1."""


def give_back() -> None:
    """Return to the system what the C library holds of freed memory, where it can (glibc).

    By itself it returns only what lies behind all that is in use; what was needed to open very
    many files would be counted as this process's for ever.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def available(root: Path = _ROOT) -> int | None:
    """Bytes that processes can still take before one is killed for it; None where the system
    does not tell.

    What the machine has free or can drop, or less where a control group allows less; files that
    a group has cached do not count as used. root: where /sys and /proc are looked for.
    """
    groups = (_of_group(folder) for folder in folders("memory", root))
    known = [left for left in (_of_machine(root), *groups) if left is not None]
    return min(known, default=None)


def _of_machine(root: Path) -> int | None:
    kilobytes = _entry(root / "proc" / "meminfo", "MemAvailable:")
    return None if kilobytes is None else kilobytes * 1024


def _of_group(folder: Path) -> int | None:
    """None without a limit."""
    for limit, use, cached in _FILES_OF_GROUP:
        allowed, used = text(folder / limit), text(folder / use)
        if allowed.isdigit() and used.isdigit():
            files = _entry(folder / "memory.stat", cached) or 0
            return max(0, int(allowed) - int(used) + files)
    return None


def _entry(file: Path, name: str) -> int | None:
    """The number behind a name in a file with one of each on a line."""
    for line in text(file).splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == name and words[1].isdigit():
            return int(words[1])
    return None
