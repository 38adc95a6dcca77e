"""What the kernel tells about running processes: their children and their memory."""

from __future__ import annotations

import contextlib
from pathlib import Path


def children(pid: int) -> list[int]:
    """The processes that a process has started and not yet waited for."""
    found = []
    with contextlib.suppress(OSError):  # it has ended
        for task in sorted(Path(f"/proc/{pid}/task").iterdir()):
            with contextlib.suppress(OSError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def family(pid: int) -> list[int]:
    """A process and all that come from it."""
    return [pid, *(member for child in children(pid) for member in family(child))]


def resident_mib(pid: int) -> float:
    """Memory of a process, with all that it shares with others."""
    return _kib(Path(f"/proc/{pid}/status"), "VmRSS:") / 1024


def proportional_mib(pid: int) -> float:
    """Memory of a process with its part of what is shared (PSS); 0 when it has ended."""
    with contextlib.suppress(OSError):
        return _kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") / 1024
    return 0.0


def peak_bytes() -> int:
    """The most memory that this process has had."""
    return 1024 * _kib(Path("/proc/self/status"), "VmHWM:")


def _kib(path: Path, key: str) -> int:
    """0 of a process that has ended and was not waited for."""
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    return int(next((line.split()[1] for line in lines if line.startswith(key)), 0))
